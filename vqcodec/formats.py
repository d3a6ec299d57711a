"""Pictures out: the image files that a decoded picture can be saved as."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from PIL import Image

from vqcodec.errors import UnsupportedImageError


@dataclass(frozen=True)
class SaveFormat:
    """How one image file format is written: Pillow's name and options, and what the format cannot hold."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    alpha: bool = True
    colour: bool = True
    max_side: int = 2**31 - 1
    deep: bool = False  # more than 8 bits a sample
    metadata: bool = True  # colour profile and EXIF data
    note: str = ""


_PNG = SaveFormat("PNG", deep=True)
_TIFF = SaveFormat("TIFF", {"compression": "tiff_deflate"}, deep=True)
_WEBP = SaveFormat("WEBP", {"lossless": True, "exact": True}, max_side=16383)
_BMP = SaveFormat("BMP", alpha=False, metadata=False)
_PPM = SaveFormat("PPM", alpha=False, deep=True, metadata=False)
_PGM = replace(_PPM, colour=False)  # Pillow's PPM writer makes a PGM file of a gray picture
_JPEG = SaveFormat(
    "JPEG", {"quality": 95, "subsampling": 0}, alpha=False, max_side=65500, note="saved as JPEG: lossy, quality 95"
)
SAVE_FORMATS = {
    ".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".webp": _WEBP, ".bmp": _BMP,
    ".ppm": _PPM, ".pgm": _PGM, ".pnm": _PPM, ".jpg": _JPEG, ".jpeg": _JPEG,
}  # fmt: skip


def save_image(image: Image.Image, target: BinaryIO, format: str) -> tuple[str, ...]:
    """Write an image of mode L, LA, RGB, RGBA or I;16 as PNG, TIFF, lossless WebP, BMP, PPM, PGM or JPEG file.

    Returns what was not kept, in words. `format` is a suffix of `SAVE_FORMATS` without its dot, in any case. Raises
    `UnsupportedImageError` where it is unknown, or cannot hold the transparency, the colour or the size.
    """
    chosen = SAVE_FORMATS.get(f".{format.lower()}")
    if chosen is None:
        raise UnsupportedImageError(f"cannot write the format {format}")
    if "A" in image.mode and not chosen.alpha:
        raise UnsupportedImageError(f"{chosen.name} cannot hold transparency: choose PNG, TIFF or WebP")
    if image.mode.startswith("RGB") and not chosen.colour:
        raise UnsupportedImageError(f"{format.upper()} cannot hold colour: choose PPM or PNG")
    if max(image.size) > chosen.max_side:
        raise UnsupportedImageError(f"{chosen.name} cannot hold sides over {chosen.max_side} pixels")
    if image.mode == "I;16" and not chosen.deep:
        raise UnsupportedImageError(f"{chosen.name} cannot hold 16 bits a sample: choose PNG, TIFF or PGM")
    metadata = {kind: image.info[kind] for kind in ("icc_profile", "exif") if kind in image.info}
    image.save(target, format=chosen.name, **chosen.options, **(metadata if chosen.metadata else {}))
    lost = (f"{chosen.name} cannot hold the colour profile and EXIF data",) if metadata and not chosen.metadata else ()
    return (*((chosen.note,) if chosen.note else ()), *lost)
