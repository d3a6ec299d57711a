"""The bridge for the transform: float analysis and synthesis networks to the runtime's integers, and back (torch).

Units of the integers (see rust/core/FORMAT.md): every activation between layers is an int16 within
+-16383, with the fractional bits below. Both directions walk over the same steps (`architecture.runtime`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqcodec import architecture
from vqcodec.architecture import Step
from vqcodec.integers import float_layer, integer_layer
from vqcodec.models import VQVAE
from vqcodec.nets import UNIT_STEP, LevelGain, ResidualSynthesis
from vqcodec.quantize import CodebookQuantizer

ACTIVATION_MAX = 16_383
PIXEL_MAX = 255
VALUE_BITS = 8  # of what a code stands for
SHOWN_BITS = 6  # of the pixels that the synthesis gives, in 0..255
PIXEL_UNIT = 1.0 / 510.0  # the analysis sees 2 p - 255
TRUNK_UNIT = 2.0**-11  # +-8
HIDDEN_UNIT = 2.0**-8  # 0..64: after a ReLU
INPUT_UNIT = 2.0**-9  # +-32: latents in units of their spread, for the synthesis trunk
SKIP_UNIT = 2.0**-7  # +-128: latents, for the synthesis skip
LATENT_UNIT = 2.0**-12  # int32
LEAST_LOG2_GAIN = -14.0  # of the runtime: a channel that dies out in training has no other gain
SHOWN_UNIT = 1.0 / (255.0 * 2**SHOWN_BITS)


@dataclass(frozen=True)
class Layer:
    """One convolution: the torch module, its shape as the runtime has it, and the units of its integers."""

    step: Step
    module: nn.Conv2d
    unit: float  # of the inputs, as the module sees them
    output: float | Tensor  # unit of the outputs, as the module gives them; (channels,) where they differ
    largest: int = ACTIVATION_MAX
    offset: float = 0.0  # added to the module's outputs

    def to_integers(self) -> dict[str, Tensor]:
        """The layer's tensors; rows in the order (dy, dx, channel), columns too."""
        step, fold = self.step, self.step.get("fold", 1)
        output = self._outputs()
        weight = self.module.weight.detach() * (self.unit / output)[:, None, None, None]
        weight = weight.reshape(-1, step["inputs"], step["size"] ** 2).transpose(1, 2).flatten(1)
        bias = torch.zeros(len(weight)) if self.module.bias is None else self.module.bias.detach()
        bias = (bias + self.offset) / output
        shape = (step["outputs"], fold * fold, -1)
        weight, bias = (value.reshape(shape).transpose(0, 1).flatten(0, 1) for value in (weight, bias))
        return integer_layer(step["name"], weight, bias.flatten(), self.largest, torch.int16)

    def from_integers(self, tensors: dict[str, Tensor]) -> None:
        """Mirror of `to_integers`: set the module's parameters."""
        step, fold = self.step, self.step.get("fold", 1)
        weight, bias = float_layer(step["name"], tensors)
        shape = (fold * fold, step["outputs"], -1)
        weight, bias = (value.reshape(shape).transpose(0, 1).flatten(0, 1) for value in (weight, bias))
        weight = weight.reshape(-1, step["size"] ** 2, step["inputs"]).transpose(1, 2)
        output = self._outputs()
        scale = (output / self.unit)[:, None, None, None]
        self.module.weight.copy_(weight.reshape(self.module.weight.shape) * scale)
        if self.module.bias is not None:
            self.module.bias.copy_(bias.flatten() * output - self.offset)

    def _outputs(self) -> Tensor:
        """The unit of each of the module's outputs: a channel's stay together where the layer folds."""
        output = torch.as_tensor(self.output, dtype=torch.float32)
        fold = self.step.get("fold", 1) ** 2
        if output.ndim == 0:
            return output.expand(self.module.out_channels)
        return output.repeat_interleave(fold)


