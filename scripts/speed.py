"""Speed and memory: vqcodec beside JPEG, WebP, AVIF and JPEG XL, all in one run.

    python scripts/speed.py FOLDER [--images N] [--rounds N] [--scaling] [--output scripts/results/speed.json]

Whole processes, calls within one process for each kernel and number of threads, batches, and pictures of growing
size; vqcodec at `--effort 0`. Contestants take turns at each picture, so that a busy machine slows all alike; figures
are medians. Ends with an error where .vqc bytes or decoded pixels differ between kernels, numbers of threads or ways
of asking. Writes JSON with a plot beside it as PNG and SVG, and prints Markdown tables. Needs the extra `bench` and
Linux or macOS.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import large_picture
from PIL import Image
from rd_benchmark import CODECS, load_photos, machine, make_coder, report_progress, to_json
from rd_coders import Coder
from speed_contestants import (
    THREAD_SETTINGS,
    VQCODEC,
    Contestant,
    Identity,
    Worker,
    choose_quality,
    commands,
    describe,
    tool_versions,
)
from speed_report import exponents, markdown, plot, summary

from vqcodec import _core

KERNELS = ("scalar", "avx2", "avx512", "neon")
CALIBRATION, SINGLES = 2, 6  # pictures that choose the qualities; that are measured one by one (batches take all)
SIZES, LARGE_SIZES = (0.1, 0.4, 1.6), (6.4, 25.0, 100.0)  # million pixels
ALONE_UP_TO = 2.0  # million pixels: the sizes that are also run with one thread, for identity
YARDSTICKS = {"pass": "sys", "from PIL import Image": "PIL", "import vqcodec.cli": "vqcodec", "import torch": "torch"}

Samples = defaultdict[tuple[str, ...], list[dict[str, Any]]]


def measure_processes(
    samples: Samples, run: Worker, contestants: list[Contestant], pictures: list[Path], identity: Identity
) -> None:
    """Every contestant's processes on every picture in turn, and what an interpreter costs that does no work."""
    for picture in pictures:
        for code, package in YARDSTICKS.items():
            if find_spec(package) is not None:
                samples["yardstick", f'python -c "{code}"'].append(run.run(sys.executable, "-c", code))
        todo = [pair for contestant in contestants for pair in commands(contestant, picture).items()]
        for (step, name), command in sorted(todo, key=lambda pair: pair[0][0], reverse=True):  # encode first
            samples[step, name].append(run.run(*command))
        if picture.with_suffix(".vqc").exists():
            for suffix in (".vqcodec.ppm", ".vqcodec.png"):
                identity.check_files(picture.with_suffix(".vqc"), picture.with_suffix(suffix), "a process")


def measure_calls(
    samples: Samples,
    workers: dict[str, Worker],
    contestants: list[Contestant],
    pictures: list[Path],
    identity: Identity,
) -> None:
    """Encoding and decoding of every picture in every worker in turn, with one thread and with all."""
    for picture in pictures:
        for kernel, worker in workers.items():
            for contestant in contestants:
                name = contestant.coder.name
                if (name == "vqcodec") != (kernel in KERNELS):
                    continue
                for threads in (1, 0) if name == "vqcodec" or name in THREAD_SETTINGS else (1,):
                    key, setup = (name, kernel, "all" if threads == 0 else "1"), contestant.setup(threads)
                    encoded = worker.ask(step="encode", picture=str(picture), quality=contestant.quality, **setup)
                    decoded = worker.ask(step="decode", data=encoded.pop("data"), **setup)
                    samples[("encode", *key)].append(encoded)
                    samples[("decode", *key)].append(decoded)
                    if name == "vqcodec":
                        by = f"kernel {kernel} with {key[-1]} threads"
                        identity.check(f"bytes of {picture.stem}", encoded["digest"], by)
                        identity.check(f"pixels of {picture.stem}", decoded["digest"], by)


def measure_batches(samples: Samples, run: Worker, quality: int, pictures: list[Path], identity: Identity) -> None:
    """One process for all pictures, with one, two and as many threads as there are cores."""
    for jobs in sorted({1, 2, os.cpu_count() or 1}):
        folder = pictures[0].parent / f"batch{jobs}"
        coded, shown = (
            [(folder / picture.name).with_suffix(suffix) for picture in pictures] for suffix in (".vqc", ".ppm")
        )
        common = ["--quiet", "-f", "-j", jobs, "--output-dir", folder]
        samples["encode", str(jobs)].append(
            run.run(*VQCODEC, "encode", *common, "--effort", 0, "-q", quality, *pictures)
        )
        samples["decode", str(jobs)].append(run.run(*VQCODEC, "decode", *common, "--format", "ppm", *coded))
        for pair in zip(coded, shown, strict=True):
            identity.check_files(*pair, by=f"a batch with -j {jobs}")


def measure_size(
    run: Worker, quality: int, megapixels: float, rounds: int, folder: Path, identity: Identity
) -> dict[str, Any]:
    """Encoding and decoding of one picture of that size, each a process of its own with all threads."""
    source, coded, shown = (folder / f"{megapixels:g}M.{suffix}" for suffix in ("source.ppm", "vqc", "ppm"))
    pixels = large_picture.picture(megapixels)
    Image.fromarray(pixels).save(source)
    encoded, decoded = [], []
    for threads in [0] * rounds + [1] * (megapixels <= ALONE_UP_TO):
        common = ["--quiet", "-f", "-j", threads, "-o"]
        encoded.append(run.run(*VQCODEC, "encode", source, "--effort", 0, "-q", quality, *common, coded))
        decoded.append(run.run(*VQCODEC, "decode", coded, *common, shown))
        identity.check_files(coded, shown, by=f"a process with -j {threads}")
    size = {"megapixels": round(pixels[..., 0].size / 1e6, 4), "bytes": coded.stat().st_size}
    for path in (source, coded, shown):
        path.unlink()
    return size | {"encode": summary(encoded[:rounds]), "decode": summary(decoded[:rounds])}


