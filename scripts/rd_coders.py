"""The codecs that rd_benchmark measures, each with its settings, versions and ladder of qualities."""

from __future__ import annotations

import io
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from PIL import Image, features


class Coder(Protocol):
    """Pixels (H, W, 3) uint8 -> bytes -> pixels; `settings` and `versions` are all that decides the bytes."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def qualities(self) -> tuple[float, ...]: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def versions(self) -> dict[str, str]: ...
    def encode(self, pixels: np.ndarray, quality: float) -> bytes: ...
    def decode(self, data: bytes) -> np.ndarray: ...


@dataclass(frozen=True)
class PillowCoder:
    """A classic codec as Pillow or one of its plugins writes it; without ICC profile or EXIF."""

    name: str  # also the file suffix
    label: str
    format: str
    qualities: tuple[float, ...]
    settings: dict[str, Any]
    versions: dict[str, str]

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, self.format, quality=quality, **self.settings)
        return stream.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))


class VqcodecCoder:
    """vqcodec through its public Python API, eight qualities from 0 to 100."""

    name = "vqcodec"
    qualities = tuple(round(100 * level / 7, 2) for level in range(8))

    def __init__(self, model: str) -> None:
        import vqcodec
        from vqcodec import _core

        self.codec = vqcodec.load(model)
        self.label = f"vqcodec ({self.codec.name})"
        self.settings = {"model": self.codec.name, "model_id": self.codec.model_id, "kernel": _core.kernel()}
        self.versions = {package: version(package) for package in ("vqcodec", "torch", "pytorch-msssim")}

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        data: bytes = self.codec.encode(pixels, quality)
        return data

    def decode(self, data: bytes) -> np.ndarray:
        pixels: np.ndarray = self.codec.decode(data)
        return pixels


def jpeg() -> Coder:
    """JPEG as Pillow writes it by default, which is what published JPEG curves on Kodak use."""
    return PillowCoder(
        name="jpeg",
        label="JPEG",
        format="JPEG",
        qualities=(5, 10, 15, 20, 30, 40, 50, 60),
        settings={"subsampling": "4:2:0"},
        versions=_versions(libjpeg_turbo=features.version("libjpeg_turbo")),
    )


def webp() -> Coder:
    """Lossy WebP, slowest method."""
    return PillowCoder(
        name="webp",
        label="WebP",
        format="WEBP",
        qualities=(0, 1, 5, 10, 20, 30, 45, 60, 80),
        settings={"method": 6},
        versions=_versions(libwebp=features.version("webp")),
    )


def avif() -> Coder:
    """AVIF with full chroma; one thread and no tiles, because libavif's bytes depend on both."""
    from PIL import _avif

    return PillowCoder(
        name="avif",
        label="AVIF",
        format="AVIF",
        qualities=(10, 18, 25, 30, 36, 43, 52, 63),
        settings={"speed": 4, "subsampling": "4:4:4", "max_threads": 1, "autotiling": False},
        versions=_versions(libavif=features.version("avif"), codecs=_avif.codec_versions()),
    )


def jxl() -> Coder:
    """JPEG XL, effort 7, from quality 19: libjxl 0.12 halves the picture below, which costs 2 dB of PSNR."""
    import pillow_jxl  # noqa: F401  (registers the format)

    return PillowCoder(
        name="jxl",
        label="JPEG XL",
        format="JXL",
        qualities=(19, 22, 26, 32, 45, 60, 70, 80),
        settings={"effort": 7},
        versions=_versions(**{"pillow-jxl-plugin": version("pillow-jxl-plugin")}),
    )


CLASSIC = {"jpeg": jpeg, "webp": webp, "avif": avif, "jxl": jxl}


def _versions(**libraries: str | None) -> dict[str, str]:
    named = {name: found for name, found in libraries.items() if found is not None}
    return {"pillow": version("pillow"), "pytorch-msssim": version("pytorch-msssim"), **named}
