"""What does adaptive state beside the networks of `tiny` save? In float, with pixels in raster order.

    python scripts/tiny_experts.py ../shared/data

Two kinds, both primed. The biases of the heads move with each sample of the picture at hand, down the slope of its
bits: the runtime does that. Or a least-squares prediction, learned online from weights and statistics of other
pictures, joins the mixture, in which a small network shares the weights and scales out anew from how good the
prediction was nearby: slower, and not built. Bits/dim over the second half of the pictures that were held out
from `tiny`'s training; the small network learns from the first.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from train_tiny import HELD_OUT, descend, pictures

from vqcodec import model_file, weights
from vqcodec.integer_pixels import load_integer_pixel_prior
from vqcodec.pixel_prior import (
    COLOURS,
    INPUT_UNIT,
    LN2,
    OWN,
    TAPS,
    PixelConfig,
    PixelPrior,
    following_bits,
    mixture_bits,
    neighbourhoods,
)

NEAREST = 10  # pixels that the least squares see, in all colours
PRIOR_SAMPLES, FORGETTING, RIDGE = 60.0, 0.998, 0.3  # least squares: what other pictures count for, memory, stability
STEPS, RATE, HIDDEN = 600, 3e-3, 48  # of the network that mixes


@dataclass(frozen=True)
class Seen:
    """Pictures (N, 1024) pixels in raster order, and what the networks say of them."""

    inputs: Tensor  # (N, 1024, INPUTS)
    values: Tensor  # (N, 1024, COLOURS)
    guesses: Tensor
    outputs: Tensor  # (N, 1024, COLOURS, 3 K): mixtures


def tiny() -> PixelPrior:
    """The float networks of the built-in model."""
    info = weights.resolve("tiny")
    model = PixelPrior(PixelConfig(**json.loads(info.pixels.config)["runtime"]["pixels"]))
    tensors = model_file.load(info.path.read_bytes())
    load_integer_pixel_prior(model, {name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return model


@torch.no_grad()
def look(model: PixelPrior, images: np.ndarray) -> Seen:
    samples = torch.from_numpy(np.ascontiguousarray(images))
    guesses, outputs = model.outputs(samples)
    inputs = (neighbourhoods(samples)[0] / INPUT_UNIT).float()
    return Seen(*(part.flatten(1, 2) for part in (inputs, samples.to(torch.int16), guesses, outputs)))


@torch.no_grad()
def least_squares(seen: Seen, others: Seen, colour: int) -> Tensor:
    """Predictions (N, 1024) relative to the guess, in `INPUT_UNIT`, each from the samples before it."""
    nearest = sorted(range(len(TAPS)), key=lambda tap: abs(TAPS[tap][0]) + abs(TAPS[tap][1]))[:NEAREST]
    columns = [COLOURS * tap + c for tap in nearest for c in range(COLOURS)] + list(range(OWN, OWN + colour))

    def wanted(pictures: Seen) -> Tensor:
        return (pictures.values - pictures.guesses)[..., colour].float() / INPUT_UNIT

    known, unit = others.inputs[..., columns].flatten(0, 1), torch.eye(len(columns))
    square = known.T @ known
    first = torch.linalg.solve(square + unit, known.T @ wanted(others).flatten())
    count = len(seen.values)
    weight = first.repeat(count, 1)
    covariance = torch.linalg.inv(square / len(known) * PRIOR_SAMPLES + RIDGE * unit).repeat(count, 1, 1)
    found, truth = torch.zeros(seen.values.shape[:2]), wanted(seen)
    for place in range(found.shape[1]):
        x = seen.inputs[:, place][:, columns]
        found[:, place] = (x * weight).sum(1)
        spread = torch.einsum("bij,bj->bi", covariance, x)
        gain = spread / (FORGETTING + (x * spread).sum(1))[:, None]
        weight = weight + gain * (truth[:, place] - found[:, place])[:, None]
        covariance = (covariance - gain[:, :, None] * spread[:, None]) / FORGETTING
    return found


def nearby(numbers: Tensor, outside: float) -> Tensor:
    """Means (N, 1024, 1) of what stands left, above, and above on both sides."""
    grid = F.pad(numbers.reshape(-1, 1, 32, 32), (1, 1, 1, 0), value=outside)
    around = grid[..., 1:, :-2] + grid[..., :-1, 1:-1] + grid[..., :-1, :-2] + grid[..., :-1, 2:]
    return (around / 4).reshape(len(numbers), -1, 1)


@dataclass(frozen=True)
class Mixing:
    """What the network that mixes sees of one colour, and the mixture without it."""

    features: Tensor
    predictions: Tensor
    outputs: Tensor
    values: Tensor
    guesses: Tensor

    @classmethod
    def of(cls, seen: Seen, predictions: Tensor, colour: int) -> Mixing:
        outputs, values = seen.outputs[:, :, colour], seen.values[..., colour]
        guesses = seen.guesses[..., colour]
        shares, means, scales = outputs.chunk(3, -1)
        error = (predictions - (values - guesses) / INPUT_UNIT).abs()
        mean = (torch.softmax(shares * LN2, -1) * means).sum(-1)
        away = predictions * INPUT_UNIT - mean
        features = [
            nearby(error, 0.5).clamp(min=1e-3).log2(),
            nearby(mixture_bits(values, guesses, outputs), 3.0),
            away.abs().clamp(min=0.05).log2()[..., None],
            away[..., None] / 8.0,
            shares, means / 8.0, scales,
        ]  # fmt: skip
        return cls(torch.cat(features, -1), predictions, outputs, values, guesses)

    def bits(self, network: nn.Module, chosen: Tensor) -> Tensor:
        """Bits of the chosen pictures' samples, with the prediction as one more logistic."""
        share, scale, more = network(self.features[chosen]).split([1, 1, 2 * self.outputs.shape[-1] // 3], -1)
        shares, means, scales = self.outputs[chosen].chunk(3, -1)
        shares, scales = shares + more.chunk(2, -1)[0], scales + more.chunk(2, -1)[1]
        mean = self.predictions[chosen][..., None] * INPUT_UNIT
        parts = torch.cat([shares, share, means, mean, scales, scale], -1)
        return mixture_bits(self.values[chosen], self.guesses[chosen], parts)


def mixed(learned: Mixing, tested: Mixing) -> float:
    """Bits/dim of one colour after the network that mixes has learned from other pictures."""
    torch.manual_seed(0)
    count = 2 + 2 * learned.outputs.shape[-1] // 3
    layers = [nn.Linear(learned.features.shape[-1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    head = nn.Linear(HIDDEN, count)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    head.bias.data[:2] = torch.tensor([-3.0, 2.0])  # a small share, a wide logistic
    network = nn.Sequential(*layers, head)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        descend(network, optimizer, learned.bits(network, torch.randint(len(learned.values), (12,))).mean())
    with torch.no_grad():
        return float(tested.bits(network, torch.arange(len(tested.values))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=5, help="take every n-th picture")
    options = parser.parse_args()
    model, images = tiny(), pictures(options.data)[-HELD_OUT :: options.every]
    learned, tested = (look(model, part) for part in np.array_split(images, 2))
    plain = float(mixture_bits(tested.values, tested.guesses, tested.outputs).mean())
    print(f"{len(tested.values)} pictures, the networks alone: {plain:.4f} bits/dim", flush=True)
    found = float(following_bits(tested.values, tested.guesses, tested.outputs).mean())
    print(f"biases that follow the picture: {found:.4f} ({100 * (found / plain - 1):+.2f} %)", flush=True)
    colours = []
    for colour in range(COLOURS):
        parts = [Mixing.of(seen, least_squares(seen, learned, colour), colour) for seen in (learned, tested)]
        colours.append(mixed(*parts))
    found = float(np.mean(colours))
    print(f"least squares mixed in: {found:.4f} ({100 * (found / plain - 1):+.2f} %)")


if __name__ == "__main__":
    main()
