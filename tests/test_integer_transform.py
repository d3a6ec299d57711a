"""The integer transform: Rust equals an int64 oracle bit for bit, and both stay close to the float networks."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from integer_oracle import Oracle
from safetensors.numpy import save
from test_models import SMALL, SMALL_BOOK, SMALL_PLAIN

from vqcodec import _core
from vqcodec.config import ModelConfig
from vqcodec.errors import CorruptedError, InvalidInputError, InvalidModelError
from vqcodec.export import export_model
from vqcodec.integer_transform import integer_transform, load_integer_transform
from vqcodec.model_file import load
from vqcodec.models import VQVAE

PRICED = dataclasses.replace(SMALL_BOOK, codebook_rate=0.1)
ALL = pytest.mark.parametrize(
    "config", [SMALL, SMALL_PLAIN, SMALL_BOOK, PRICED], ids=["grid", "plain", "codebook", "priced"]
)
SIZES = [(1, 1), (17, 33), (40, 100)]
PIXEL_LAYERS = {"analysis.stem", "analysis.skip", "analysis.down1"}
Pair = tuple[_core.Model, Oracle]
EXTREMES = [-32768, -16384, -16383, -1, 0, 1, 16383, 16384, 32767]


def random_network(config: ModelConfig, strength: float, seed: int = 0) -> VQVAE:
    """A network with all parameters random; of strength 1, it keeps the size of what goes through."""
    torch.manual_seed(seed)
    model = VQVAE(config).eval()
    with torch.no_grad():
        for name, parameter in [*model.analysis.named_parameters(), *model.synthesis.named_parameters()]:
            fan = parameter[0].numel() if name.endswith(".weight") else 16
            parameter.normal_(std=strength / fan**0.5)
        for gain in (model.analysis_gain, model.synthesis_gain):
            gain.log_gain.normal_(std=0.5)
        if config.transform == "residual":
            model.synthesis.spread.uniform_(0.5, 2.0)
        if config.quantizer == "codebook":  # vectors that are in use
            images = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 16), scale_factor=16)
            features = model.analysis.trunk(images - 0.5, torch.zeros(1))
            latents = model.analysis.head(images - 0.5, features) * model.analysis_gain(torch.zeros(1))
            latents = model.quantizer._vectors(latents)
            model.quantizer.codebook.copy_(latents[:, : config.codebook_size])
            model.quantizer.hits.uniform_(0.01, 10.0)
    return model


@functools.cache
def models(config: ModelConfig, strength: float) -> Pair:
    data = export_model(random_network(config, strength), name="tiny", description="")
    return _core.Model(data), Oracle(data)


@functools.cache
def violent_models(config: ModelConfig) -> Pair:
    """Weights and biases up to what the proof of the runtime lets through, small shifts, gains over all octaves."""
    data = export_model(random_network(config, 1.0), name="tiny", description="")
    rng, tensors = np.random.default_rng(3), load(data)
    for name, table in list(tensors.items()):
        if name.endswith(".log2"):
            tensors[name] = rng.integers(-14 << 16, (14 << 16) + 1, table.shape, np.int32)
        elif name.endswith(".weight") and not name.startswith("prior."):
            tensors |= violent_layer(name.removesuffix(".weight"), table.shape, rng)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    data = save(tensors, header["__metadata__"])
    return _core.Model(data), Oracle(data)


def violent_layer(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    largest = 255 if name in PIXEL_LAYERS else 16_383
    shift = rng.choice([0, 1, 5, 14], shape[0])
    weight = rng.normal(size=shape)
    share = rng.choice([0.02, 0.95], (shape[0], 1))  # the biases have the rest
    weight *= share * 2**31 / largest / np.abs(weight).sum(1, keepdims=True)
    weight = np.trunc(weight).clip(-32767, 32767).astype(np.int64)
    room = 2**31 - 2 - np.abs(weight).sum(1) * largest - ((1 << shift) >> 1)
    bias = rng.choice([-1, 1], shape[0]) * room
    types = {"weight": (weight, np.int16), "bias": (bias, np.int32), "shift": (shift, np.uint8)}
    return {f"{name}.{part}": value.astype(dtype) for part, (value, dtype) in types.items()}


def random_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = rng.normal(128, 90, (height, 1, 3)) + rng.normal(0, 60, (1, width, 3))
    return (smooth + rng.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)


def code_range(config: ModelConfig) -> st.SearchStrategy[int]:
    if config.quantizer == "codebook":
        return st.integers(0, config.codebook_size - 1)
    return st.one_of(st.integers(-4, 4), st.integers(-32768, 32767), st.sampled_from(EXTREMES))


def shape_of(config: ModelConfig, height: int, width: int) -> tuple[int, int, int]:
    return sum(config.slices), -(-height // config.stride), -(-width // config.stride)


def check(pair: Pair, pixels: np.ndarray, codes: np.ndarray, quality: int, threads: int = 1) -> tuple[float, float]:
    """Compare both directions; the shares of activations that the oracle had to clamp."""
    model, oracle = pair
    expected = oracle.analyze(pixels, quality)
    assert np.array_equal(_core.analyze(model, pixels, quality, threads)[0], expected)
    clamped = oracle.clamped
    shown = oracle.synthesize(codes, *pixels.shape[:2], quality)
    assert np.array_equal(_core.synthesize(model, [codes], *pixels.shape[:2], quality, threads), shown)
    return clamped, oracle.clamped


@ALL
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strength", [1.0, 2.5])
def test_rust_equals_the_oracle(config: ModelConfig, size: tuple[int, int], strength: float) -> None:
    pair, pixels = models(config, strength), random_pixels(*size)
    rng = np.random.default_rng(1)
    last = 16 * (config.quality_levels - 1)
    for quality, threads in zip(sorted({0, min(5, last), min(87, last), last}), (1, 2, 5, 0), strict=False):
        codes = rng.integers(0, config.codebook_size, shape_of(config, *size), np.int32)
        if config.quantizer == "grid":
            codes = np.rint(rng.laplace(0, 4, codes.shape)).astype(np.int32)
        clamped = check(pair, pixels, codes, quality, threads)
        if size != (1, 1):
            assert all(0.001 < share < 0.7 for share in clamped) if strength > 1.0 else max(clamped) < 0.2


@ALL
def test_rust_equals_the_oracle_at_the_bound_of_the_proof(config: ModelConfig) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.choice(np.array([0, 1, 254, 255], np.uint8), (40, 100, 3))
    codes = rng.integers(0, config.codebook_size, shape_of(config, 40, 100), np.int32)
    if config.quantizer == "grid":
        codes = rng.choice(np.array(EXTREMES, np.int32), codes.shape)
    for quality in range(0, 16 * config.quality_levels - 15, 7):
        check(violent_models(config), pixels, codes, quality)


@ALL
@settings(max_examples=60)
@given(data=st.data())
def test_rust_equals_the_oracle_on_drawn_inputs(config: ModelConfig, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    pixels = data.draw(arrays(np.uint8, (height, width, 3)))
    codes = data.draw(arrays(np.int32, shape_of(config, height, width), elements=code_range(config)))
    quality = data.draw(st.integers(0, 16 * (config.quality_levels - 1)))
    check(models(config, data.draw(st.sampled_from([1.0, 2.5]))), pixels, codes, quality, threads=2)


@ALL
def test_wrong_codes_and_positions_are_refused(config: ModelConfig) -> None:
    model, _ = models(config, 1.0)
    codes = np.zeros(shape_of(config, 20, 20), np.int32)
    quality = 16 * (config.quality_levels - 1)
    for bad in (([codes], 20, 20, quality + 1), ([codes], 20, 33, quality), ([codes], 0, 20, quality), ([], 20, 20, 0)):
        with pytest.raises(InvalidInputError):
            _core.synthesize(model, *bad)
    codes[-1, -1, -1] = 40_000
    with pytest.raises(InvalidInputError, match="16-bit"):
        _core.synthesize(model, [codes], 20, 20, 0)
    for code in (-1, config.codebook_size) if config.quantizer == "codebook" else ():
        codes[-1, -1, -1] = code
        with pytest.raises(CorruptedError, match="no vector"):
            _core.synthesize(model, [codes], 20, 20, 0)


@ALL
def test_integers_stay_close_to_the_float_model(config: ModelConfig) -> None:
    network, (model, oracle) = random_network(config, 0.7), models(config, 0.7)
    size = (6 * config.stride, 9 * config.stride)
    pixels = random_pixels(*size)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255.0
    for quality in {0, min(37, 16 * (config.quality_levels - 1))}:
        level = torch.tensor([quality / 16])
        with torch.no_grad():
            (codes,) = network.analyze(image, level)
            shown = (network.synthesize([codes], level)[0] * 255.0).round().permute(1, 2, 0).numpy()
        (found,) = _core.analyze(model, pixels, quality)
        assert np.mean(found != codes[0].numpy()) < 0.1  # neighbours that are almost as near
        assert len(np.unique(found)) > 4
        oracle.synthesize(found, *size, quality)
        assert oracle.clamped == 0.0
        again = _core.synthesize(model, [codes[0].numpy().astype(np.int32)], *size, quality)
        error = np.abs(again - shown)
        assert np.mean(error <= 1.0) > 0.995 and error.max() <= 3.0 and shown.std() > 20.0


@ALL
def test_there_and_back_loses_half_a_step(config: ModelConfig) -> None:
    network, restored = random_network(config, 1.0), random_network(config, 1.0, seed=1)
    tensors = integer_transform(network)
    load_integer_transform(restored, tensors)
    for name, parameter in network.named_parameters():
        module = name.removesuffix(".weight")
        if f"{module}.shift" in tensors:
            step = 0.5 ** tensors[f"{module}.shift"].double()
            unit = parameter.abs().max() / (tensors[name] * step[:, None]).abs().max()
            assert (parameter - restored.get_parameter(name)).abs().max() <= 0.51 * unit * step.max(), name
    again = integer_transform(restored)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        slack = 2 + tensor.abs().max() * 2e-7 if name.endswith((".bias", ".log2")) else 0  # float32 has 24 bits
        assert (again[name].long() - tensor.long()).abs().max() <= slack, name


@pytest.mark.parametrize("name", ["analysis.stem", "analysis.skip", "analysis.fine.0.mix", "synthesis.out"])
@pytest.mark.parametrize("value", [1e9, float("inf"), float("nan")])
def test_weights_that_no_integer_holds_are_refused_by_name(name: str, value: float) -> None:
    for part in ("weight", "bias"):
        network = random_network(SMALL, 1.0)
        parameters = dict(network.named_parameters())
        if f"{name}.{part}" not in parameters:
            continue
        with torch.no_grad():
            parameters[f"{name}.{part}"].view(-1)[3] = value
        with pytest.raises(InvalidModelError, match=name):
            integer_transform(network)


def test_a_gain_that_died_out_is_the_least_of_the_runtime() -> None:
    network = random_network(SMALL, 1.0)
    with torch.no_grad():
        network.analysis.get_submodule("stem_gain").get_parameter("log_gain")[:, 3] = -40.0
    assert _core.Model(export_model(network, name="tiny", description=""))
    assert int(integer_transform(network)["analysis.stem_gain.log2"][:, 3].max()) == -14 << 16
