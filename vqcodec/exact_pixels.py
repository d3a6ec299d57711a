"""Pictures in and out without any loss: PIL images and arrays <-> samples as they are, with their metadata.

Nothing is converted: colours keep their ICC profile, pixels their place (an EXIF orientation stays a note to who
shows them). What cannot be kept exactly is refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from vqcodec.errors import CorruptedError, UnsupportedImageError
from vqcodec.limits import MAX_PIXELS, check_size, refuse_above
from vqcodec.modes import frame_notes, stored_as
from vqcodec.pixels import named_errors

METADATA = {"icc_profile": 1, "exif": 2}  # of Pillow's `info`: the number of its kind in the file
MAX_METADATA = 1 << 26  # bytes, inflated
_KEPT_MODES = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA"}
_WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}


@dataclass(frozen=True, eq=False)
class ExactPicture:
    """Samples (H, W, 1 to 4) of 8 bits (uint8) or up to 16 (uint16): gray, gray and alpha, RGB, or RGB and alpha."""

    samples: np.ndarray
    bits: int = 8
    metadata: dict[str, bytes] = field(default_factory=dict)  # of the kinds in METADATA
    notes: tuple[str, ...] = ()  # what could not be kept, in plain words

    def to_array(self) -> np.ndarray:
        """The samples, of shape (H, W) where there is one channel."""
        return self.samples[..., 0] if self.samples.shape[2] == 1 else self.samples

    def to_8_bits(self) -> np.ndarray:
        """The colours, (H, W, 1 or 3) uint8, without alpha: what a lossy preview shows."""
        channels = 1 if self.samples.shape[2] <= 2 else 3
        return (self.samples[..., :channels] >> max(self.bits - 8, 0)).astype(np.uint8)

    def to_image(self) -> Image.Image:
        """A PIL image of mode L, LA, RGB, RGBA or I;16; UnsupportedImageError where none has enough bits."""
        if self.bits > 8 and self.samples.shape[2] > 1:
            raise UnsupportedImageError(f"Pillow has no colour images of {self.bits} bits a sample: decode to an array")
        image = Image.fromarray(self.to_array())
        image.info.update(self.metadata)
        return image


def open_exact(source: str | Path | BinaryIO | bytes, max_pixels: int = MAX_PIXELS) -> ExactPicture:
    """Read an image file as `pixels.open_image` does, but exactly."""
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            return open_exact(file, max_pixels)
    stream = BytesIO(source) if isinstance(source, bytes) else source
    with named_errors(), Image.open(stream) as image:
        refuse_above(max_pixels, image.height, image.width)
        return _from_pillow(image)


def exact_from_image(image: Image.Image | np.ndarray) -> ExactPicture:
    """The exact picture of a PIL image, or of an uint8 or uint16 array (H, W) or (H, W, 1 to 4)."""
    if isinstance(image, Image.Image):
        check_size(image.height, image.width)
        with named_errors():
            return _from_pillow(image)
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImageError("expected a PIL image or an array of uint8 or uint16 samples")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or image.size == 0:
        raise UnsupportedImageError(f"expected the shape (H, W) or (H, W, 1 to 4), not {image.shape}")
    check_size(*image.shape[:2])
    samples = np.ascontiguousarray(image.reshape(*image.shape[:2], -1))
    return ExactPicture(samples, 8 * samples.itemsize)


def metadata_to_bytes(metadata: dict[str, bytes]) -> bytes | None:
    """The metadata chunk: for each kind its number (1 byte), length (4 bytes, low first) and bytes, all deflated."""
    pieces = [struct.pack("<BI", METADATA[kind], len(data)) + data for kind, data in sorted(metadata.items())]
    return zlib.compress(b"".join(pieces), 9) if pieces else None


def metadata_from_bytes(chunk: bytes | None) -> dict[str, bytes]:
    """Mirror of `metadata_to_bytes`; kinds that this release does not know are left out."""
    if chunk is None:
        return {}
    kinds = {number: kind for kind, number in METADATA.items()}
    inflater = zlib.decompressobj()
    try:
        rest = inflater.decompress(chunk, MAX_METADATA)
    except zlib.error as error:
        raise CorruptedError(f"the metadata is damaged: {error}") from error
    found = {}
    while inflater.eof and len(rest) >= 5:
        number, length = struct.unpack_from("<BI", rest)
        data, rest = rest[5 : 5 + length], rest[5 + length :]
        if len(data) < length:
            break
        if number in kinds:
            found[kinds[number]] = data
    if rest or not inflater.eof:
        raise CorruptedError("the metadata is damaged")
    return found


def _from_pillow(image: Image.Image) -> ExactPicture:
    """The current frame as it is."""
    notes = frame_notes(image)
    mode, top = stored_as(image)
    image.load()
    metadata = {kind: data for kind in METADATA if isinstance(data := image.info.get(kind), bytes) and data}
    if "xmp" in image.info or "XML:com.adobe.xmp" in image.info:
        notes.append("XMP metadata dropped")
    if top > 255:
        samples = _deep_gray(image, mode, top)
        return ExactPicture(samples, max(int(samples.max()).bit_length(), 9), metadata, tuple(notes))
    kept = _KEPT_MODES.get(image.mode)
    if kept is None:
        raise UnsupportedImageError(f"an image of mode {image.mode} cannot be kept exactly: convert it to RGB first")
    if image.has_transparency_data:
        kept = _WITH_ALPHA.get(kept, kept)
    layers = np.asarray(image if image.mode == kept else image.convert(kept))
    return ExactPicture(np.ascontiguousarray(layers.reshape(*layers.shape[:2], -1)), 8, metadata, tuple(notes))


def _deep_gray(image: Image.Image, mode: str, top: int) -> np.ndarray:
    """Samples (H, W, 1) uint16 of a gray image of more than 8 bits."""
    if not (image.mode.startswith("I;16") or image.mode == "I") or "transparency" in image.info:
        bits = top.bit_length()
        raise UnsupportedImageError(f"Pillow reads only 8 of {bits} bits of an image of mode {mode}: encode an array")
    wide = np.asarray(image).astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise UnsupportedImageError("samples beyond 0 to 65535 cannot be kept")
    return wide.astype(np.uint16)[..., None]
