"""Rate-distortion benchmark: vqcodec beside JPEG, WebP, AVIF and JPEG XL on a folder of photos.

    python scripts/rd_benchmark.py FOLDER [--output scripts/results/NAME.json] [--baseline OLD.json]

Rate is the whole file on disk, distortion is measured on 8-bit RGB after reading that file back; both are
taken per image, then averaged per quality. Writes JSON (every image, settings, versions, machine) with a plot
beside it as PNG and SVG, and prints Markdown tables. Needs the extra `bench`. SSIMULACRA2 is measured where
its program is installed (see rd_ssimulacra2.py). On the original files of Kodak, published curves stand beside.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import rd_prior
import rd_published
import rd_ssimulacra2
from PIL import Image
from rd_coders import CLASSIC, Coder, VqcodecCoder
from rd_plot import plot
from rd_summary import DECIBEL_CAP, METRICS, at_rates, bd_rates, markdown, mean_curve

from vqcodec import metrics

CODECS = ("vqcodec", *CLASSIC)
SUFFIXES = {".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class Photo:
    """One reference picture: pixels (H, W, 3) uint8 and the SHA-256 of its file."""

    name: str
    sha256: str
    pixels: np.ndarray


@dataclass(frozen=True)
class Row:
    """One image at one quality of one codec."""

    image: str
    quality: float
    bytes: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    ssimulacra2: float | None
    encode_seconds: float
    decode_seconds: float


def load_photos(folder: Path, every: int = 1) -> list[Photo]:
    """All PNG, WebP, BMP, TIFF and PPM pictures directly in `folder`, by name, or one of `every`, as 8-bit RGB."""
    photos = []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)[::every]:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
        photos.append(Photo(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), pixels))
    return photos


def measure(coder: Coder, photo: Photo, quality: float, folder: Path) -> Row:
    """Encode into a file in `folder`, read it back, decode and compare; the seconds leave the disk out."""
    path = folder / f"{photo.name}.{coder.name}"
    started = time.perf_counter()
    encoded = coder.encode(photo.pixels, quality)
    encode_seconds = time.perf_counter() - started
    path.write_bytes(encoded)
    stored, size = path.read_bytes(), path.stat().st_size
    started = time.perf_counter()
    decoded = coder.decode(stored)
    decode_seconds = time.perf_counter() - started
    height, width = photo.pixels.shape[:2]
    similarity = metrics.ms_ssim(photo.pixels, decoded)
    score = rd_ssimulacra2.score(photo.pixels, decoded)
    return Row(
        image=photo.name,
        quality=quality,
        bytes=size,
        bpp=round(metrics.bpp(size, height, width), 6),
        psnr=round(min(metrics.psnr(photo.pixels, decoded), DECIBEL_CAP), 4),
        ms_ssim=None if similarity is None else round(similarity, 6),
        ssimulacra2=None if score is None else round(score, 4),
        encode_seconds=round(encode_seconds, 4),
        decode_seconds=round(decode_seconds, 4),
    )


def measure_all(coder: Coder, photos: Sequence[Photo]) -> dict[str, Any]:
    """Every photo at every quality of one codec: rows, when and where they were measured."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    measured = {"started": started, "machine": machine(), "ssimulacra2": rd_ssimulacra2.version()}
    rows = []
    with tempfile.TemporaryDirectory(prefix="rd_benchmark_") as folder:
        for photo in photos:
            rows += [asdict(measure(coder, photo, quality, Path(folder))) for quality in coder.qualities]
            report_progress(f"{coder.label}: {photo.name}")
    return {"measured": measured, "rows": rows}


def reuse_all(baseline: dict[str, Any], coder: Coder, photos: Sequence[Photo]) -> dict[str, Any] | None:
    """The rows of an earlier run; None unless settings, versions, qualities and image hashes all match.

    Rows without a SSIMULACRA2 of the program installed here get one.
    """
    earlier = baseline["codecs"].get(coder.name)
    if earlier is None or earlier["settings"] != coder.settings or earlier["versions"] != coder.versions:
        return None
    hashes = {image["name"]: image["sha256"] for image in baseline["images"]}
    known = {(hashes[row["image"]], row["quality"]): row for row in earlier["rows"]}
    wanted = [(photo, quality) for photo in photos for quality in coder.qualities]
    if any((photo.sha256, quality) not in known for photo, quality in wanted):
        return None
    rows = [{"ssimulacra2": None, **known[photo.sha256, quality], "image": photo.name} for photo, quality in wanted]
    measured = {"ssimulacra2": None, **earlier["measured"], "reused": True}
    if rd_ssimulacra2.version() not in (None, measured["ssimulacra2"]):
        measured["ssimulacra2"] = rd_ssimulacra2.version()
        for (photo, _), row in zip(wanted, rows, strict=True):
            row["ssimulacra2"] = score_again(coder, photo, row)
            report_progress(f"{coder.label}: SSIMULACRA2 of {photo.name} at {row['quality']:g}")
    return {"measured": measured, "rows": [asdict(Row(**row)) for row in rows]}


