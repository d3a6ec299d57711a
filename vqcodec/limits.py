"""How large a picture may be: bounds that are checked before anything is allocated."""

from __future__ import annotations

import warnings

from PIL import Image

from vqcodec.errors import LimitError

WARN_PIXELS = 89_478_485
MAX_PIXELS = 178_956_970
MAX_SIDE = 1 << 20  # of the file format, whatever the number of pixels


def check_size(height: int, width: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `LimitError` above `max_pixels` or `MAX_SIDE`, and warn (as Pillow does) above `WARN_PIXELS`."""
    refuse_above(max_pixels, height, width)
    if height * width > WARN_PIXELS:
        message = f"{width}x{height} is a very large picture: it needs much memory and time"
        warnings.warn(message, Image.DecompressionBombWarning, stacklevel=3)


def refuse_above(max_pixels: int, height: int, width: int) -> None:
    """Raise `LimitError` above `max_pixels` or `MAX_SIDE`."""
    if max(height, width) > MAX_SIDE:
        raise LimitError(f"{width}x{height} has a side over the limit of {MAX_SIDE} pixels")
    if height * width > max_pixels:
        raise LimitError(f"{width}x{height} is {height * width} pixels, over the limit of {max_pixels}")
