"""Lossless files: every sample comes back, with its metadata; damage is noticed; what cannot be kept is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from icc import rgb_profile
from PIL import Image, ImageFilter

import vqcodec
from vqcodec import _core, weights
from vqcodec.api import decode_batch, encode_lossless
from vqcodec.errors import (
    CorruptedError,
    InvalidInputError,
    ModelMismatchError,
    ModelMissingError,
    TruncatedError,
    UnsupportedImageError,
    VqcodecError,
)
from vqcodec.exact import decode_exact, encode_exact
from vqcodec.exact_pixels import MAX_METADATA, metadata_from_bytes, metadata_to_bytes, open_exact

SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20)) | st.tuples(
    st.integers(1, 20), st.integers(1, 20), st.integers(1, 4)
)


def photo_like(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """A smooth picture with some noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = 120 + 60 * np.sin(x / 9.0) + 50 * np.cos(y / 7.0) + np.random.default_rng(3).normal(0, 4, shape[:2])
    layers = waves if len(shape) == 2 else np.stack([waves * (1 - 0.2 * k) for k in range(shape[2])], axis=-1)
    return (layers.clip(0, 255) * (257 if dtype == np.uint16 else 1)).astype(dtype)


@settings(deadline=None, max_examples=40)
@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape) | arrays(np.uint16, shape)))
def test_any_array_comes_back(array: np.ndarray) -> None:
    back = vqcodec.decode(vqcodec.encode(array, lossless=True))
    expected = array[..., 0] if array.shape[2:] == (1,) else array
    assert back.dtype == array.dtype and np.array_equal(back, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(64, 80), (64, 80, 2), (64, 80, 3), (64, 80, 4), (1, 300, 3), (300, 1, 3)])
def test_smooth_pictures_become_small_and_come_back(shape: tuple[int, ...], dtype: type) -> None:
    array = photo_like(shape, dtype)
    data, report = encode_lossless(array)
    assert np.array_equal(vqcodec.decode(data), array)
    assert len(data) < 0.8 * array.nbytes
    assert report.file_bytes == len(data) and report.bits_per_dim == pytest.approx(8 * len(data) / array.size)


def test_blurred_photos_are_not_taken_for_drawings(jpeg_path: Path) -> None:
    with Image.open(jpeg_path) as image:
        blurred = image.convert("L").filter(ImageFilter.GaussianBlur(6))  # most samples equal their left neighbours
    webp = io.BytesIO()
    blurred.save(webp, "WEBP", lossless=True, method=6)
    assert len(vqcodec.encode(blurred, lossless=True)) < 0.5 * webp.tell()


def test_tiles_and_threads_change_nothing() -> None:
    array = np.random.default_rng(0).integers(0, 4, (1030, 1100), np.uint8)
    files = {encode_lossless(array, threads=threads, verify=False)[0] for threads in (1, 2, 3)}
    assert len(files) == 1
    data = files.pop()
    assert all(np.array_equal(vqcodec.decode(data, threads=threads), array) for threads in (1, 2))


def test_noise_does_not_grow() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    assert len(vqcodec.encode(noise, lossless=True)) <= 1.005 * noise.nbytes + 64


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pillow_images_come_back(mode: str, photo: np.ndarray) -> None:
    image = Image.fromarray(photo[:40, :50])
    if mode == "I;16":
        image = Image.fromarray(photo[:40, :50, 0].astype(np.uint16) * 200)
    elif mode.endswith("A"):
        image.putalpha(Image.fromarray(photo[:40, :50, 0]))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    data, _ = encode_lossless(image)
    shown = {"1": "L", "P": "RGB"}.get(mode, mode)
    back = vqcodec.decode_image(data)
    assert back.mode == shown and back.tobytes() == (image if mode == shown else image.convert(shown)).tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "F"])
def test_what_cannot_be_kept_is_refused(mode: str) -> None:
    with pytest.raises(UnsupportedImageError, match=mode):
        encode_lossless(Image.new(mode, (4, 4)))
    with pytest.raises(UnsupportedImageError):
        encode_lossless(np.zeros((4, 4), np.float32))
    with pytest.raises(UnsupportedImageError, match="array"):
        vqcodec.decode_image(vqcodec.encode(np.full((4, 4, 3), 999, np.uint16), lossless=True))


