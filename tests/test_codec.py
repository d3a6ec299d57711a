"""The whole chain with the built-in model: exact codes in any process, every picture kind, every damage noticed."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vqcodec
from vqcodec import VqcodecError, _core, errors, weights
from vqcodec.metrics import psnr
from vqcodec.transform import Transform

SIZES = [(1, 1), (1, 4000), (4000, 1), (257, 511), (16, 16), (17, 15)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 7919 + width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def codec() -> vqcodec.Codec:
    return vqcodec.load("photo")


def assert_codes_equal(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype == np.int32
        assert np.array_equal(x, y)


def test_photo_survives_with_less_error_at_higher_quality(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    sizes, errors_db = [], []
    for quality in (0, 30, 60, 100):
        data = codec.encode(photo, quality)
        sizes.append(len(data))
        errors_db.append(psnr(photo, vqcodec.decode(data)))
    assert sizes == sorted(sizes) and errors_db == sorted(errors_db)
    assert sizes[-1] < photo.size / 8 and errors_db[-1] > 30.0


def test_the_search_saves_bytes_at_every_quality_and_sizes_rise(codec: vqcodec.Codec, jpeg_path: Path) -> None:
    with Image.open(jpeg_path) as image:  # mostly smooth: full steps of the search go astray
        smooth = np.asarray(image)[:256, :256]
    config, sizes, shares = weights.model_config(codec.info), [], []
    for quality in range(0, 101, 10):
        worth = config.lambda_at(codec.position(quality) / 16) / 3.0  # bits, of a squared error
        costs, lengths = [], []
        for effort in (0, 1):
            data = codec.encode(smooth, quality, effort=effort, verify=False)
            error = np.square(codec.decode(data).astype(float) - smooth).sum()
            costs.append(8 * len(data) + worth * error)
            lengths.append(len(data))
        assert lengths[1] < lengths[0], (quality, lengths)
        assert costs[1] < 1.03 * costs[0], (quality, costs)  # smaller files may cost a little more (ABOUT_EQUAL)
        shares.append(costs[1] / costs[0])
        sizes.append(lengths[1])
    assert np.mean(shares) < 0.98, shares
    assert all(low < high for low, high in itertools.pairwise(sizes)), sizes


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_any_size_round_trips_with_any_number_of_threads(codec: vqcodec.Codec, size: tuple[int, int]) -> None:
    image = noise(*size)
    data = codec.encode(image, 40, effort=0, threads=1)
    assert codec.encode(image, 40, effort=0, threads=3) == data
    shown = codec.decode(data, threads=1)
    assert shown.shape == image.shape
    assert np.array_equal(codec.decode(data, threads=2), shown)
    codes = codec.codes(data, threads=1)
    assert np.array_equal(codes[0], _core.analyze(codec._model, image, codec.position(40), threads=2)[0])
    assert codes[0].shape[1:] == (-(-size[0] // 16), -(-size[1] // 16))
    for threads in (0, 2, 3):
        assert_codes_equal(codec.codes(data, threads=threads), codes)
    header = vqcodec.read_header(data)
    model = _core.Model(codec.info.path.read_bytes())
    for threads in (1, 2, 5):
        again, _ = _core.write_file(model, header.width, header.height, header.quality, codes, threads=threads)
        assert again == data


DIGESTS = """
import hashlib, sys, numpy, vqcodec
codec, data = vqcodec.load(), open(sys.argv[1], "rb").read()
image = numpy.load(sys.argv[2])
files = codec.encode(image, 20, effort=0), codec.encode(image[:200, :300], 20, effort=1)
for thing in (codec.codes(data)[0], *files, codec.decode(data)):
    print(hashlib.sha256(bytes(thing)).hexdigest())
