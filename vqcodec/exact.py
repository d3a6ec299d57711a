"""Lossless: a picture's samples to bytes and back, exactly, without a trained model, with one, or with a preview.

encode: samples (and codes -> synthesis) -> tiles -> adaptive or trained pixel model -> container -> bytes
decode: bytes -> container (-> codes -> synthesis) -> the same pixel model -> samples
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqcodec import _core, weights
from vqcodec.errors import CorruptedError, InvalidInputError
from vqcodec.limits import MAX_PIXELS, check_size

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from vqcodec.exact_pixels import ExactPicture

    Preview = tuple[_core.Model, int, list[np.ndarray], bool]
    Runtime = _core.Model | _core.PixelModel


@dataclass(frozen=True)
class ExactReport:
    """What a lossless encode came to: `file_bytes` on disk for `channels` samples of `bits` bits in each pixel."""

    width: int
    height: int
    channels: int
    bits: int
    file_bytes: int
    model: str | None = None  # id of the model that the samples need: one of pixels, or that of the preview

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8.0 * self.file_bytes / (self.width * self.height)

    @property
    def bits_per_dim(self) -> float:
        """Bits of the whole file per sample."""
        return self.bpp / self.channels

    @property
    def summary(self) -> str:
        """All of it in a line."""
        share = self.bits_per_dim / self.bits
        size = f"{self.width}x{self.height}, lossless, {self.bpp:.3f} bpp, {self.file_bytes} bytes"
        return f"{size} ({self.bits_per_dim:.3f} of {self.bits} bits a sample, {100 * share:.1f} %)"


def encode_exact(
    image: ExactPicture | Image.Image | np.ndarray,
    *,
    preview: Preview | None = None,
    pixels: _core.PixelModel | None = None,
    verify: bool = True,
    threads: int = 0,
) -> tuple[bytes, ExactReport]:
    """The file of an image's samples, uint8 or uint16, and what it came to.

    `preview` is a model, a quality position and codes of the same picture, which stand in front, and whether 8-bit
    colours may count on these; or `pixels` is the model that the file then needs, if it is smaller by it. With `verify`
    the bytes are decoded and compared first.
    """
    import numpy as np

    from vqcodec.exact_pixels import ExactPicture, exact_from_image, metadata_to_bytes

    picture = image if isinstance(image, ExactPicture) else exact_from_image(image)
    height, width, channels = picture.samples.shape
    metadata = metadata_to_bytes(picture.metadata)
    data = _core.write_exact(picture.samples, picture.bits, metadata, preview, threads, pixels)
    model = preview[0] if preview else pixels
    if verify and not np.array_equal(decode_exact(data, model=model, threads=threads).samples, picture.samples):
        raise CorruptedError("the encoded bytes do not decode to the samples they were made from")
    needed = needed_model(_core.read_header(data))
    return data, ExactReport(width, height, channels, picture.bits, len(data), needed)


def decode_exact(
    data: bytes, *, model: Runtime | None = None, max_pixels: int = MAX_PIXELS, threads: int = 0
) -> ExactPicture:
    """Mirror of `encode_exact`: the samples and their metadata; a model that the file needs is looked for."""
    from vqcodec.exact_pixels import ExactPicture, metadata_from_bytes

    header = _core.read_header(data, max_pixels)
    if header.exact is None:
        raise InvalidInputError("the file holds no exact samples")
    check_size(header.height, header.width, max_pixels)
    (samples, shape), bits = _core.read_exact(data, max_pixels, threads, _runtime(header, model))
    metadata = metadata_from_bytes(_core.read_metadata(data, max_pixels)) if header.metadata_bytes else {}
    return ExactPicture(_array(samples, shape, bits), bits, metadata)


def decode_exact_batch(
    files: Sequence[bytes],
    *,
    model: Runtime | None = None,
    max_pixels: int = MAX_PIXELS,
    threads: int = 0,
) -> list[np.ndarray]:
    """The samples of several lossless files, (H, W) or (H, W, channels), without metadata; files share the threads."""
    numbers: dict[str | None, list[int]] = {}
    runtimes: dict[str | None, Runtime | None] = {}
    for number, data in enumerate(files):
        header = _core.read_header(data, max_pixels)
        check_size(header.height, header.width, max_pixels)
        needed = needed_model(header)
        numbers.setdefault(needed, []).append(number)
        if needed not in runtimes:
            runtimes[needed] = _runtime(header, model)
    found: dict[int, np.ndarray] = {}
    for needed, chosen in numbers.items():
        decoded = _core.read_exact_batch([files[number] for number in chosen], max_pixels, threads, runtimes[needed])
        for number, ((samples, shape), bits) in zip(chosen, decoded, strict=True):
            array = _array(samples, shape, bits)
            found[number] = array[..., 0] if array.shape[2] == 1 else array
    return [found[number] for number in range(len(files))]


def needed_model(header: _core.Header) -> str | None:
    """The id of the model that the exact samples of a file need: one of pixels, or that of the preview."""
    return header.model_id if header.needs_pixel_model or header.needs_preview else None


def _runtime(header: _core.Header, given: Runtime | None) -> Runtime | None:
    """The model that the exact samples of a file need: the given one if it is of that kind, else a built-in one."""
    if needed_model(header) is None:
        return None
    if given and isinstance(given, _core.PixelModel) == header.needs_pixel_model:
        return given
    return weights.find(header.model_id).runtime


def _array(samples: bytearray, shape: tuple[int, int, int], bits: int) -> np.ndarray:
    import numpy as np

    return np.frombuffer(samples, np.dtype(np.uint8) if bits <= 8 else np.dtype("<u2")).reshape(shape)
