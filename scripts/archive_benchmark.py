"""Archives beside folders and tar files of PNG, JPEG and WebP: bytes, and images a second written and read.

    python scripts/archive_benchmark.py --data ../shared/data --output scripts/results/archive.json

CIFAR-10 and the training photos are written in every form, and read back in a random order by a torch DataLoader
with 0, 1 and 4 workers; what the archive gives is checked against single encodes and the labels. At last an
archive of a million records is opened.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import vqcodec
from vqcodec import ArchiveDataset, ArchiveReader, ArchiveWriter

WORKERS = (0, 1, 4)
CHECKED = 300  # records that are encoded again


@dataclass(frozen=True)
class Form:
    """An image format of Pillow's and its options."""

    name: str
    suffix: str
    options: dict[str, Any] = field(default_factory=dict)


FORMS = (
    Form("PNG", "png"),
    Form("WebP lossless", "webp", {"lossless": True}),
    Form("WebP q75", "webp", {"quality": 75}),
    Form("JPEG q90", "jpg", {"quality": 90}),
)


@dataclass(frozen=True)
class Set:
    """Pictures (N, H, W, 3) uint8 and labels (N,)."""

    name: str
    images: np.ndarray
    labels: np.ndarray


def cifar(data: Path, limit: int) -> Set:
    """All 60,000 pictures of CIFAR-10, or the first `limit`."""

    def cut(path: Path) -> np.ndarray:
        mosaic = np.asarray(Image.open(path)).reshape(100, 32, 100, 32, 3)
        return mosaic.swapaxes(1, 2).reshape(-1, 32, 32, 3)

    folder = data / "cifar10"
    parts = [*(folder / f"train-{part}.webp" for part in range(5)), folder / "test.webp"]
    labels = np.concatenate([np.load(folder / f"{part}_labels.npy") for part in ("train", "test")])
    images = np.concatenate([cut(path) for path in parts[: -(-limit // 10_000)]])
    return Set("CIFAR-10", images[:limit], labels[:limit].astype(int))


def photos(data: Path, limit: int) -> Set:
    """The training photos, 256x256; their labels are made up."""
    paths = sorted((data / "train-photos").glob("*.webp"))[:limit]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    return Set("training photos", images, np.arange(len(images)) % 10)


class TarDataset(Dataset[Any]):
    """Images inside a tar file by their offsets, which are read once; labels are in the names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as tar:
            self.places = [(m.offset_data, m.size, int(m.name.split("/")[0])) for m in tar if m.isfile()]
        self.file: Any = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Any:
        if self.file is None:
            self.file = self.path.open("rb")
        offset, size, label = self.places[number]
        data = os.pread(self.file.fileno(), size, offset)
        return v2.functional.pil_to_tensor(Image.open(io.BytesIO(data)).convert("RGB")), label

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"file": None}


def write_folder(root: Path, images: Set, form: Form) -> None:
    """One file a picture, in folders of classes, by as many threads as there are cores."""
    for label in np.unique(images.labels):
        (root / str(label)).mkdir(parents=True)

    def write(number: int) -> None:
        place = root / str(images.labels[number]) / f"{number:06d}.{form.suffix}"
        Image.fromarray(images.images[number]).save(place, **form.options)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(len(images.images))))


def write_tar(path: Path, root: Path) -> None:
    """The files of such a folder in one tar file, in the order of their numbers."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(root.rglob("*.*"), key=lambda file: file.name):
            tar.add(file, file.relative_to(root).as_posix())


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def cpu_seconds() -> float:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def read_rates(datasets: dict[str, Dataset[Any]], reads: int, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """Images a second by form and number of workers: the best of several rounds, in each of which all take turns.

    Without workers also the processor time of an image in microseconds, which other programs disturb less.
    """
    best: dict[str, dict[str, float]] = {name: {} for name in datasets}
    for turn in range(repeats):
        for workers in WORKERS:
            for name, dataset in datasets.items():
                count = len(dataset)  # type: ignore[arg-type]
                order = np.random.default_rng(turn).permutation(count)[:reads].tolist()
                # From before the workers start: what they have ready when the first batch comes would count double.
                begun, used = time.perf_counter(), cpu_seconds()
                loader = DataLoader(Subset(dataset, order), batch_size=batch, num_workers=workers)
                seen = sum(len(labels) for _, labels in loader)
                rate = seen / (time.perf_counter() - begun)
                assert seen == len(order)
                if workers == 0:
                    cost = 1e6 * (cpu_seconds() - used) / seen
                    best[name]["cpu_us"] = min(best[name].get("cpu_us", np.inf), cost)
                best[name][str(workers)] = max(best[name].get(str(workers), 0.0), rate)
                print(f"  {name}, {workers} workers: {rate:.0f} a second", file=sys.stderr, flush=True)
    return best


def psnr(dataset: Dataset[Any], originals: Sequence[np.ndarray]) -> float:
    """Mean over pictures, RGB, in dB; infinite where all are exact."""
    errors = []
    for number, original in enumerate(originals):
        picture = dataset[number][0].permute(1, 2, 0).numpy()
        errors.append(np.mean((picture.astype(float) - original) ** 2))
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(255**2 / np.array(errors))))


def check(archive: Path, images: Set, model: str, quality: float, effort: int) -> None:
    """Labels are right, and records hold what a single encode gives."""
    with ArchiveReader(archive) as reader:
        assert [tag[1] for _, _, tag in reader.fronts()] == images.labels.tolist()
        codec = vqcodec.load(model)
        for number in np.random.default_rng(0).permutation(len(reader))[:CHECKED].tolist():
            single = codec.encode(images.images[number], quality, effort=effort)
            assert reader[number].data == single


def payload_bytes(archive: Path) -> int:
    """Bytes of the codes of all records."""
    with ArchiveReader(archive) as reader:
        return sum(sum(block.header(inner).payload_bytes) for block, inner, _ in reader.fronts())


def compare(images: Set, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write and read a set in all forms."""
    rows: dict[str, dict[str, Any]] = {}
    datasets: dict[str, Dataset[Any]] = {}
    count = len(images.images)
    small = images.images.shape[1] < 64
    batch = 128 if small else 16
    models = {"archive": "thumb", "archive, photo": "photo"} if small else {"archive": "photo"}
    folder = folder / images.name
    folder.mkdir()

    def note(name: str, path: Path, seconds: float, dataset: Dataset[Any], originals: np.ndarray) -> None:
        rows[name] = {"bytes": size_of(path), "written_a_second": count / seconds, "psnr": psnr(dataset, originals)}
        datasets[name] = dataset
        print(f"{images.name}, {name}: {rows[name]}", file=sys.stderr, flush=True)

    pairs = list(zip(images.images, images.labels.tolist(), strict=True))
    settings = {"quality": arguments.quality, "effort": arguments.effort}
    for name, model in models.items():
        archive = folder / f"{model}.vqa"
        seconds = timed(lambda path=archive, model=model: vqcodec.pack(pairs, path, model=model, **settings))
        check(archive, images, model, **settings)
        note(name, archive, seconds, ArchiveDataset(archive), images.images[:200])
        rows[name]["payload_bytes"] = payload_bytes(archive)
        rows[name]["overhead_a_record"] = (size_of(archive) - rows[name]["payload_bytes"]) / count
        datasets[f"{name}, codes"] = ArchiveDataset(archive, what="codes")
    for form in FORMS:
        root = folder / form.name
        seconds = timed(lambda root=root, form=form: write_folder(root, images, form))
        found = ImageFolder(root, transform=v2.PILToTensor())
        originals = images.images[[int(Path(path).stem) for path, _ in found.samples[:200]]]
        note(f"{form.name}, folder", root, seconds, found, originals)
        tar = folder / f"{form.name}.tar"
        write_tar(tar, root)
        rows[f"{form.name}, tar"] = {"bytes": size_of(tar)}
        datasets[f"{form.name}, tar"] = TarDataset(tar)
    for name, rates in read_rates(datasets, arguments.reads, batch, arguments.repeats).items():
        rows.setdefault(name, {})["read_a_second"] = rates
    settings["reads"] = arguments.reads
    found = {"name": images.name, "count": count, "shape": list(images.images.shape[1:])}
    return found | {"settings": settings, "rows": rows}


OPEN = """
import json, sys, time
from vqcodec import ArchiveReader
def memory(): return sum(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) / 1024
def read(): return sum(int(l.split()[1]) for l in open("/proc/self/io") if l.startswith("rchar"))
import vqcodec.archive
before, begun = memory(), time.perf_counter()
reader = ArchiveReader(sys.argv[1])
opened, after, bytes_before = time.perf_counter(), memory(), read()
record = reader[len(reader) * 2 // 3]
print(json.dumps({"records": len(reader), "blocks": reader.blocks, "open_ms": 1e3 * (opened - begun),
    "first_read_ms": 1e3 * (time.perf_counter() - opened), "read_bytes": read() - bytes_before,
    "process_mb": memory(), "open_mb": after - before}))
"""


def million(folder: Path, data: bytes, records: int) -> dict[str, Any]:
    """Open an archive of many records in a fresh process: the slowest of five."""
    path = folder / "million.vqa"
    with ArchiveWriter(path) as writer:
        for number in range(records):
            writer.add(data, None, number % 1000)
    runs = []
    for _ in range(5):
        ended = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True)
        runs.append(json.loads(ended.stdout))
    return max(runs, key=lambda run: run["open_ms"]) | {"bytes": size_of(path)}


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = []
    for found in results["sets"].values():
        side = "x".join(map(str, found["shape"][:2]))
        lines += [f"{found['name']}: {found['count']} pictures of {side}", ""]
        columns = ["bytes a picture", "PSNR (dB)", "written /s", *(f"read /s, {w} workers" for w in WORKERS)]
        lines += [f"| form | {' | '.join(columns)} | processor time to read (µs) |"]
        lines += ["| --- |" + " ---: |" * (len(columns) + 1)]
        for name, row in found["rows"].items():
            size = f"{row['bytes'] / found['count']:.1f}" if "bytes" in row else ""
            quality = f"{row['psnr']:.1f}" if row.get("psnr", np.inf) < 1e6 else "exact" if "psnr" in row else ""
            written = f"{row['written_a_second']:.0f}" if "written_a_second" in row else ""
            reads = " | ".join(f"{row['read_a_second'][str(workers)]:.0f}" for workers in WORKERS)
            cost = f"{row['read_a_second']['cpu_us']:.0f}"
            lines += [f"| {name} | {size} | {quality} | {written} | {reads} | {cost} |"]
        overhead = found["rows"]["archive"]["overhead_a_record"]
        lines += ["", f"The archive has {overhead:.2f} bytes a picture beyond the codes, labels included.", ""]
    big = results.get("million")
    if big:
        lines += [
            f"An archive of {big['records']} records in {big['blocks']} blocks opens in {big['open_ms']:.1f} ms and "
            f"{big['open_mb']:.1f} MB (the process has {big['process_mb']:.0f} MB in all); its first record takes "
            f"{big['first_read_ms']:.2f} ms and reads {big['read_bytes']} bytes.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "archive.json")
    parser.add_argument(
        "--sets", nargs="+", choices=["cifar", "photos", "million"], default=["cifar", "photos", "million"]
    )
    parser.add_argument("--limit", type=int, default=60_000, help="pictures of CIFAR-10")
    parser.add_argument("--photos", type=int, default=2000, help="training photos, at most")
    parser.add_argument("--quality", type=float, default=50.0)
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument("--reads", type=int, default=20_000, help="pictures read in a round")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000, help="of the large archive")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder unless given")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {"sets": {}}
    results["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg(), "system": platform.platform()}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for chosen, read in (("cifar", cifar), ("photos", photos)):
            if chosen in arguments.sets:
                images = read(arguments.data, arguments.limit if chosen == "cifar" else arguments.photos)
                results["sets"][chosen] = compare(images, folder, arguments)
                save(results, arguments.output)
        if "million" in arguments.sets:
            image = cifar(arguments.data, 1).images[0]
            data = vqcodec.load().encode(image, arguments.quality, effort=arguments.effort)
            results["million"] = million(folder, data, arguments.records)
            save(results, arguments.output)
    print(table(results))


def save(results: dict[str, Any], target: Path) -> None:
    """Write JSON, and Markdown beside it."""
    target.write_text(json.dumps(results, indent=1) + "\n")
    target.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