"""


def test_every_kernel_gives_the_same_codes_bytes_and_pixels_in_a_fresh_process(
    codec: vqcodec.Codec, photo: np.ndarray, tmp_path: Path
) -> None:
    image = np.tile(photo, (3, 3, 1))  # 1152 x 1536: two by two tiles
    path = tmp_path / "tiled.vqc"
    data, searched = codec.encode(image, 20, effort=0), codec.encode(image[:200, :300], 20, effort=1)
    path.write_bytes(data)
    assert vqcodec.read_header(data).levels == [(16, 64)]
    assert codec.codes(data)[0].shape == (256, 72, 96)
    things = codec.codes(data)[0], data, searched, codec.decode(data)
    expected = [hashlib.sha256(bytes(thing)).hexdigest() for thing in things]
    np.save(tmp_path / "image.npy", image)
    kernels = 0
    for kernel in ("scalar", "avx2", "avx512", "neon"):
        ran = subprocess.run(
            [sys.executable, "-c", DIGESTS, path, tmp_path / "image.npy"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "", "VQCODEC_KERNEL": kernel},
        )
        if kernel != "scalar" and any(why in ran.stderr for why in ("no such kernel here", "this machine lacks")):
            continue
        assert ran.stdout.split() == expected, (kernel, ran.stderr)
        kernels += 1
    assert kernels >= 1


def test_torch_and_windows_show_the_same_picture(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    import torch

    image = np.tile(photo, (1, 5, 1))  # 384 x 2560: three tiles of codes, two windows of the networks
    data = codec.encode(image, 30, effort=0)  # without a filter
    codes = torch.from_numpy(codec.codes(data)[0]).float()[None] / codec.code_unit
    with torch.inference_mode():
        whole = weights.load_networks(codec.info).synthesize([codes], torch.tensor([codec.position(30) / 16]))
    expected = (whole[0] * 255.0).permute(1, 2, 0).numpy()
    assert np.abs(codec.decode(data) - expected).max() < 1.5  # rounding: no seam of any height


def test_torch_transform_gives_nearly_the_same_codes_and_pixels(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    transform = Transform(weights.load_networks(codec.info))
    for quality in (0, 50, 100):
        data = codec.encode(photo, quality, effort=0)
        codes, position = codec.codes(data), codec.position(quality) / 16
        settled = _core.settle(codec._model, codec.position(quality), transform.analyze(photo, position))
        assert np.mean(np.abs(settled[0] - codes[0])) < 0.1 * codec.code_unit  # one that rounds otherwise moves others
        difference = transform.synthesize(codes, photo.shape[:2], position).astype(int) - codec.decode(data)
        assert np.abs(difference).max() <= 1 and np.mean(difference != 0) < 0.15


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_gray_and_alpha_are_kept(codec: vqcodec.Codec, photo: np.ndarray, mode: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    if mode.endswith("A"):
        ramp = np.add.outer(np.arange(photo.shape[0]), np.arange(photo.shape[1])) // 8 % 256
        image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    given = np.asarray(image)
    shown = vqcodec.decode(codec.encode(image, 70))
    assert shown.shape == given.shape and shown.dtype == np.uint8
    if mode.endswith("A"):
        assert np.array_equal(shown[..., -1], given[..., -1])
    assert np.abs(shown.astype(int) - given.astype(int)).mean() < 8.0


def test_wrong_or_unknown_model_is_named_before_decoding(codec: vqcodec.Codec) -> None:
    data = bytearray(codec.encode(noise(16, 16)))
    other = "0123456789abcdef"
    size = vqcodec.read_header(bytes(data)).header_bytes
    data[6:14] = bytes.fromhex(other)
    data[size - 4 : size] = zlib.crc32(bytes(data[: size - 4])).to_bytes(4, "little")
    with pytest.raises(errors.ModelMissingError, match=other):
        vqcodec.decode(bytes(data))
    with pytest.raises(errors.ModelMismatchError, match=other):
        codec.decode(bytes(data))


def test_every_cut_has_a_named_error(codec: vqcodec.Codec) -> None:
    data = codec.encode(noise(40, 56), 30)
    for end in range(len(data)):
        with pytest.raises(VqcodecError):
            codec.codes(data[:end])
        with pytest.raises(VqcodecError):
            vqcodec.verify(data[:end])
    with pytest.raises(errors.CorruptedError, match="trailing"):
        codec.codes(data + b"\0")


def test_bit_flips_have_a_named_error(codec: vqcodec.Codec) -> None:
    data = codec.encode(noise(40, 56), 30)
    rng = np.random.default_rng(0)
    for position in rng.choice(8 * len(data), 2000, replace=8 * len(data) < 2000):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        with pytest.raises(VqcodecError):
            codec.decode(bytes(damaged))


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_have_a_named_error(data: bytes) -> None:
    for prefix in (b"", b"VQC\x1a\x01"):
        with pytest.raises(VqcodecError):
            vqcodec.verify(prefix + data)


def test_size_limit_is_checked_before_decoding(codec: vqcodec.Codec) -> None:
    data = codec.encode(noise(64, 64))
    with pytest.raises(errors.LimitError):
        codec.decode(data, max_pixels=4095)
    with pytest.raises(errors.InvalidInputError, match="between 0 and 100"):
        codec.encode(noise(8, 8), 101)


def test_effort_lowers_the_cost_and_files_decode_as_any(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    """Bits and error in the model's own exchange; gray and alpha go through as well."""
    config = weights.model_config(codec.info)
    height, width = photo.shape[:2]
    for level in (0, 3, 7):
        quality, costs = 100 * level / 7, []
        for effort in (0, 1, 2):
            data, report = codec.encode_report(photo, quality, effort=effort)
            assert data == codec.encode(photo, quality, effort=effort, threads=1)
            error = np.square(codec.decode(data).astype(np.float64) - photo).mean()
            costs.append(report.model_bits + config.lambda_at(level) * height * width * error)
        assert costs[1] < costs[0] and costs[2] < 1.001 * costs[1]
    tiny = np.dstack([photo[:21, :35, 0], photo[:21, :35, 1]])  # gray and alpha
    assert np.array_equal(codec.decode(codec.encode(tiny, effort=1))[..., 1], tiny[..., 1])


