"""Two levels: the coarse one foretells the fine one, and is a picture by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run
from PIL import Image
from test_models import SMALL, SMALL_BOOK, SMALL_PLAIN

import vqcodec
from vqcodec import _core, weights
from vqcodec.config import ModelConfig
from vqcodec.errors import CorruptedError, InvalidInputError, TruncatedError
from vqcodec.export import export_model
from vqcodec.models import VQVAE
from vqcodec.successors import go_on_as
from vqcodec.transform import Transform

GRID = dataclasses.replace(SMALL, coarse_slices=(3, 5))
PLAIN = dataclasses.replace(SMALL_PLAIN, coarse_slices=(1,))
BOOK = dataclasses.replace(SMALL_BOOK, coarse_slices=(2,))
ALL = pytest.mark.parametrize("config", [GRID, PLAIN, BOOK], ids=["grid", "plain", "codebook"])


def random_model(config: ModelConfig) -> VQVAE:
    """A model whose every part matters: no weight is zero."""
    torch.manual_seed(3)
    model = VQVAE(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 16
            parameter.normal_(std=0.3 if "gain" in name else 0.7 / fan**0.5)
    return model


def codec_of(model: VQVAE, folder: Path) -> vqcodec.Codec:
    path = folder / "two.safetensors"
    path.write_bytes(export_model(model, name="two", description=""))
    return vqcodec.load(path)


@ALL
@pytest.mark.parametrize("size", [(1, 1), (100, 131), (300, 90)])
def test_files_of_two_levels_come_back(config: ModelConfig, size: tuple[int, int], tmp_path: Path) -> None:
    codec = codec_of(random_model(config), tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    data = codec.encode(image, 60)
    header = vqcodec.read_header(data)
    assert [stride for stride, _ in header.levels] == [2 * config.stride, config.stride]
    coarse, fine = codec.codes(data)
    assert fine.shape == (sum(config.slices), *(-(-side // config.stride) for side in size))
    assert coarse.shape == (sum(config.coarse_slices), *(-(-side // 2) for side in fine.shape[1:]))
    assert codec.decode(data).shape == image.shape

    prefix = data[: len(data) - header.payload_bytes[1] - 4]  # nor the fine level's checksum
    assert np.array_equal(codec.codes(prefix, levels=1)[0], coarse)
    shown = codec.decode(prefix, levels=1)
    assert shown.shape == image.shape and np.array_equal(shown, codec.decode(data, levels=1))
    with pytest.raises(TruncatedError):
        codec.decode(prefix)
    with pytest.raises(InvalidInputError, match="no 3 levels"):
        codec.decode(data, levels=3)


@ALL
def test_torch_and_the_runtime_agree(config: ModelConfig, tmp_path: Path, photo: np.ndarray) -> None:
    codec = codec_of(random_model(config), tmp_path)
    transform = Transform(weights.load_networks(codec.info))
    image = np.ascontiguousarray(photo[:250, :330])
    position = codec.position(40)
    for levels in (1, 2):
        codes = _core.analyze(codec.info.runtime, image, position)
        found = transform.analyze(image, position / 16)
        for one, other in zip(codes, found, strict=True):
            assert one.shape == other.shape and np.mean(one != other) < 0.05  # ties, and what they change below
        shown = transform.synthesize(codes[:levels], (250, 330), position / 16).astype(int)
        runtime = _core.synthesize(codec.info.runtime, codes[:levels], 250, 330, position)
        assert np.abs(shown - runtime).max() <= 2
    with torch.no_grad():
        grids = [torch.from_numpy(grid).long()[None] for grid in codes]
        bits = transform.model.code_bits(grids, torch.tensor([position / 16]))
    given = _core.cross_entropy(codec.info.runtime, position, codes, adaptive=False)
    assert given == pytest.approx(sum(float(one.sum()) for one in bits), rel=0.01)


def test_a_model_grows_a_coarse_level(photo: np.ndarray) -> None:
    config = dataclasses.replace(SMALL, analysis_width=32, channels=24)
    one = VQVAE(config).eval()
    with torch.no_grad():  # skips of a real transform: orthonormal rows
        basis = torch.linalg.qr(torch.randn(768, 24))[0]
        one.analysis.skip.weight.copy_(basis.T[:, :, None, None])
        one.synthesis.skip.weight.copy_(basis[:, :, None, None])
    images = torch.rand(1, 3, 64, 64)
    two = go_on_as(one, dataclasses.replace(config, coarse_slices=(4, 12)), images).eval()
    image = torch.from_numpy(photo[:128, :128].copy()).permute(2, 0, 1)[None].float() / 255.0
    level = torch.tensor([7.0])
    with torch.no_grad():
        features = two.analysis.trunk(image - 0.5, level)
        latents = two.analysis.head(image - 0.5, features)
        coarse = two.coarse.quantizer.codes(two.coarse.latents(image - 0.5, features, level))
        rest = latents - two.coarse.prediction(coarse, level)
        step = 1.0 / two.analysis_gain(level)[0, 0, 0, 0]
    assert rest[:, :4].abs().max() <= 1.01 * step  # four channels are foretold but for rounding
    assert torch.equal(rest[:, 4:], latents[:, 4:])
    with pytest.raises(ValueError, match="more than the distortion"):
        go_on_as(one, dataclasses.replace(config, prior_hidden=8, coarse_slices=(4,)), images)
    with pytest.raises(ValueError, match="more than the distortion"):
        go_on_as(two, config, images)


def test_damage_to_the_coarse_level_is_noticed(tmp_path: Path) -> None:
    codec = codec_of(random_model(GRID), tmp_path)
    data = codec.encode(np.zeros((80, 80, 3), np.uint8))
    header = vqcodec.read_header(data)
    for place in (header.header_bytes, header.header_bytes + header.payload_bytes[0] - 1):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(CorruptedError):
            codec.decode(bytes(damaged), levels=1)


def test_levels_on_the_command_line(run: Run, tmp_path: Path, photo_path: Path) -> None:
    codec_of(random_model(GRID), tmp_path)
    model, coded = tmp_path / "two.safetensors", tmp_path / "two.vqc"
    assert run("encode", photo_path, "-o", coded, "--model", model).status == 0
    data = coded.read_bytes()
    (tmp_path / "cut.vqc").write_bytes(data[: len(data) - vqcodec.read_header(data).payload_bytes[1]])
    shown = {}
    for name, source, levels in (("whole", coded, 0), ("coarse", coded, 1), ("cut", tmp_path / "cut.vqc", 1)):
        ended = run("decode", source, "-o", tmp_path / f"{name}.png", "--model", model, "--levels", levels)
        assert ended.status == 0, ended.errors
        with Image.open(tmp_path / f"{name}.png") as image:
            shown[name] = np.asarray(image)
    assert np.array_equal(shown["coarse"], shown["cut"])
    assert not np.array_equal(shown["coarse"], shown["whole"])
    ended = run("decode", tmp_path / "cut.vqc", "-o", tmp_path / "no.png", "--model", model)
    assert ended.status == 1 and "truncated" in ended.errors
    ended = run("decode", coded, "-o", tmp_path / "no.png", "--model", model, "--levels", 3)
    assert ended.status == 1 and "no 3 levels" in ended.errors and not (tmp_path / "no.png").exists()
