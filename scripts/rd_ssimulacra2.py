"""SSIMULACRA2 by the program `ssimulacra2_rs` of rust-av, a port that keeps to the reference's scores.

    cargo install ssimulacra2_rs --version 0.5.2 --no-default-features --locked

Not by the Python package `ssimulacra2` 0.3.0: it scores JPEG and WebP files of Kodak up to 6 points lower.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

PROGRAM = "ssimulacra2_rs"


@cache
def version() -> str | None:
    """Name and version of the program, None where it is not installed."""
    if shutil.which(PROGRAM) is None:
        return None
    return _output("--version")


def score(reference: np.ndarray, decoded: np.ndarray) -> float | None:
    """SSIMULACRA2 of two pictures (H, W, 3) uint8: 100 when equal, below 0 when very bad; None without the program."""
    if version() is None:
        return None
    with tempfile.TemporaryDirectory(prefix="ssimulacra2_") as folder:
        paths = [Path(folder) / name for name in ("reference.png", "decoded.png")]
        for path, pixels in zip(paths, (reference, decoded), strict=True):
            Image.fromarray(pixels).save(path, compress_level=1)
        return float(_output("image", *map(str, paths)).split()[-1])


def _output(*arguments: str) -> str:
    return subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True).stdout.strip()
