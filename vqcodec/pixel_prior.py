"""Autoregressive prior over the pixels of small pictures, as trained in float (torch).

Raster order, and at each pixel green, red, blue. A sample's distribution is a mixture of discretised logistics,
given by a small network of its own for each colour from what is known around the pixel: a local autoregressive
model (Zhang et al. 2021, "On the out-of-distribution generalization of probabilistic image modelling"). All of it
is relative to a guess, the mean of the samples to the left and above, so that rounding matters little.
The networks run in exact integers in `rust/core/src/pixels`, which FORMAT.md there describes.

Shapes: samples (B, H, W, 3) integers 0..255, in the order of coding; inputs (B, H, W, INPUTS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.prior import MAX_LOG2_SCALE, MIN_LOG2_SCALE, clip

REACH = 3
TAPS = [(dy, dx) for dy in range(-REACH, 1) for dx in range(-REACH, REACH + 1) if (dy, dx) < (0, 0)]
CODED = (1, 0, 2)  # the colours in the order of coding
COLOURS = len(CODED)
OWN = len(TAPS) * COLOURS  # the first input that holds the pixel's own earlier samples
INPUTS = OWN + 2 + COLOURS + 3  # and the guesses, and the distances from the borders
INPUT_UNIT = 16.0  # grey levels that are 1 to the float networks
CONTEXT_LIMIT = 127 / 16  # weights of the first layer: as int8 they are 16 times as large
BORDER = 64  # the distance from a border, in pixels up to REACH, is multiplied by it
INFINITE = 1e6  # scales beyond which no mass is left
FLOOR = 2.0**-24  # least probability of a sample
LN2 = math.log(2.0)
RATES = (1 / 8, 1 / 64, 1 / 64)  # of biases that follow a picture: log2 weights, means, log2 scales
STEEPEST = 2.0  # slopes that they follow: bits an octave, nats a grey level, bits an octave


@dataclass(frozen=True)
class PixelConfig:
    """Size of a pixel prior: hidden units of each layer, logistics of each mixture."""

    hidden: int = 128
    mixture: int = 5


class PixelPrior(nn.Module):
    """Bits of the samples of small pictures."""

    known: Tensor

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.config = config
        hidden, outputs = config.hidden, 3 * config.mixture
        self.context = _dense(INPUTS, hidden)
        self.hidden1 = _dense(hidden, hidden)
        self.hidden2 = _dense(hidden, hidden)
        self.head = _dense(hidden, outputs)
        self.biases = nn.ParameterList(torch.zeros(COLOURS, rows) for rows in (hidden, hidden, hidden, outputs))
        with torch.no_grad():
            self.head.zero_()
            spread = (torch.arange(config.mixture) - (config.mixture - 1) / 2.0) / config.mixture
            self.biases[3][:] = torch.cat([0.0 * spread, 16.0 * spread, 2.5 + 2.0 * spread])
        known = torch.ones(COLOURS, 1, INPUTS)
        known[0, :, OWN : OWN + 2] = 0.0
        known[1, :, OWN + 1] = 0.0
        self.register_buffer("known", known, persistent=False)

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weights (COLOURS, outputs, inputs) and biases (COLOURS, outputs) of the four layers."""
        context = self.context.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT) * self.known
        weights = [context, self.hidden1, self.hidden2, self.head]
        return list(zip(weights, self.biases, strict=True))

    def forward(self, samples: Tensor) -> Tensor:
        """Bits (B, H, W, COLOURS) of uint8 samples in the order of coding."""
        guesses, outputs = self.outputs(samples)
        return mixture_bits(samples, guesses, outputs)

    def outputs(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Guesses (B, H, W, COLOURS) int16 and outputs (B, H, W, COLOURS, 3 K) float32 of the networks."""
        inputs, guesses = neighbourhoods(samples)
        inputs = (inputs.flatten(0, 2) / INPUT_UNIT).float()
        outputs = torch.stack([self._network(inputs, colour) for colour in range(COLOURS)], 1)
        return guesses, outputs.reshape(*samples.shape, -1)

    def _network(self, x: Tensor, colour: int) -> Tensor:
        """Outputs (N, 3 K) float32 for inputs (N, INPUTS)."""
        *hidden, (head, head_bias) = self.layers()
        for weight, bias in hidden:
            x = clip(F.linear(x, weight[colour], bias[colour]))
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), head[colour], head_bias[colour])


def neighbourhoods(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs (B, H, W, INPUTS) int16 of all pixels and their guesses (B, H, W, COLOURS) int16.

    What a colour's network must not know yet is there all the same; its weights are masked.
    """
    samples = samples.to(torch.int16)
    _, height, width, _ = samples.shape
    padded = F.pad(samples, (0, 0, REACH, REACH, REACH, 0))
    inside = F.pad(torch.ones_like(samples), (0, 0, REACH, REACH, REACH, 0))

    def shifted(image: Tensor, dy: int, dx: int) -> Tensor:
        return image[:, REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]

    left, above = shifted(padded, 0, -1), shifted(padded, -1, 0)
    guesses = (left + above + 1) >> 1
    guesses[:, 0], guesses[:, :, 0] = left[:, 0], above[:, :, 0]
    guesses[:, 0, 0] = 128
    around = [(shifted(padded, dy, dx) - guesses) * shifted(inside, dy, dx) for dy, dx in TAPS]
    y, x = torch.arange(height, device=samples.device), torch.arange(width, device=samples.device)
    borders = [y[:, None].expand(-1, width), x.expand(height, -1), width - 1 - x.expand(height, -1)]
    distances = (torch.stack(borders, 2).clamp(max=REACH) * BORDER).to(torch.int16)
    own = (samples - guesses)[..., :2]
    return torch.cat([*around, own, guesses - 128, distances.expand(len(samples), -1, -1, -1)], 3), guesses


def mixture_bits(values: Tensor, guesses: Tensor, outputs: Tensor) -> Tensor:
    """Bits of `values` (...) under mixtures (..., 3 K): log2 weights, means from the guess, log2 scales.

    The cells of 0 and 255 reach to infinity.
    """
    weights, means, log2_scales = outputs.chunk(3, -1)
    inverse = torch.exp2(-log2_scales.clamp(MIN_LOG2_SCALE, MAX_LOG2_SCALE))
    offset = (values - guesses).to(means.dtype)[..., None] - means
    upper = (offset + 0.5) * inverse + INFINITE * (values == 255)[..., None]
    lower = (offset - 0.5) * inverse - INFINITE * (values == 0)[..., None]
    sign = 1.0 - 2.0 * (offset > 0)  # both edges on the exact, negative side
    mass = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
    share = torch.softmax(weights * LN2, -1)
    return -torch.log2((share * mass).sum(-1) + FLOOR)


def following_bits(values: Tensor, guesses: Tensor, outputs: Tensor) -> Tensor:
    """Bits (B, P, COLOURS) of pixels in the order of coding, where the heads' biases follow the picture.

    The outputs (B, P, COLOURS, 3 K) are those of the networks; what the biases add to them begins at 0 and moves after
    each sample down the slope of its bits, as in rust/core/src/pixels.
    """
    unit = outputs.new_tensor([1.0, LN2, 1.0]).repeat_interleave(outputs.shape[-1] // 3)
    rate = outputs.new_tensor(RATES).repeat_interleave(outputs.shape[-1] // 3)
    biases, bits = torch.zeros_like(outputs[:, 0]), []
    for place in range(values.shape[1]):
        moved = (outputs[:, place] + biases).detach().requires_grad_()
        with torch.enable_grad():
            bits.append(mixture_bits(values[:, place], guesses[:, place], moved))
        (slope,) = torch.autograd.grad(bits[-1].sum(), moved)
        biases = biases - rate * (slope * unit).clamp(-STEEPEST, STEEPEST)
    return torch.stack(bits, 1).detach()


def _dense(inputs: int, outputs: int) -> nn.Parameter:
    """Weights of one layer for each colour."""
    return nn.Parameter(torch.randn(COLOURS, outputs, inputs) * (2.0 / inputs) ** 0.5)
