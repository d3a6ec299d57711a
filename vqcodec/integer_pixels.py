"""The bridge for the pixel prior: its float networks to the runtime's integers, and back (torch).

Units of the integers (see rust/core/src/pixels/FORMAT.md): inputs are grey levels, weights int8 with a power-of-two
scale per output, activations int16 with 8 fractional bits, logits and means in 1/256, scale classes in 1/16 octave
above 2^-6.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqcodec import model_file
from vqcodec.integers import float_layer, integer_layer, second_moments
from vqcodec.pixel_prior import COLOURS, INPUT_UNIT, PixelPrior, neighbourhoods
from vqcodec.prior import MIN_LOG2_SCALE

LAYERS = ("context", "hidden1", "hidden2", "head")
INPUT_BITS = int(math.log2(INPUT_UNIT))
ACTIVATION_BITS = 8
CLASS_BITS = 4
INPUT_MAX, ACTIVATION_MAX = 255, 32_767


@torch.no_grad()
def integer_pixel_prior(model: PixelPrior, samples: Tensor | None = None) -> dict[str, Tensor]:
    """Integer tensors of all layers under the runtime's names, rounded by what they see of `samples` if given.

    These are (B, H, W, 3) uint8 in the order of coding.
    """
    tensors: dict[str, Tensor] = {}
    inputs = None if samples is None else neighbourhoods(samples)[0].flatten(0, 2).double()
    for colour in range(COLOURS):
        seen = None if inputs is None else inputs * model.known[colour]
        for layer, (weights, biases) in zip(LAYERS, model.layers(), strict=True):
            name = f"pixels.{colour}.{layer}"
            gain, offset = _units(model, layer)
            bits, largest = (INPUT_BITS, INPUT_MAX) if layer == "context" else (ACTIVATION_BITS, ACTIVATION_MAX)
            weight, bias = weights[colour] * (gain / 2.0**bits)[:, None], (biases[colour] - offset) * gain
            moments = None if seen is None else second_moments(seen)
            tensors |= integer_layer(name, weight, bias, largest, torch.int8, moments)
            if seen is not None:
                rounded, offsets = float_layer(name, tensors)
                seen = (seen @ rounded.T.double() + offsets).round().clamp(0, ACTIVATION_MAX)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def load_integer_pixel_prior(model: PixelPrior, tensors: dict[str, Tensor]) -> None:
    """Mirror of `integer_pixel_prior`: the float parameters; KeyError, RuntimeError for a misfit."""
    for number, layer in enumerate(LAYERS):
        for colour in range(COLOURS):
            gain, offset = _units(model, layer)
            bits = INPUT_BITS if layer == "context" else ACTIVATION_BITS
            weight, bias = float_layer(f"pixels.{colour}.{layer}", tensors)
            model.get_parameter(layer)[colour] = weight / (gain / 2.0**bits)[:, None]
            model.biases[number][colour] = bias / gain + offset


def _units(model: PixelPrior, layer: str) -> tuple[Tensor, Tensor]:
    """What 1 of each output is as an integer, and what the integer is counted from."""
    mixture = model.config.mixture
    if layer != "head":
        hidden = torch.full((model.config.hidden,), 2.0**ACTIVATION_BITS)
        return hidden, torch.zeros_like(hidden)
    is_scale = torch.arange(3 * mixture) >= 2 * mixture
    gain = torch.where(is_scale, 2.0**CLASS_BITS, 2.0**ACTIVATION_BITS)
    return gain, torch.where(is_scale, MIN_LOG2_SCALE, 0.0)


def export_pixel_prior(
    model: PixelPrior, *, name: str, description: str, provenance: dict[str, Any], samples: Tensor | None = None
) -> bytes:
    """Model file (safetensors bytes) of a float pixel prior, rounded by what it sees of `samples` if given."""
    shape = {"hidden": model.config.hidden, "mixture": model.config.mixture}
    config = {"name": name, "description": description, "runtime": {"pixels": shape}, "provenance": provenance}
    tensors = integer_pixel_prior(model, samples)
    return model_file.save({name: tensor.numpy() for name, tensor in tensors.items()}, config)
