"""Pictures in: PIL images, arrays and image files to 8-bit sRGB, with notes on what was not kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from vqcodec.errors import CorruptedError, LimitError, UnsupportedImageError, VqcodecError
from vqcodec.limits import MAX_PIXELS, check_size, refuse_above

WEBP_SIDE = 16383  # of the largest WebP image


@dataclass(frozen=True, eq=False)
class Picture:
    """An 8-bit sRGB picture, with what it was made from."""

    pixels: np.ndarray  # (H, W, 3) uint8 sRGB, C-contiguous; a gray picture has three equal channels
    gray: bool = False  # came from a gray image, and goes back to one
    alpha: np.ndarray | None = None  # (H, W) uint8; None where the image is opaque
    notes: tuple[str, ...] = ()  # what could not be kept, in plain words


def open_image(source: str | Path | BinaryIO | bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image file of any format that Pillow knows.

    Raises `LimitError` above `max_pixels` or `MAX_SIDE` before decoding, `UnsupportedImageError` for what is not
    a whole image, and `OSError` where the file itself cannot be opened.
    """
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            return open_image(file, max_pixels)
    stream = BytesIO(source) if isinstance(source, bytes) else source
    with named_errors(), Image.open(stream) as image:
        refuse_above(max_pixels, image.height, image.width)  # Pillow itself warns
        return _from_pillow(image)


def from_image(image: Image.Image | np.ndarray) -> Picture:
    """The picture of a PIL image, or of a uint8 array (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4).

    Raises `UnsupportedImageError` naming what does not fit, and `LimitError` above `MAX_PIXELS` or `MAX_SIDE`.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not isinstance(image, Image.Image):
        raise UnsupportedImageError(f"expected a PIL image or a uint8 array, not {type(image).__name__}")
    check_size(image.height, image.width)
    return _from_pillow(image)


def alpha_to_bytes(alpha: np.ndarray) -> bytes:
    """An alpha channel, (H, W) uint8, as the smaller of a lossless PNG and a lossless WebP file."""
    gray = Image.fromarray(alpha)
    png, webp = BytesIO(), BytesIO()
    gray.save(png, "PNG", optimize=True)
    if max(gray.size) > WEBP_SIDE:
        return png.getvalue()
    gray.convert("RGB").save(webp, "WEBP", lossless=True, method=4)
    return min(png.getvalue(), webp.getvalue(), key=len)


def alpha_from_bytes(data: bytes, height: int, width: int) -> np.ndarray:
    """The alpha channel, (H, W) uint8, out of `alpha_to_bytes`; `CorruptedError` for anything else."""
    try:
        with named_errors(), Image.open(BytesIO(data), formats=["PNG", "WEBP"]) as image:
            expected = "L" if image.format == "PNG" else "RGB"
            if image.size != (width, height) or image.mode != expected or getattr(image, "n_frames", 1) != 1:
                raise CorruptedError("the alpha channel does not fit the picture")
            layers = np.asarray(image).reshape(height, width, -1)
    except (UnsupportedImageError, LimitError) as error:
        raise CorruptedError(f"the alpha channel is damaged: {error}") from error
    if (layers != layers[..., :1]).any():
        raise CorruptedError("the alpha channel is not gray")
    return np.ascontiguousarray(layers[..., 0])


@dataclass(frozen=True)
class Window:
    """One piece of a grid, as (rows, columns) slices: its core, and the core with a margin around it."""

    core: tuple[slice, slice]  # in the grid; the cores of all windows cover it once
    region: tuple[slice, slice]  # in the grid; the core and the margin around it, clipped to the grid

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the core lies within the region."""
        rows, columns = (
            slice(core.start - region.start, core.stop - region.start)
            for core, region in zip(self.core, self.region, strict=True)
        )
        return rows, columns


def windows(height: int, width: int, core: int, margin: int) -> Iterator[Window]:
    """Cut a grid of height x width cells into cores of at most core x core cells, in raster order."""
    for y in range(0, height, core):
        for x in range(0, width, core):
            bottom, right = min(y + core, height), min(x + core, width)
            yield Window(
                core=(slice(y, bottom), slice(x, right)),
                region=(
                    slice(max(y - margin, 0), min(bottom + margin, height)),
                    slice(max(x - margin, 0), min(right + margin, width)),
                ),
            )


def pad_to_multiple(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """Repeat the last row and column of an (H, W, ...) array until both sides are multiples of `multiple`."""
    height, width = pixels.shape[:2]
    edges = [(0, -height % multiple), (0, -width % multiple)]
    return np.pad(pixels, edges + [(0, 0)] * (pixels.ndim - 2), mode="edge")


@contextmanager
def named_errors() -> Iterator[None]:
    """Pillow's readers let many kinds of errors through: give them the names of ours."""
    try:
        yield
    except (VqcodecError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(str(error)) from error
    except UnidentifiedImageError as error:
        raise UnsupportedImageError("not an image that Pillow can read") from error
    except Exception as error:
        raise UnsupportedImageError(f"the image cannot be decoded: {error}") from error


def _from_pillow(image: Image.Image) -> Picture:
    if min(image.size) < 1:
        raise UnsupportedImageError(f"the image is empty: {image.width}x{image.height}")
    from vqcodec.modes import samples  # half of Pillow, which decoding does without

    with named_errors():
        colour, alpha, notes = samples(image)
    return _picture(colour, alpha, notes)


def _from_array(array: np.ndarray) -> Picture:
    if array.dtype != np.uint8:
        raise UnsupportedImageError(f"expected uint8 samples (0 to 255), not {array.dtype}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise UnsupportedImageError(f"expected the shape (H, W) or (H, W, 1 to 4), not {array.shape}")
    if array.size == 0:
        raise UnsupportedImageError(f"the image is empty: its shape is {array.shape}")
    check_size(*array.shape[:2])
    layers = array.reshape(*array.shape[:2], -1)
    colours = 1 if layers.shape[2] <= 2 else 3
    alpha = layers[..., colours] if layers.shape[2] > colours else None
    return _picture(layers[..., :colours], alpha, ())


def _picture(colour: np.ndarray, alpha: np.ndarray | None, notes: tuple[str, ...]) -> Picture:
    """A picture from (H, W, 1 or 3) colour and (H, W) alpha, which is dropped where all of it is opaque."""
    gray = colour.shape[2] == 1
    pixels = np.repeat(colour, 3, axis=2) if gray else np.ascontiguousarray(colour)
    if alpha is not None:
        alpha = None if alpha.min() == 255 else np.ascontiguousarray(alpha)
    return Picture(pixels, gray, alpha, notes)