def score_again(coder: Coder, photo: Photo, row: dict[str, Any]) -> float:
    """SSIMULACRA2 of the file an earlier row tells of; RuntimeError when its size is not met any more."""
    encoded = coder.encode(photo.pixels, row["quality"])
    if len(encoded) != row["bytes"]:
        where = f"{coder.label}, {photo.name} at quality {row['quality']:g}"
        raise RuntimeError(f"{where}: {len(encoded)} bytes, but {row['bytes']} in the baseline")
    score = rd_ssimulacra2.score(photo.pixels, coder.decode(encoded))
    assert score is not None  # asked for only where the program is installed
    return round(score, 4)


def codec_entry(coder: Coder, photos: Sequence[Photo], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """All that the JSON says of one codec; classic codecs come from the baseline where it fits."""
    reused = reuse_all(baseline, coder, photos) if baseline and coder.name in CLASSIC else None
    if baseline and coder.name in CLASSIC:
        report_progress(f"{coder.label}: {'reused from' if reused else 'does not match'} the baseline")
    found = reused or measure_all(coder, photos)
    curve = mean_curve(found["rows"])
    return {
        "label": coder.label,
        "settings": coder.settings,
        "versions": coder.versions,
        "measured": found["measured"],
        "median_seconds": {
            step: round(statistics.median(row[f"{step}_seconds"] for row in found["rows"]), 4)
            for step in ("encode", "decode")
        },
        "at_bpp": {metric: at_rates(curve, metric) for metric in METRICS},
        "curve": curve,
        "rows": found["rows"],
    }


def add_prior(entry: dict[str, Any], coder: VqcodecCoder, photos: Sequence[Photo], fit: Path | None) -> None:
    """Put what the context prior costs and saves into vqcodec's entry."""
    fit_photos = None if fit is None else [photo.pixels for photo in load_photos(fit)]
    pictures = [(photo.name, photo.pixels) for photo in photos]
    costs = rd_prior.code_costs(coder.codec, pictures, coder.qualities, fit_photos, report_progress)
    entry["static_fit"] = "leave one out" if fit is None else f"{fit.name}: {len(fit_photos or ())} images"
    entry["prior"] = rd_prior.summarize(costs)
    entry["prior_rows"] = [asdict(cost) for cost in costs]


def machine() -> dict[str, Any]:
    """The computer, and how busy it was: timings mean little without."""
    cpu = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        cpu = found[1] if found else cpu
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    system = {"system": platform.platform(), "python": platform.python_version()}
    return {"cpu": cpu, "cores": os.cpu_count(), "load_before": load, **system}


def to_json(results: dict[str, Any]) -> str:
    """JSON with every innermost list or object on a line of its own."""
    spread = json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", lambda match: re.sub(r"\s*\n\s*", " ", match[0]), spread) + "\n"


def report_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def make_coder(name: str, model: str) -> Coder:
    """The codec called `name`; exits naming what is not installed."""
    try:
        return VqcodecCoder(model) if name == "vqcodec" else CLASSIC[name]()
    except ImportError as error:
        raise SystemExit(f"rd_benchmark: {name} is not available ({error}); install extra `bench`") from error


def parse_arguments() -> argparse.Namespace:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("folder", type=Path, help="folder of lossless reference pictures")
    parser.add_argument("--output", type=Path, help="JSON to write (default: scripts/results/FOLDER.json)")
    parser.add_argument("--codecs", default=",".join(CODECS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--model", default="photo", help="vqcodec model, name or file (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--baseline", type=Path, help="earlier JSON whose classic rows may be reused")
    fit_help = "folder to fit static tables on (default: leave one out)"
    parser.add_argument("--static-fit", type=Path, help=fit_help)
    arguments = parser.parse_args()
    arguments.codecs = arguments.codecs.split(",")
    if unknown := set(arguments.codecs) - set(CODECS):
        parser.error(f"unknown codec {', '.join(sorted(unknown))}; there are {', '.join(CODECS)}")
    for folder in (arguments.folder, arguments.static_fit):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder} is not a folder")
    if arguments.baseline is not None and not arguments.baseline.is_file():
        parser.error(f"{arguments.baseline} is not a file")
    if arguments.output is None:
        arguments.output = Path(__file__).parent / "results" / f"{arguments.folder.resolve().name}.json"
    return arguments


def main() -> None:
    arguments = parse_arguments()
    coders = [make_coder(name, arguments.model) for name in arguments.codecs]
    photos = load_photos(arguments.folder, arguments.every)
    if not photos:
        raise SystemExit(f"rd_benchmark: no pictures in {arguments.folder}")
    baseline = None if arguments.baseline is None else json.loads(arguments.baseline.read_text("utf-8"))
    codecs = {}
    for coder in coders:
        codecs[coder.name] = codec_entry(coder, photos, baseline)
        if isinstance(coder, VqcodecCoder):
            add_prior(codecs[coder.name], coder, photos, arguments.static_fit)
    images = [{"name": photo.name, "sha256": photo.sha256, "shape": list(photo.pixels.shape)} for photo in photos]
    results = {"folder": arguments.folder.resolve().name, "images": images, "bd_rate": bd_rates(codecs)}
    results["published"] = rd_published.beside(codecs, [photo.sha256 for photo in photos])
    results["codecs"] = codecs
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(to_json(results), "utf-8")
    plot(results, [arguments.output.with_suffix(suffix) for suffix in (".png", ".svg")])
    print(markdown(results))
    if rd_ssimulacra2.version() is None:
        report_progress(f"SSIMULACRA2 was not measured: {rd_ssimulacra2.PROGRAM} is not installed")


if __name__ == "__main__":
    main()