@pytest.mark.parametrize("effort", [-1, 4, 1 << 40])
def test_an_effort_that_is_none_is_refused(codec: vqcodec.Codec, effort: int) -> None:
    with pytest.raises(errors.InvalidInputError, match="effort"):
        codec.encode(noise(8, 8), effort=effort)


def test_bytes_stay_within_the_promise_over_the_prior(codec: vqcodec.Codec, photo: np.ndarray) -> None:
    for quality in (0, 50, 100):
        data, report = codec.encode_report(photo, quality)
        assert report.file_bytes == len(data)
        filter = vqcodec.read_header(data).filter
        assert len(data) <= report.model_bits / 8 * 1.001 + 4 + 32 + len(filter) + 1
        codes = codec.codes(data)
        model = _core.Model(codec.info.path.read_bytes())
        position = codec.position(quality)
        assert _core.cross_entropy(model, position, codes) == pytest.approx(report.model_bits)


def test_kodak_and_validation_codes_survive_other_processes(
    codec: vqcodec.Codec, shared_data: Path, tmp_path: Path
) -> None:
    """24 Kodak and all validation photos: what analysis gave here is what fresh processes read, 1 and 2 threads."""
    files = sorted(shared_data.glob("kodak/*.png")) + sorted(shared_data.glob("val-photos/*.webp"))
    model = _core.Model(codec.info.path.read_bytes())
    expected = []
    for number, file in enumerate(files):
        with Image.open(file) as image:
            photo = np.asarray(image.convert("RGB"))
        position = codec.position(10 + number % 80)
        codes = _core.analyze(model, photo, position)
        height, width = photo.shape[:2]
        data, _ = _core.write_file(model, width, height, position, codes, threads=1 + number % 2)
        (tmp_path / f"{number:03d}.vqc").write_bytes(data)
        expected.append(codes[0])
    program = (
        "import sys, numpy, pathlib, vqcodec\n"
        "codec = vqcodec.load('photo')\n"
        "files = sorted(pathlib.Path(sys.argv[1]).glob('*.vqc'))\n"
        "codes = [codec.codes(f.read_bytes(), threads=int(sys.argv[2]))[0] for f in files]\n"
        "numpy.savez(sys.argv[3], *codes)"
    )
    for threads in ("1", "2"):
        target = tmp_path / f"{threads}.npz"
        subprocess.run([sys.executable, "-c", program, tmp_path, threads, target], check=True)
        with np.load(target) as found:
            assert len(found.files) == len(files) == 24 + 62
            for name, codes in zip(found.files, expected, strict=True):
                assert np.array_equal(found[name], codes)


def test_samples_are_what_the_prior_says() -> None:
    codec = vqcodec.load()
    picture = codec.sample(100, 72, 60.0, seed=3)
    assert picture.shape == (100, 72, 3) and picture.std() > 1
    assert np.array_equal(picture, codec.sample(100, 72, 60.0, seed=3))
    assert not np.array_equal(picture, codec.sample(100, 72, 60.0, seed=4))
    position = codec.position(60.0)
    drawn = [_core.sample(codec.info.runtime, position, 256, 256, seed) for seed in range(4)]
    for codes in drawn:
        bits = _core.cross_entropy(codec.info.runtime, position, codes, adaptive=False)
        noise = np.random.default_rng(0).permuted(codes[0], axis=0)  # the same codes in other channels
        assert 1.4 * bits < _core.cross_entropy(codec.info.runtime, position, [noise], adaptive=False)
    for height, width in ((0, 5), (1 << 20, 1 << 20)):
        with pytest.raises(VqcodecError):
            _core.sample(codec.info.runtime, position, height, width, 0)
