"""Filters of pictures: fitted where they pay, the same from every decoder, and any damage noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vqcodec
from vqcodec import _core, errors, weights
from vqcodec.transform import Transform


@pytest.fixture(scope="module")
def codec() -> vqcodec.Codec:
    return vqcodec.load("photo")


@pytest.fixture(params=[0.0, 50.0, 100.0])
def encoded(request: pytest.FixtureRequest, codec: vqcodec.Codec, photo: np.ndarray) -> bytes:
    return codec.encode(photo, request.param)


def test_a_filter_is_worth_its_bytes(codec: vqcodec.Codec, photo: np.ndarray, encoded: bytes) -> None:
    header, codes = _core.read_header(encoded), codec.codes(encoded)
    height, width, quality = header.height, header.width, header.quality
    plain = _core.synthesize(codec._model, codes, height, width, quality)
    before, after = (float(((shown.astype(float) - photo) ** 2).sum()) for shown in (plain, codec.decode(encoded)))
    without, _ = _core.write_file(codec._model, width, height, quality, codes)
    assert header.filter and header.version == 7 and _core.read_header(without).version == 2
    assert len(encoded) == len(without) + len(header.filter) + 1 <= len(without) + 100
    weight = weights.model_config(codec.info).lambda_at(quality / 16) / 3.0
    assert weight * (before - after) > 8.0 * (len(encoded) - len(without))
    assert np.array_equal(codec.decode(without), plain)


def test_plain_files_have_none(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    assert _core.read_header(codec.encode(photo, effort=0)).filter == b""
    msssim = vqcodec.load("photo-msssim")  # squared errors are not what it is for
    assert _core.read_header(msssim.encode(photo)).filter == b""


def test_every_way_to_decode_shows_the_same(codec: vqcodec.Codec, photo: np.ndarray, encoded: bytes) -> None:
    expected = codec.decode(encoded)
    for threads in (1, 2, 3):
        assert np.array_equal(codec.decode(encoded, threads=threads), expected)
    assert np.array_equal(np.asarray(codec.decode_image(encoded)), expected)
    assert np.array_equal(vqcodec.decode(encoded), expected)
    small = codec.encode(photo[:40, :56], 100)
    for shown in codec.decode_batch([encoded, small, encoded])[::2]:
        assert np.array_equal(shown, expected)
    transform = Transform(weights.load_networks(codec.info))
    header, codes = _core.read_header(encoded), codec.codes(encoded)
    by_torch = transform.synthesize(codes, expected.shape[:2], header.quality / 16, filter=header.filter)
    difference = np.abs(by_torch.astype(int) - expected)
    assert difference.max() <= 1 and np.mean(difference != 0) < 0.15
    together = transform.synthesize_batch([codes, codes], [header, header])
    assert all(np.array_equal(shown, by_torch) for shown in together)


def test_gray_pictures_have_filters(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    gray = photo[..., 1]
    data = codec.encode(gray, 60)
    header = _core.read_header(data)
    assert header.filter and header.gray and codec.decode(data).shape == gray.shape
    plain, _ = _core.write_file(codec._model, header.width, header.height, header.quality, codec.codes(data), True)
    errors_ = [((codec.decode(one).astype(float) - gray) ** 2).mean() for one in (data, plain)]
    assert errors_[0] < errors_[1]


def test_archives_keep_filters(codec: vqcodec.Codec, photo: np.ndarray, tmp_path: Path) -> None:
    images = [photo, photo[::-1].copy(), photo[:, ::-1].copy()]
    vqcodec.pack(images, tmp_path / "some.vqa", model="photo", quality=50.0)
    with vqcodec.ArchiveReader(tmp_path / "some.vqa") as archive:
        files = [archive[number].data for number in range(3)]
        assert files == [codec.encode(image, 50.0) for image in images]
        assert len({_core.read_header(file).filter for file in files}) == 3
        assert np.array_equal(archive[1].decode(), codec.decode(files[1]))


def test_damage_is_noticed(codec: vqcodec.Codec, encoded: bytes) -> None:
    filter = _core.read_header(encoded).filter
    place = encoded.index(filter)
    for index in range(place - 1, place + len(filter)):
        with pytest.raises(errors.VqcodecError):
            codec.decode(encoded[:index] + bytes([encoded[index] ^ 0x10]) + encoded[index + 1 :])
    header, codes = _core.read_header(encoded), codec.codes(encoded)
    size = (header.width, header.height, header.quality)
    for wrong in (b"\x09", filter + b"\x01" * 9, b"\x00" * 600):
        with pytest.raises(errors.InvalidInputError, match="filter"):
            _core.write_file(codec._model, *size, codes, filter=wrong)
    with pytest.raises(errors.CorruptedError, match="filter"):
        _core.filtered(b"\x09", np.zeros((2, 2, 3), np.int16))
    with pytest.raises(errors.InvalidInputError, match="3"):
        _core.filtered(filter, np.zeros((2, 2, 4), np.int16))


def test_info_tells_of_it(encoded: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.vqc").write_bytes(encoded)
    run = [sys.executable, "-m", "vqcodec", "info", str(tmp_path / "x.vqc")]
    ran = subprocess.run(run, capture_output=True, text=True, check=True)
    assert f"of these the filter {len(_core.read_header(encoded).filter)}" in ran.stdout