def start_workers(stack: ExitStack, contestants: list[Coder], folder: Path) -> tuple[dict[str, Worker], dict[str, str]]:
    """A worker for each kernel and one for the other codecs; and why the other kernels do not run here."""
    names = {coder.name for coder in contestants}
    workers = {
        kernel: Worker("vqcodec", "photo", folder=folder, kernel=kernel) for kernel in KERNELS if "vqcodec" in names
    }
    if names != {"vqcodec"}:
        workers["Pillow"] = Worker("classic", folder=folder)
    for worker in workers.values():
        stack.enter_context(worker)
    missing = {kernel: worker.missing for kernel, worker in workers.items() if worker.missing}
    return {kernel: worker for kernel, worker in workers.items() if kernel not in missing}, missing


def choose_contestants(coders: list[Coder], workers: dict[str, Worker], pictures: list[Path]) -> list[Contestant]:
    contestants = []
    for coder in coders:
        worker = workers[_core.kernel() if coder.name == "vqcodec" else "Pillow"]
        contestants.append(choose_quality(coder, worker, pictures))
        report_progress(f"{coder.label}: quality {contestants[-1].quality}")
    return contestants


def rows(samples: Samples, *names: str) -> list[dict[str, Any]]:
    return [dict(zip(names, key, strict=True)) | summary(answers) for key, answers in samples.items()]


def measure(arguments: argparse.Namespace, coders: list[Coder], folder: Path) -> dict[str, Any]:
    """All measurements, in a folder that they may fill."""
    photos = load_photos(arguments.folder)[: arguments.images]
    if not photos:
        raise SystemExit(f"speed: no pictures in {arguments.folder}")
    pictures = [folder / f"{Path(photo.name).stem}.png" for photo in photos]
    for photo, picture in zip(photos, pictures, strict=True):
        Image.fromarray(photo.pixels).save(picture)
    singles, identity = pictures[:SINGLES], Identity()
    processes, calls, batches = (defaultdict(list) for _ in range(3))
    host = machine() | {"kernel": _core.kernel()}
    with ExitStack() as stack:
        run = stack.enter_context(Worker("processes", folder=folder))
        workers, missing = start_workers(stack, coders, folder)
        contestants = choose_contestants(coders, workers, pictures[:CALIBRATION])
        ours = next((contestant.quality for contestant in contestants if contestant.coder.name == "vqcodec"), None)
        for number in range(1, arguments.rounds + 1):
            measure_processes(processes, run, contestants, singles, identity)
            report_progress(f"round {number}: processes")
            measure_calls(calls, workers, contestants, singles, identity)
            report_progress(f"round {number}: calls")
            if ours is not None:
                measure_batches(batches, run, ours, pictures, identity)
                report_progress(f"round {number}: batches")
        scaling = []
        for size in arguments.sizes if ours is not None else ():
            scaling.append(measure_size(run, ours, size, arguments.rounds, folder, identity))
            report_progress(f"{size:g} Mpixel")
    return {
        "folder": arguments.folder.resolve().name,
        "images": [{"name": photo.name, "sha256": photo.sha256, "shape": list(photo.pixels.shape)} for photo in photos],
        "singles": len(singles),
        "rounds": arguments.rounds,
        "machine": host,
        "kernels_missing": missing,
        "tools": tool_versions(),
        "identity": {"things": len(identity.known), "comparisons": identity.comparisons},
        "codecs": {one.coder.name: describe(one, singles) for one in contestants},
        "processes": rows(processes, "step", "name"),
        "calls": rows(calls, "step", "name", "kernel", "threads"),
        "batches": rows(batches, "step", "jobs"),
        "scaling": scaling,
        "exponents": exponents(scaling),
    }


def parse_arguments() -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("folder", type=Path, help="folder of lossless pictures")
    parser.add_argument("--images", type=int, help="take only the first ones of the folder (default: all)")
    parser.add_argument("--rounds", type=int, default=2, help="how often all is measured (default: %(default)s)")
    parser.add_argument("--codecs", default=",".join(CODECS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--scaling", action="store_true", help="go on to pictures of 6.4, 25 and 100 million pixels")
    parser.add_argument("--sizes", help="million pixels, comma-separated, instead of those")
    results = Path(__file__).parent / "results" / "speed.json"
    parser.add_argument(
        "--output", type=Path, default=results, help="JSON to write (default: scripts/results/speed.json)"
    )
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    if arguments.rounds < 1 or (arguments.images is not None and arguments.images < 1):
        parser.error("--rounds and --images must be at least 1")
    arguments.codecs = arguments.codecs.split(",")
    if unknown := set(arguments.codecs) - set(CODECS):
        parser.error(f"unknown codec {', '.join(sorted(unknown))}; there are {', '.join(CODECS)}")
    sizes = SIZES + LARGE_SIZES * arguments.scaling
    arguments.sizes = sorted(map(float, arguments.sizes.split(","))) if arguments.sizes else sizes
    return arguments


def main() -> None:
    arguments = parse_arguments()
    Image.MAX_IMAGE_PIXELS = None  # sizes of our own making
    coders = [make_coder(name, "photo") for name in arguments.codecs]
    with tempfile.TemporaryDirectory(prefix="speed_") as folder:
        results = measure(arguments, coders, Path(folder))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(to_json(results), "utf-8")
    if results["scaling"]:
        plot(results, [arguments.output.with_suffix(suffix) for suffix in (".png", ".svg")])
    print(markdown(results))


if __name__ == "__main__":
    main()
