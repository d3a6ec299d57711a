"""Which order to code in: priors of three orders trained from scratch on the same codes, rate beside work.

    python scripts/coding_order.py ../shared/data/train-photos --validation ../shared/data/val-photos

`slices` is the runtime's order; `checkerboard` the same with slice 0 in two halves as well, the first of them blind
(He et al. 2021, 2022); `wavefront` codes whole positions in raster order, slice by slice, so that every code sees all
channels of the positions before it. The codes are the built-in model's, whose transform was trained beside `slices`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import vqcodec
from vqcodec import weights
from vqcodec.config import ModelConfig
from vqcodec.nets import hat_weights
from vqcodec.photos import load_folders
from vqcodec.prior import (
    CHECKER_TAPS,
    CROSS_TAPS,
    ContextPrior,
    PriorSlice,
    TapConv,
    checkerboard,
    logistic_bits,
    slice0_taps,
)

QUALITIES = (14.0, 43.0, 71.0, 100.0)
CROP = 16  # codes
GRID = (32, 48)  # codes of a 768x512 picture


class BlindSlice(PriorSlice):
    """Slice 0 in two checkerboard halves, the first of which sees nothing."""

    def __init__(self, config: ModelConfig, own: int) -> None:
        super().__init__(config, own, 2 * own)
        self.contexts = nn.ModuleList([TapConv(CHECKER_TAPS, own, config.prior_hidden)])

    def _first_context(self, own: Tensor, bias: Tensor) -> Tensor:
        odd = checkerboard(own)
        context: Tensor = bias[0] + odd * (self.contexts[0](own) + (bias[1] - bias[0]))
        return context


class RasterSlice(PriorSlice):
    """A slice that sees every channel of the four causal neighbours, and the earlier slices where it is itself."""

    CAUSAL = ((-1, -1), (-1, 0), (-1, 1), (0, -1))

    def __init__(self, config: ModelConfig, own: int, earlier: int) -> None:
        super().__init__(config, own, 2 * own)
        self.contexts = nn.ModuleList([TapConv(list(self.CAUSAL), sum(config.slices), config.prior_hidden)])
        self.here = nn.Conv2d(earlier, config.prior_hidden, 1) if earlier else None

    def _first_context(self, own: Tensor, bias: Tensor) -> Tensor:
        """Of all channels: `forward` is called with them as its own."""
        near: Tensor = self.contexts[0](own) + bias[0]
        return near if self.here is None else near + self.here(own[:, : self.here.in_channels])


class OrderedPrior(ContextPrior):
    """A prior of other slices than the runtime's."""

    def __init__(self, config: ModelConfig, order: str) -> None:
        super().__init__(config, config.slices)
        starts = list(accumulate(config.slices, initial=0))
        self.whole = order == "wavefront"
        if self.whole:
            self.slices = nn.ModuleList(RasterSlice(config, *pair) for pair in zip(config.slices, starts, strict=False))
        elif order == "checkerboard":
            self.slices[0] = BlindSlice(config, config.slices[0])

    def forward(self, features: Tensor, level: Tensor, condition: Tensor | None = None) -> Tensor:
        if not self.whole:
            return super().forward(features, level, condition)
        weight = hat_weights(level, self.levels)
        parts = [
            self._per_code(block(features[:, :0], features, weight, None), size)
            for block, size in zip(self.blocks(), self.sizes, strict=True)
        ]
        return torch.cat(parts, 1)


@dataclass(frozen=True)
class Order:
    """What an order costs to run: steps that wait for each other, multiply-adds a position."""

    name: str
    steps: int
    kmac: float