@torch.no_grad()
def integer_transform(model: VQVAE) -> dict[str, Tensor]:
    """Integer tensors of analysis, synthesis, gains and codebooks under the runtime's names."""
    tensors: dict[str, Tensor] = {}
    for layer in _layers(model):
        tensors |= layer.to_integers()
    for name, gain in _gains(model):
        tensors[f"{name}.log2"] = _log2(gain.log_gain)
    tensors["analysis.gain.log2"] = _log2(model.analysis_gain.log_gain, LATENT_UNIT * 2**VALUE_BITS)
    input_unit = INPUT_UNIT * _spread(model)
    tensors["synthesis.gain.log2"] = _log2(model.synthesis_gain.log_gain, 1.0 / (input_unit * 2**VALUE_BITS))
    if isinstance(model.synthesis, ResidualSynthesis):
        skip = _log2(model.synthesis_gain.log_gain, 1.0 / (SKIP_UNIT * 2**VALUE_BITS))
        tensors["synthesis.skip_gain.log2"] = skip
    if model.coarse is not None:
        coarse = model.coarse
        tensors["coarse.analysis_gain.log2"] = _log2(coarse.analysis_gain.log_gain, LATENT_UNIT * 2**VALUE_BITS)
        factor = 1.0 / (SKIP_UNIT * 2**VALUE_BITS)
        tensors["coarse.synthesis_gain.log2"] = _log2(coarse.synthesis_gain.log_gain, factor)
    for name, quantizer in _codebooks(model):
        book = (quantizer.codebook * 2**VALUE_BITS).round()
        tensors[f"{name}.codebook"] = book.clamp(-32767, 32767).to(torch.int16)
        if quantizer.rate:
            tensors[f"{name}.price"] = (quantizer.prices() * 4**VALUE_BITS).round().to(torch.int32)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def load_integer_transform(model: VQVAE, tensors: dict[str, Tensor]) -> None:
    """Mirror of `integer_transform`: float parameters of all but the prior; KeyError, RuntimeError for a misfit."""
    for name, gain in _gains(model):
        gain.log_gain.copy_(_log(tensors[f"{name}.log2"]))
    model.analysis_gain.log_gain.copy_(_log(tensors["analysis.gain.log2"], LATENT_UNIT * 2**VALUE_BITS))
    inner = tensors["synthesis.gain.log2"]
    if isinstance(model.synthesis, ResidualSynthesis):
        outer = tensors["synthesis.skip_gain.log2"]
        model.synthesis.spread.copy_(torch.exp(_log(outer - inner, INPUT_UNIT / SKIP_UNIT))[0])
    input_unit = INPUT_UNIT * _spread(model)
    model.synthesis_gain.log_gain.copy_(_log(inner, 1.0 / (input_unit * 2**VALUE_BITS)))
    if model.coarse is not None:
        coarse = model.coarse
        coarse.analysis_gain.log_gain.copy_(_log(tensors["coarse.analysis_gain.log2"], LATENT_UNIT * 2**VALUE_BITS))
        factor = 1.0 / (SKIP_UNIT * 2**VALUE_BITS)
        coarse.synthesis_gain.log_gain.copy_(_log(tensors["coarse.synthesis_gain.log2"], factor))
    for name, quantizer in _codebooks(model):
        quantizer.start_from(tensors[f"{name}.codebook"] / 2**VALUE_BITS)
        if quantizer.rate:
            quantizer.hits.copy_(torch.exp2(-tensors[f"{name}.price"] / (4**VALUE_BITS * quantizer.rate)))
    for layer in _layers(model):  # the units of some depend on the spread
        layer.from_integers(tensors)


