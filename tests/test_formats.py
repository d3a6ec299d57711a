from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import UnsupportedImageError
from vqcodec.formats import save_image

MODES = ["L", "LA", "RGB", "RGBA"]


def noise(mode: str, width: int = 6, height: int = 5) -> Image.Image:
    samples = np.random.default_rng(7).integers(0, 256, height * width * len(mode), np.uint8)
    return Image.frombytes(mode, (width, height), samples.tobytes())


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP", "PPM"])
@pytest.mark.parametrize("mode", MODES)
def test_lossless_formats_come_back(format: str, mode: str) -> None:
    image, stream = noise(mode), io.BytesIO()
    if "A" in mode and format in ("BMP", "PPM"):
        with pytest.raises(UnsupportedImageError, match="transparency"):
            save_image(image, stream, format)
        assert stream.getvalue() == b""
        return
    assert save_image(image, stream, format.lower()) == ()
    with Image.open(stream) as back:
        assert back.convert(mode).tobytes() == image.tobytes()


def test_jpeg_is_near_and_noted(photo: np.ndarray) -> None:
    stream = io.BytesIO()
    assert "lossy" in save_image(Image.fromarray(photo), stream, "JPEG")[0]
    assert np.abs(np.asarray(Image.open(stream)).astype(int) - photo).mean() < 4


def test_formats_refuse_what_they_cannot_hold() -> None:
    for image, format, reason in (
        (noise("RGBA"), "JPEG", "transparency"),
        (Image.new("RGB", (16384, 1)), "WEBP", "16383"),
        (noise("L"), "EPS", "EPS"),
        (Image.new("RGB", (1, 65501)), "JPEG", "65500"),
        (noise("RGB"), "PGM", "colour"),
    ):
        stream = io.BytesIO()
        with pytest.raises(UnsupportedImageError, match=reason):
            save_image(image, stream, format)
        assert stream.getvalue() == b""
    save_image(Image.new("RGB", (65500, 1)), io.BytesIO(), "JPEG")
    save_image(noise("L"), pgm := io.BytesIO(), "PGM")
    assert pgm.getvalue().startswith(b"P5")
