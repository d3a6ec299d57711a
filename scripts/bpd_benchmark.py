"""Bits per dimension of lossless files: vqcodec beside PNG, WebP and JPEG XL on folders of pictures, in one run.

    python scripts/bpd_benchmark.py ../shared/data/kodak ../shared/data/val-photos --output scripts/results/bpd.json

Every file is decoded again and must be the picture it was made from. Bits are those of whole files, headers
included, over all samples of a folder; the speed is that of one thread, in megapixels a second. Needs the extra
`bench`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features
from rd_benchmark import load_photos, machine

import vqcodec
from vqcodec.api import encode_lossless


@dataclass(frozen=True)
class Coder:
    """A lossless coder of pixels (H, W, 3) uint8, with what decides its bytes."""

    label: str
    settings: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]


def pillow(label: str, format: str, library: str, **settings: Any) -> Coder:
    """A coder that Pillow has, or a plugin of it."""

    def encode(pixels: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format, **settings)
        return stream.getvalue()

    def decode(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    return Coder(label, f"{library}, {settings}", encode, decode)


def ours(preview: bool) -> Coder:
    """vqcodec's lossless files, with or without a preview."""
    model = "photo" if preview else None
    label = "vqcodec --lossless" + (" --preview" if preview else "")

    def encode(pixels: np.ndarray) -> bytes:
        return encode_lossless(pixels, model=model, verify=False, threads=1)[0]

    return Coder(label, version("vqcodec"), encode, lambda data: vqcodec.decode(data, threads=1))


def coders() -> list[Coder]:
    """All coders, the slowest settings of PNG and WebP and two efforts of JPEG XL."""
    from pillow_jxl import JpegXLImagePlugin

    JpegXLImagePlugin.DECODE_THREADS = 1
    jxl = f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"
    webp = {"lossless": True, "method": 6, "quality": 100}
    return [
        ours(preview=False),
        ours(preview=True),
        pillow("PNG", "PNG", f"Pillow {version('pillow')}", optimize=True),
        pillow("WebP lossless", "WEBP", f"libwebp {features.version('webp')}", **webp),
        pillow("JPEG XL e7", "JXL", jxl, lossless=True, effort=7, num_threads=1),
        pillow("JPEG XL e9", "JXL", jxl, lossless=True, effort=9, num_threads=1),
    ]


def measure(coder: Coder, photos: list[Any]) -> dict[str, Any]:
    """Bytes of every picture and the speed over all of them."""
    rows, spent = {}, [0.0, 0.0]
    for photo in photos:
        started = time.perf_counter()
        data = coder.encode(photo.pixels)
        encoded = time.perf_counter()
        decoded = coder.decode(data)
        spent[0] += encoded - started
        spent[1] += time.perf_counter() - encoded
        if not np.array_equal(decoded, photo.pixels):
            raise SystemExit(f"{coder.label}: {photo.name} does not come back")
        rows[photo.name] = len(data)
    samples = sum(photo.pixels.size for photo in photos)
    speed = [samples / 3e6 / seconds for seconds in spent]
    bits = 8 * sum(rows.values()) / samples
    print(f"{coder.label}: {bits:.3f} bits/dim, {speed[0]:.2f} / {speed[1]:.2f} Mpixel/s", file=sys.stderr)
    found = {"settings": coder.settings, "bits_per_dim": round(bits, 4), "bytes": rows}
    return found | {"encode_mpixel_s": round(speed[0], 3), "decode_mpixel_s": round(speed[1], 3)}


def table(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table: a row for each coder, bits/dim of each folder, speeds on the first."""
    folders = list(results)
    lines = ["| bits/dim | " + " | ".join(folders) + " | Mpixel/s, encode | decode |"]
    lines.append("| --- |" + " --- |" * (len(folders) + 2))
    for label, first in results[folders[0]]["coders"].items():
        bits = [f"{results[folder]['coders'][label]['bits_per_dim']:.3f}" for folder in folders]
        speeds = [f"{first['encode_mpixel_s']:.2f}", f"{first['decode_mpixel_s']:.2f}"]
        lines.append(f"| {label} | " + " | ".join(bits + speeds) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of pictures")
    parser.add_argument("--limit", type=int, help="pictures of each folder, the first by name")
    parser.add_argument("--output", type=Path, help="JSON file of all results")
    options = parser.parse_args()
    results = {}
    for folder in options.folders:
        photos = load_photos(folder)[: options.limit]
        images = [{"name": photo.name, "sha256": photo.sha256, "shape": list(photo.pixels.shape)} for photo in photos]
        measured = {coder.label: measure(coder, photos) for coder in coders()}
        results[folder.name] = {"images": images, "coders": measured}
    if options.output:
        options.output.write_text(json.dumps({"machine": machine(), "folders": results}, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