def _layers(model: VQVAE) -> Iterator[Layer]:
    """All convolutions of a model with the units between them."""
    transform = architecture.runtime(model.config)["transform"]

    def module(name: str) -> nn.Conv2d:
        found = model.get_submodule(name)
        assert isinstance(found, nn.Conv2d)
        return found

    analysis, synthesis = transform["analysis"], transform["synthesis"]
    first = PIXEL_UNIT * model.analysis.input_scale
    unit, layers = _trunk(analysis["trunk"], module, first, PIXEL_MAX)
    yield from layers
    yield Layer(analysis["out"], module("analysis.out"), unit, LATENT_UNIT)
    if "skip" in analysis:
        step = analysis["skip"]
        yield Layer(step, module(step["name"]), PIXEL_UNIT, LATENT_UNIT * UNIT_STEP, PIXEL_MAX)
    if "coarse" in transform:
        yield from _coarse_layers(model, transform["coarse"], unit)
    unit, layers = _trunk(synthesis["trunk"], module, INPUT_UNIT, ACTIVATION_MAX)
    yield from layers
    yield Layer(synthesis["out"], module("synthesis.out"), unit, SHOWN_UNIT, offset=0.5)
    if "skip" in synthesis:
        step = synthesis["skip"]
        yield Layer(step, module(step["name"]), SKIP_UNIT, SHOWN_UNIT / UNIT_STEP)


def _coarse_layers(model: VQVAE, steps: dict[str, Step], unit: float) -> Iterator[Layer]:
    """The layers of a coarse level beside an analysis trunk whose outputs have this unit."""
    coarse = model.coarse
    assert coarse is not None
    yield Layer(steps["out"], coarse.out, unit, LATENT_UNIT)
    if coarse.skip is not None:
        yield Layer(steps["skip"], coarse.skip, PIXEL_UNIT, LATENT_UNIT * UNIT_STEP, PIXEL_MAX)
    yield Layer(steps["up"], coarse.up, SKIP_UNIT, INPUT_UNIT * _spread(model))
    if isinstance(model.synthesis, ResidualSynthesis):
        yield Layer(steps["up"] | {"name": "coarse.skip_up"}, coarse.up, SKIP_UNIT, SKIP_UNIT)


def _trunk(
    steps: list[Step], module: Callable[[str], nn.Conv2d], unit: float, largest: int
) -> tuple[float, list[Layer]]:
    """The layers of a trunk whose inputs have this unit, and the unit of its outputs."""
    layers = []
    for step in steps:
        if "conv" in step:
            conv = step["conv"]
            output = HIDDEN_UNIT if conv.get("relu") else TRUNK_UNIT
            layers.append(Layer(conv, module(conv["name"]), unit, output, largest))
            unit = output
        elif "block" in step:
            name, width = step["block"]["name"], step["block"]["width"]
            shape = {"inputs": width, "outputs": width}
            spatial, mix = {"name": f"{name}.spatial", "size": 3, **shape}, {"name": f"{name}.mix", "size": 1, **shape}
            layers.append(Layer(spatial, module(spatial["name"]), unit, HIDDEN_UNIT))
            layers.append(Layer(mix, module(mix["name"]), HIDDEN_UNIT, unit))
        largest = ACTIVATION_MAX
    return unit, layers


def _gains(model: VQVAE) -> Iterator[tuple[str, LevelGain]]:
    """The gains inside the trunks."""
    for name, module in model.named_modules():
        if isinstance(module, LevelGain) and name.startswith(("analysis.", "synthesis.")):
            yield name, module


def _codebooks(model: VQVAE) -> Iterator[tuple[str, CodebookQuantizer]]:
    """The learned codebooks of all levels."""
    for name, module in model.named_modules():
        if isinstance(module, CodebookQuantizer):
            yield name, module


def _spread(model: VQVAE) -> Tensor:
    return model.synthesis.spread if isinstance(model.synthesis, ResidualSynthesis) else torch.ones(())


def _log2(log_gain: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """A table of natural logarithms, times a factor, as base-2 logarithms in 2^-16 octaves, no gain below the least."""
    log2 = log_gain.double() / math.log(2.0) + torch.log2(torch.as_tensor(factor, dtype=torch.float64))
    return (log2.clamp(min=LEAST_LOG2_GAIN) * 65536.0).round().to(torch.int32)


def _log(log2: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """Mirror of `_log2`."""
    plain = log2.double() / 65536.0 - torch.log2(torch.as_tensor(factor, dtype=torch.float64))
    return (plain * math.log(2.0)).float()
