"""The bridge: exported integers follow the float prior, and Rust runs them exactly as an int64 oracle does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import SMALL, SMALL_BOOK

from vqcodec import _core, weights
from vqcodec.config import ModelConfig
from vqcodec.errors import InvalidModelError, ModelMissingError
from vqcodec.export import export_model
from vqcodec.integer_prior import CODE_BITS
from vqcodec.model_file import load
from vqcodec.models import VQVAE
from vqcodec.prior import CHECKER_TAPS, CROSS_TAPS, FEATURE_LIMIT, PHASES, slice0_taps

GRID = dataclasses.replace(SMALL, slices=(3, 5, 16), prior_hidden=32)
BOTH = pytest.mark.parametrize("config", [GRID, SMALL_BOOK], ids=["grid", "codebook"])


def random_model(config: ModelConfig, seed: int = 0) -> VQVAE:
    """A model whose prior is far from trivial."""
    torch.manual_seed(seed)
    model = VQVAE(config).eval()
    for block in model.prior.slices:
        torch.nn.init.normal_(block.context_bias, std=0.5)
        torch.nn.init.normal_(block.head.weight, std=0.05)
        torch.nn.init.normal_(block.head_bias, std=0.5)
    return model


def random_codes(config: ModelConfig, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    variables = sum(config.slices)
    if config.quantizer == "codebook":
        return rng.integers(0, config.codebook_size, (variables, height, width)).astype(np.int32)
    return np.rint(rng.laplace(0, 1, (variables, height, width))).astype(np.int32)


def oracle(
    tensors: dict[str, np.ndarray],
    config: ModelConfig,
    codes: np.ndarray,
    number: int,
    step: int,
    quality: int,
):
    """Head outputs (positions, outputs) of one step, in int64: the definition, not an implementation."""
    features = _features(tensors, config, codes)
    width = features.shape[0] // sum(config.slices)
    begin = sum(config.slices[:number]) * width
    own = features[begin : begin + config.slices[number] * width]
    if number == 0:
        sources = [(own, slice0_taps(step))]
        positions = [(y, x) for y, x in np.ndindex(codes.shape[1:]) if (y % 2, x % 2) == PHASES[step]]
    else:
        sources = [(features[:begin], CROSS_TAPS)] + ([(own, CHECKER_TAPS)] if step else [])
        positions = [(y, x) for y, x in np.ndindex(codes.shape[1:]) if (y + x) % 2 == step]
    padded = [(np.pad(source, ((0, 0), (4, 4), (4, 4))), taps) for source, taps in sources]
    x = np.array([
        np.concatenate([source[:, y + 4 + dy, x + 4 + dx] for source, taps in padded for dy, dx in taps])
        for y, x in positions
    ])  # fmt: skip
    x = _layer(tensors, f"prior.{number}.{step}.context", x, quality).clip(0, 32767)
    for name in ("hidden1", "hidden2"):
        x = _layer(tensors, f"prior.{number}.{name}", x, quality).clip(0, 32767)
    return _layer(tensors, f"prior.{number}.head", x, quality)


def _features(tensors: dict[str, np.ndarray], config: ModelConfig, codes: np.ndarray) -> np.ndarray:
    if config.centred:
        return ((codes.astype(np.int64) + 16) >> 5).clip(-(8 * 2047), 8 * 2047)
    if config.quantizer == "grid":
        return codes.astype(np.int64).clip(-FEATURE_LIMIT, FEATURE_LIMIT).astype(np.int64) << CODE_BITS
    table = tensors["prior.embedding"].astype(np.int64)
    return np.concatenate([table[v][codes[v]].transpose(2, 0, 1) for v in range(codes.shape[0])])


def _layer(tensors: dict[str, np.ndarray], name: str, x: np.ndarray, quality: int) -> np.ndarray:
    weight, bias, shift = (tensors[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift"))
    if bias.ndim == 2:
        level, part = divmod(quality, 16)
        above = bias[min(level + 1, len(bias) - 1)]
        bias = bias[level] + (((above - bias[level]) * part + 8) >> 4)
    acc = x @ weight.T + bias
    assert np.abs(acc).max() < 2**31
    return (acc + ((1 << shift) >> 1)) >> shift


@BOTH
@pytest.mark.parametrize("quality", [0, 21, 112])
def test_rust_network_equals_the_integer_oracle(config: ModelConfig, quality: int) -> None:
    data = export_model(random_model(config), name="tiny", description="")
    model, tensors = _core.Model(data), load(data)
    codes = random_codes(config, 9, 14)
    for number in range(len(config.slices)):
        for step in range(4 if number == 0 else 2):
            expected = oracle(tensors, config, codes, number, step, quality)
            given = _core.head_outputs(model, quality, codes, number, step)
            assert np.array_equal(given, expected), (number, step)


@BOTH
@pytest.mark.parametrize("quality", [0, 40])
def test_integer_prior_costs_what_the_float_prior_says(config: ModelConfig, quality: int) -> None:
    torch.manual_seed(0)
    network = random_model(config)
    model = _core.Model(export_model(network, name="tiny", description=""))
    codes = random_codes(config, 20, 30)
    with torch.no_grad():
        bits = network.code_bits([torch.from_numpy(codes).long()[None]], torch.tensor([quality / 16]))[0]
    assert _core.cross_entropy(model, quality, [codes], adaptive=False) == pytest.approx(float(bits.sum()), rel=0.01)


def test_large_context_weights_keep_their_meaning() -> None:
    network = random_model(GRID)
    with torch.no_grad():
        network.prior.blocks()[1].cross.weight[3, 4, 1] = 9.0  # over what int8 with 3 fractional bits can hold
        network.prior.blocks()[1].hidden1.weight[:, 3] /= 9.0
    codes = random_codes(GRID, 20, 30)
    with torch.no_grad():
        bits = network.code_bits([torch.from_numpy(codes).long()[None]], torch.tensor([2.0]))[0]
    model = _core.Model(export_model(network, name="tiny", description=""))
    assert _core.cross_entropy(model, 32, [codes], adaptive=False) == pytest.approx(float(bits.sum()), rel=0.01)


def test_model_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    network = random_model(GRID)
    path.write_bytes(export_model(network, name="tiny", description="for tests"))
    info = weights.resolve(path)
    assert (info.name, info.description, info.stride, info.quality_levels) == ("tiny", "for tests", 16, 8)
    assert info.model_id == _core.Model(path.read_bytes()).id
    restored = weights.load_networks(info)
    image = torch.rand(1, 3, 64, 64)
    assert restored.config == GRID
    codes = network.analyze(image, torch.ones(1))
    assert (restored.analyze(image, torch.ones(1))[0] == codes[0]).float().mean() > 0.99  # int16 weights
    shown, expected = (model.synthesize(codes, torch.ones(1)) for model in (restored, network))
    assert torch.allclose(shown, expected, atol=2e-3)
    assert json.loads(_core.Model(path.read_bytes()).config)["model"]["slices"] == [3, 5, 16]


@BOTH
def test_the_networks_of_a_model_file_export_to_its_integers(config: ModelConfig, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(export_model(random_model(config), name="tiny", description=""))
    again = load(export_model(weights.load_networks(weights.resolve(path)), name="tiny", description=""))
    tensors = load(path.read_bytes())
    assert tensors.keys() == again.keys()
    for name, tensor in tensors.items():
        # the second half's weights to earlier slices come from the first half's, which may be finer
        twice_rounded = name.endswith(".1.context.weight")
        assert np.abs(tensor.astype(np.int64) - again[name]).max() <= twice_rounded, name


def test_too_large_weights_are_refused_by_the_export() -> None:
    model = random_model(GRID)
    with torch.no_grad():
        model.prior.slices[0].hidden1.weight[0, 0] = 500.0
    with pytest.raises(InvalidModelError, match="hidden1"):
        export_model(model, name="tiny", description="")


def test_broken_model_files_have_a_named_error(tmp_path: Path) -> None:
    good = export_model(random_model(GRID), name="tiny", description="")
    path = tmp_path / "broken.safetensors"
    for data in (b"", b"\xff" * 40, good[:1000], good[:8] + b"{}" + good[10:]):
        path.write_bytes(data)
        with pytest.raises(InvalidModelError):
            weights.resolve(path)
    path.write_bytes(good[:-100])
    with pytest.raises(InvalidModelError):
        _core.Model(path.read_bytes())
    with pytest.raises(ModelMissingError, match="neither a built-in name"):
        weights.resolve("no-such-model")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('\\"synthesis_blocks\\": 5', '\\"synthesis_blocks\\": 5000000', "synthesis_blocks must be"),
        ('\\"synthesis_blocks\\": 5', '\\"synthesis_blocks\\": \\"5\\"', "synthesis_blocks must be"),
        ('\\"prior_hidden\\": 32', '\\"prior_hidden\\": 48', "shape differ"),
        ('\\"seed\\"', '\\"seeds\\"', None),
    ],
)
def test_model_config_is_checked_before_it_is_built(tmp_path: Path, old: str, new: str, reason: str | None) -> None:
    good = export_model(random_model(GRID), name="tiny", description="", provenance={"seed": 1})
    length = int.from_bytes(good[:8], "little")
    header = good[8 : 8 + length].decode().rstrip()
    assert old in header
    changed = header.replace(old, new).encode()
    path = tmp_path / "changed.safetensors"
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + good[8 + length :])
    if reason is None:
        weights.load_networks(weights.resolve(path))
    else:
        with pytest.raises(InvalidModelError, match=reason):
            weights.load_networks(weights.resolve(path))


def test_deeply_nested_metadata_is_refused(tmp_path: Path) -> None:
    header = b'{"__metadata__":' + b"[" * 100_000
    (tmp_path / "deep.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InvalidModelError, match="not a vqcodec model file"):
        weights.resolve(tmp_path / "deep.safetensors")
