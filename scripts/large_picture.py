"""Send one large picture through the installed command line: seconds, peak memory, bytes.

    python scripts/large_picture.py --megapixels 89

The picture is a repository photo, repeated with changing brightness; encode (with its verification) and
decode run as processes of their own, whose peak resident memory is compared with the picture's raw size.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PHOTO = Path(__file__).parents[1] / "tests" / "data" / "shore.jpg"


def picture(megapixels: float) -> np.ndarray:
    """A square-ish picture (H, W, 3) uint8 of that many million pixels."""
    with Image.open(PHOTO) as image:
        photo = np.asarray(image.convert("RGB")).astype(np.float32)
    side = math.isqrt(round(megapixels * 1e6))
    repeats = -(-side // photo.shape[0])
    gains = np.random.default_rng(0).uniform(0.4, 1.0, (repeats, repeats))
    rows = [np.concatenate([(photo * gain).astype(np.uint8) for gain in row], axis=1) for row in gains]
    return np.concatenate(rows)[:side, :side]


def run(*arguments: object) -> tuple[float, int]:
    """Seconds and peak resident bytes of one `vqcodec` process."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "vqcodec", *map(str, arguments)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"vqcodec {arguments[0]} failed")
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=89.0)
    parser.add_argument("--quality", type=float, default=50.0)
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # a size of our own making
    pixels = picture(options.megapixels)
    with tempfile.TemporaryDirectory() as folder:
        source, coded, shown = (Path(folder) / name for name in ("in.ppm", "in.vqc", "out.ppm"))
        Image.fromarray(pixels).save(source)
        steps = {
            "encode": run("encode", source, "--effort", "0", "-q", options.quality, "-o", coded, "--quiet"),
            "decode": run("decode", coded, "-o", shown, "--quiet"),
        }
        with Image.open(shown) as image:
            error = np.mean(np.square(np.asarray(image).astype(np.float32) - pixels))
        size = coded.stat().st_size
    print(f"{pixels.shape[1]}x{pixels.shape[0]}, {size} bytes, {8 * size / pixels[..., 0].size:.3f} bpp, ", end="")
    print(f"{10 * math.log10(65025 / error):.2f} dB")
    for name, (seconds, peak) in steps.items():
        print(f"{name}: {seconds:.1f} s, peak {peak / 2**20:.0f} MiB = {peak / pixels.nbytes:.1f} x the raw picture")


if __name__ == "__main__":
    main()
