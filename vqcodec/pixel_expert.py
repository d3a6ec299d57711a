"""The expert for photos without loss, as trained in float (torch), and its way into exact integers.

For each colour a small network sees what the adaptive model of lossless files knows around a pixel and what its
predictors say (`_core.lessons`, rust/core/src/lossless/FORMAT.md), and says what their blend misses: a logistic
distribution, which becomes one more expert of the mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqcodec import model_file
from vqcodec.integers import integer_layer
from vqcodec.prior import clip, logistic_bits

OWN, EARLIER = 35, 30  # inputs from the own colour, and from each one before it
COLOURS = 3
INPUT_MAX, ACTIVATION_MAX = 4095, 32_767
INPUT_UNIT = 128.0  # of the integer inputs, which count 1/16 grey level, to one of the float networks
ACTIVATION_UNIT = 256.0
GREY = 16.0  # units of a prediction in a grey level
OFFSET_UNIT = 8.0  # grey levels that are 1 to the float networks
CLASSES = 16.0  # of errors in an octave
MEAN_ERROR = 2.0 * 0.6931471805599453 * 256.0  # of a logistic distribution, scale 1, in 1/256 grey level
LAYERS = ("context", "hidden1", "hidden2", "head")


@dataclass(frozen=True)
class ExpertConfig:
    """Size of the networks: hidden units of each layer."""

    hidden: int = 96


class PixelExpert(nn.Module):
    """Networks of all colours; `forward` gives the bits (N,) of what the blend missed for rows of `_core.lessons`."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        self.config = config
        for colour in range(COLOURS):
            sizes = (OWN + colour * EARLIER, config.hidden, config.hidden, config.hidden, 2)
            for name, inputs, outputs in zip(LAYERS, sizes, sizes[1:], strict=False):
                self.add_module(f"{name}{colour}", nn.Linear(inputs, outputs))
            head = self._layer("head", colour)
            nn.init.zeros_(head.weight)
            with torch.no_grad():
                head.bias.copy_(torch.tensor([0.0, 1.0]))

    def forward(self, lessons: Tensor, colour: int) -> Tensor:
        x = lessons[:, :-1] / INPUT_UNIT
        for name in LAYERS[:-1]:
            x = clip(self._layer(name, colour)(x))
        with torch.autocast(x.device.type, enabled=False):
            offset, log2_scale = self._layer("head", colour)(x.float()).unbind(1)
        parameters = torch.stack([offset * OFFSET_UNIT, log2_scale], 1)[..., None, None]
        return logistic_bits(lessons[:, -1:, None, None] / GREY, parameters[:, None]).flatten()

    def _layer(self, name: str, colour: int) -> nn.Linear:
        layer = self.get_submodule(f"{name}{colour}")
        assert isinstance(layer, nn.Linear)
        return layer

    @torch.no_grad()
    def integers(self) -> dict[str, Tensor]:
        """Integer tensors of all layers under the runtime's names."""
        tensors: dict[str, Tensor] = {}
        unit, largest = INPUT_UNIT, INPUT_MAX
        for name in LAYERS:
            for colour in range(COLOURS):
                layer = self._layer(name, colour)
                gain, constant = torch.full((layer.out_features,), ACTIVATION_UNIT), torch.zeros(layer.out_features)
                if name == "head":
                    gain = torch.tensor([OFFSET_UNIT * GREY, CLASSES])
                    constant[1] = CLASSES * torch.log2(torch.tensor(MEAN_ERROR))
                weight, bias = layer.weight * (gain / unit)[:, None], layer.bias * gain + constant
                tensors |= integer_layer(f"expert.{colour}.{name}", weight, bias, largest, torch.int16)
            unit, largest = ACTIVATION_UNIT, ACTIVATION_MAX
        return {name: tensor.contiguous() for name, tensor in tensors.items()}


def export_pixel_expert(model: PixelExpert, *, name: str, description: str, provenance: dict[str, Any]) -> bytes:
    """Model file (safetensors bytes) of a float expert."""
    runtime = {"expert": {"hidden": model.config.hidden}}
    config = {"name": name, "description": description, "runtime": runtime, "provenance": provenance}
    return model_file.save({name: tensor.numpy() for name, tensor in model.integers().items()}, config)