def order_costs(config: ModelConfig) -> list[Order]:
    """The three orders for a picture of GRID positions."""
    height, width = GRID
    hidden, slices = config.prior_hidden, config.slices
    starts = list(accumulate(slices, initial=0))
    tail = sum(2 * hidden * hidden + 2 * size * hidden for size in slices)
    cross = len(CROSS_TAPS) * sum(starts[:-1]) * hidden
    halves = [len(CHECKER_TAPS) * size * hidden / 2 for size in slices]
    first = sum(len(slice0_taps(step)) for step in range(4)) / 4 * slices[0] * hidden
    raster = len(RasterSlice.CAUSAL) * sum(slices) * hidden * len(slices) + sum(starts[:-1]) * hidden
    anchors = (height // 2) * (width // 2)  # position by position
    return [
        Order("slices", anchors + 3 + 2 * (len(slices) - 1), (tail + cross + first + sum(halves[1:])) / 1e3),
        Order("checkerboard", 2 * len(slices), (tail + cross + sum(halves)) / 1e3),
        Order("wavefront", (width + 2 * (height - 1)) * len(slices), (tail + raster) / 1e3),
    ]


Coded = tuple[float, Tensor]  # quality level, codes (C, h, w)


def coded_photos(
    codec: vqcodec.Codec, folder: Path, config: ModelConfig, pick: Callable[[], list[float]]
) -> list[Coded]:
    """The codes of every photo at the qualities that `pick` gives for it."""
    found = []
    for photo in load_folders([folder]):
        for quality in pick():
            codes = codec.codes(codec.encode(photo, quality, effort=0, verify=False))[0]
            whole = (codes + codec.code_unit // 2) // codec.code_unit  # on the grid of all priors
            found.append((quality / 100 * (config.quality_levels - 1), torch.from_numpy(whole).short()))
    return found


def crops(coded: list[Coded], batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of levels (B,) and codes (B, C, CROP, CROP), the same for every order."""
    rng = np.random.default_rng(seed)
    coded = [one for one in coded if min(one[1].shape[1:]) >= CROP]
    areas = np.array([codes[0].numel() for _, codes in coded], float)
    while True:
        levels, parts = [], []
        for index in rng.choice(len(coded), batch, p=areas / areas.sum()):
            level, codes = coded[index]
            top, left = (int(rng.integers(0, side - CROP + 1)) for side in codes.shape[1:])
            parts.append(codes[:, top : top + CROP, left : left + CROP])
            levels.append(level)
        yield torch.tensor(levels, dtype=torch.float32), torch.stack(parts).float()


def train(prior: ContextPrior, config: ModelConfig, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    """Adam with a linear fall over the last half, the loss weights of the joint training."""
    optimizer = torch.optim.Adam(prior.parameters(), betas=(0.9, 0.98), fused=True)
    for step in range(steps):
        rate = 1.5e-3 * min(1.0, (step + 1) / 100, 2 * (steps - step) / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        level, codes = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            bits = logistic_bits(codes, prior(codes, level)).sum((1, 2, 3)) / codes[0, 0].numel() / config.stride**2
        loss = ((config.lambda_at(level) / 0.0057) ** -0.3 * bits).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()


@torch.inference_mode()
def bits_per_pixel(prior: ContextPrior, config: ModelConfig, coded: list[Coded]) -> dict[str, float]:
    """Cross entropy at every quality, bits per pixel (padding counted as pixels)."""
    bits: dict[float, float] = {}
    pixels: dict[float, int] = {}
    for level, codes in coded:
        height, width = (side // 2 * 2 for side in codes.shape[1:])
        one = codes[None, :, :height, :width].float()
        found = float(logistic_bits(one, prior(one, torch.tensor([level]))).sum())
        bits[level] = bits.get(level, 0.0) + found
        pixels[level] = pixels.get(level, 0) + height * width * config.stride**2
    return {f"{100 * level / (config.quality_levels - 1):.0f}": bits[level] / pixels[level] for level in sorted(bits)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("scripts/results/coding_order.json"))
    arguments = parser.parse_args()
    config, codec = weights.load_networks(weights.resolve("photo")).config, vqcodec.load("photo")
    rng = np.random.default_rng(0)
    training = coded_photos(codec, arguments.photos, config, lambda: list(rng.uniform((0, 50), (50, 100))))
    held_out = coded_photos(codec, arguments.validation, config, lambda: list(QUALITIES))
    print(f"{len(training)} training pictures, {len(held_out)} held out, {arguments.steps} steps each")
    results = []
    for cost in order_costs(config):
        torch.manual_seed(0)
        prior, begun = OrderedPrior(config, cost.name), time.monotonic()
        train(prior, config, crops(training, arguments.batch, 1), arguments.steps)
        rates = bits_per_pixel(prior, config, held_out)
        results.append({**vars(cost), "bpp": rates, "seconds": time.monotonic() - begun})
        shown = "  ".join(
            f"{bpp:.4f} ({100 * bpp / results[0]['bpp'][quality] - 100:+.1f} %)" for quality, bpp in rates.items()
        )
        print(f"{cost.name:12} {cost.steps:5} steps  {cost.kmac:5.0f} kMAC a position  bpp {shown}", flush=True)
    arguments.output.write_text(
        json.dumps({"steps": arguments.steps, "batch": arguments.batch, "orders": results}, indent=1)
    )


if __name__ == "__main__":
    main()
