"""The bridge for the pixel prior: its float networks to the runtime's integers, and back (torch).

Units of the integers (see rust/core/src/pixels/FORMAT.md): inputs are grey levels, weights int8 with a power-of-two
scale per output, activations int16 with 8 fractional bits, logits and means in 1/256, scale classes in 1/16 octave
above 2^-6.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from vqcodec.integers import float_layer, integer_layer
from vqcodec.pixel_prior import COLOURS, INPUT_UNIT, PixelPrior
from vqcodec.prior import MIN_LOG2_SCALE

LAYERS = ("context", "hidden1", "hidden2", "head")
INPUT_BITS = int(math.log2(INPUT_UNIT))
ACTIVATION_BITS = 8
CLASS_BITS = 4
INPUT_MAX, ACTIVATION_MAX = 255, 32_767


@torch.no_grad()
def integer_pixel_prior(model: PixelPrior) -> dict[str, Tensor]:
    """Integer tensors of all layers under the runtime's names."""
    tensors: dict[str, Tensor] = {}
    for layer, (weights, biases) in zip(LAYERS, model.layers(), strict=True):
        for colour in range(COLOURS):
            gain, offset = _units(model, layer)
            bits = INPUT_BITS if layer == "context" else ACTIVATION_BITS
            weight, bias = weights[colour] * (gain / 2.0**bits)[:, None], (biases[colour] - offset) * gain
            largest = INPUT_MAX if layer == "context" else ACTIVATION_MAX
            tensors |= integer_layer(f"pixels.{colour}.{layer}", weight, bias, largest, torch.int8)
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


def export_pixel_prior(model: PixelPrior, *, name: str, description: str, provenance: dict[str, Any]) -> bytes:
    """Model file (safetensors bytes) of a float pixel prior."""
    shape = {"hidden": model.config.hidden, "mixture": model.config.mixture}
    config = {"name": name, "description": description, "runtime": {"pixels": shape}, "provenance": provenance}
    return save_tensors(integer_pixel_prior(model), {"config": json.dumps(config, sort_keys=True)})
