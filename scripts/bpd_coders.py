"""The lossless coders of bpd_benchmark.py: vqcodec, PNG, WebP and JPEG XL, one thread each."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image, features

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


def ours(*, preview: float | None = None, model: str | None = None) -> Coder:
    """vqcodec's lossless files, with a preview of a quality, with a model of pixels, or with neither."""
    label = "vqcodec --lossless" + (f" --model {model}" if model else "")
    if preview is not None:
        label += " --preview" + (f" -q {preview:g}" if preview else "")
    options = {"preview": preview is not None, "preview_quality": preview or 0.0}

    def encode(pixels: np.ndarray) -> bytes:
        return encode_lossless(pixels, model=model, verify=False, threads=1, **options)[0]

    return Coder(label, version("vqcodec"), encode, lambda data: vqcodec.decode(data, threads=1))


def others() -> list[Coder]:
    """The slowest settings of PNG and WebP and two efforts of JPEG XL."""
    from pillow_jxl import JpegXLImagePlugin

    JpegXLImagePlugin.DECODE_THREADS = 1
    jxl = f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"
    webp = {"lossless": True, "method": 6, "quality": 100}
    return [
        pillow("PNG", "PNG", f"Pillow {version('pillow')}", optimize=True),
        pillow("WebP lossless", "WEBP", f"libwebp {features.version('webp')}", **webp),
        pillow("JPEG XL e7", "JXL", jxl, lossless=True, effort=7, num_threads=1),
        pillow("JPEG XL e9", "JXL", jxl, lossless=True, effort=9, num_threads=1),
    ]