def test_metadata_comes_back(tmp_path: Path, photo: np.ndarray) -> None:
    profile = rgb_profile("Display P3", gamma=2.2)
    image, exif = Image.fromarray(photo[:32, :48]), Image.Exif()
    exif[274], exif[305] = 6, "a program"
    image.save(tmp_path / "a.png", icc_profile=profile, exif=exif)
    picture = open_exact(tmp_path / "a.png")
    assert picture.samples.shape == (32, 48, 3)  # an orientation turns nothing
    image = vqcodec.decode_image(encode_lossless(picture)[0])
    assert image.info["icc_profile"] == profile
    assert image.getexif()[274] == 6 and image.getexif()[305] == "a program"
    command = [sys.executable, "-m", "vqcodec"]
    subprocess.run([*command, "encode", "--lossless", "a.png"], cwd=tmp_path, check=True)
    subprocess.run([*command, "decode", "a.vqc", "-o", "b.png"], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "b.png") as after:
        assert before.tobytes() == after.tobytes()
        assert before.info["icc_profile"] == after.info["icc_profile"] and before.getexif() == after.getexif()
    ended = subprocess.run([*command, "decode", "a.vqc", "-o", "b.ppm"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and "cannot hold the colour profile" in ended.stderr


@given(st.dictionaries(st.sampled_from(["icc_profile", "exif"]), st.binary(min_size=1)))
def test_metadata_chunk_comes_back(metadata: dict[str, bytes]) -> None:
    assert metadata_from_bytes(metadata_to_bytes(metadata)) == metadata


@given(st.binary())
def test_damaged_metadata_is_an_error(chunk: bytes) -> None:
    with pytest.raises(CorruptedError, match="metadata"):
        metadata_from_bytes(chunk)
    good = metadata_to_bytes({"exif": b"Exif" + chunk})
    assert good is not None
    with pytest.raises(CorruptedError, match="metadata"):
        metadata_from_bytes(good[:-1])


def test_metadata_cannot_fill_the_memory() -> None:
    bomb = metadata_to_bytes({"exif": bytes(MAX_METADATA)})
    assert bomb is not None and len(bomb) < 100_000
    with pytest.raises(CorruptedError):
        metadata_from_bytes(bomb)


def test_a_preview_stands_in_front(photo: np.ndarray) -> None:
    array = photo[:128, :160]
    plain, data = vqcodec.encode(array, lossless=True), vqcodec.encode(array, lossless=True, preview=True)
    assert np.array_equal(vqcodec.decode(data), array)
    shown = vqcodec.decode(data, levels=1)
    assert shown.shape == array.shape and 2 < np.abs(shown.astype(int) - array).mean() < 20
    codec = vqcodec.load()
    assert np.array_equal(shown, codec.decode(codec.encode(array, 0.0, effort=0)))
    header = vqcodec.read_header(data)
    prefix = header.header_bytes + header.payload_bytes[0] + 4
    assert np.array_equal(vqcodec.decode(data[:prefix], levels=1), shown)
    assert len(data) - len(plain) < header.payload_bytes[0] + 8
    with pytest.raises(InvalidInputError, match="no 1 levels"):
        vqcodec.decode(plain, levels=1)
    with pytest.raises(InvalidInputError, match="no codes"):
        vqcodec.codes(plain)
    with pytest.raises(InvalidInputError, match="lossless"):
        codec.decode(data)


def test_samples_may_count_on_a_better_preview(photo: np.ndarray, tmp_path: Path) -> None:
    array = photo[:128, :160]
    codec = vqcodec.load()
    plain, data = (
        vqcodec.encode(array, lossless=True),
        vqcodec.encode(array, lossless=True, preview=True, preview_quality=60.0),
    )
    header = vqcodec.read_header(data)
    assert header.needs_preview and header.model_id == codec.info.model_id and header.quality == codec.position(60.0)
    assert len(data) - len(plain) < 0.9 * header.payload_bytes[0]  # the samples cost less behind it
    vqcodec.verify(data)
    assert all(np.array_equal(vqcodec.decode(data, threads=threads), array) for threads in (1, 2))
    lossy = codec.encode(array, 60.0, effort=0)
    assert np.array_equal(vqcodec.decode(data, levels=1), codec.decode(lossy))
    small = vqcodec.encode(array[:32, :32], lossless=True, model="tiny")
    assert vqcodec.read_header(small).needs_pixel_model
    for model in (None, "photo", "tiny"):
        decoded = decode_batch([data, plain, small, data] + [lossy] * (model != "tiny"), model=model)
        assert all(np.array_equal(decoded[number], array) for number in (0, 1, 3))
        assert np.array_equal(decoded[2], array[:32, :32])
    assert encode_lossless(array, preview=True, preview_quality=60.0)[1].model == header.model_id
    (samples, _), _ = _core.read_exact(data, model=weights.resolve("photo").codes)
    assert samples == array.tobytes()
    with pytest.raises(InvalidInputError, match="model of its preview"):
        _core.read_exact(data)
    with pytest.raises(ModelMismatchError):
        _core.read_exact(data, model=weights.resolve("thumb").codes)
    packed = tmp_path / "a.vqa"
    with vqcodec.ArchiveWriter(packed) as writer:
        writer.add(data)
    with vqcodec.ArchiveReader(packed) as reader:
        assert reader[0].data == data and np.array_equal(reader[0].decode(), array)


@pytest.mark.parametrize(("shape", "dtype"), [((40, 50), np.uint8), ((40, 50, 4), np.uint8), ((40, 50, 3), np.uint16)])
def test_samples_that_are_not_8_bit_colours_count_on_no_preview(shape: tuple[int, ...], dtype: type) -> None:
    array = photo_like(shape, dtype)
    data = vqcodec.encode(array, lossless=True, preview=True, preview_quality=60.0)
    assert vqcodec.read_header(data).levels and not vqcodec.read_header(data).needs_preview
    assert np.array_equal(vqcodec.decode(data), array)


def test_a_preview_of_a_model_that_is_not_there(photo: np.ndarray, tmp_path: Path) -> None:
    array = photo[128:192, 128:192]
    stored = (weights.BUILTIN / "thumb.safetensors").read_bytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(stored.replace(b'\\"name\\": \\"thumb\\"', b'\\"name\\": \\"other\\"'))
    assert other.read_bytes() != stored
    for quality, needed in ((0.0, False), (80.0, True)):
        data = vqcodec.encode(array, lossless=True, preview=True, preview_quality=quality, model=other)
        assert vqcodec.read_header(data).needs_preview == needed
        assert np.array_equal(vqcodec.decode(data, model=other), array)
        if needed:
            with pytest.raises(ModelMissingError, match=vqcodec.read_header(data).model_id):
                vqcodec.decode(data)
        else:
            assert np.array_equal(vqcodec.decode(data), array)


@pytest.mark.parametrize("behind_a_preview", [False, True])
def test_every_damage_is_noticed(photo: np.ndarray, behind_a_preview: bool) -> None:
    data = vqcodec.encode(photo[150:200, 150:200], lossless=True, preview=behind_a_preview, preview_quality=60.0)
    assert vqcodec.read_header(data).needs_preview == behind_a_preview
    vqcodec.verify(data)
    for end in range(0, len(data), 37):
        with pytest.raises(TruncatedError):
            vqcodec.decode(data[:end])
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with pytest.raises(VqcodecError):
            vqcodec.decode(bytes(damaged))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InvalidInputError, match="do not fit into 3 bits"):
        _core.write_exact(np.full((2, 2, 1), 8, np.uint8), 3)
    with pytest.raises(InvalidInputError):
        _core.write_exact(np.zeros((2, 2, 5), np.uint8), 8)
    with pytest.raises(TypeError):
        _core.write_exact(np.zeros((2, 2, 1), np.float32), 8)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no exact samples"):
        decode_exact(vqcodec.load().encode(np.zeros((8, 8, 3), np.uint8), effort=0))


def test_the_command_line_says_what_goes_together(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.png")
    for options in (["--lossless", "-q", "30"], ["--lossless", "--preview", "--effort", "1"], ["--preview"]):
        command = [sys.executable, "-m", "vqcodec", "encode", "a.png", *options]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 2 and "Traceback" not in ended.stderr
        assert not (tmp_path / "a.vqc").exists()
    command = [sys.executable, "-m", "vqcodec", "encode", "a.png", "--lossless", "--preview", "-q", "40"]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert vqcodec.read_header((tmp_path / "a.vqc").read_bytes()).quality == vqcodec.load().position(40.0)
    ended = subprocess.run([*command, "-f", "--model", "photo-vq"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and "photo-vq has one quality: -q is ignored" in ended.stderr


def test_a_report_counts_the_file() -> None:
    array = photo_like((50, 60, 3), np.uint8)
    data, report = encode_exact(array)
    assert (report.width, report.height, report.channels, report.bits) == (60, 50, 3, 8)
    assert report.bpp == 8 * len(data) / 3000 and str(len(data)) in report.summary
