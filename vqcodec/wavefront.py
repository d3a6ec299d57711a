"""Autoregressive context prior in raster order, as trained in float (torch).

Positions are coded one after the other, each with all its variables, slice by slice. So a slice sees every
variable of the four neighbours that were coded before, and the earlier slices of its own position. Positions
(y, x) of equal x + 2 y do not see each other: the runtime codes them together, as a wavefront
(`rust/core/src/order.rs`). Mean -3 % of the bits against `vqcodec.prior` (scripts/coding_order.py).

Shapes are those of `vqcodec.prior.ContextPrior`, which this stands in for; there is no coarse level.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.config import ModelConfig
from vqcodec.nets import hat_weights
from vqcodec.prior import FEATURE_LIMIT, Prior, Slice, Tap, clip

CAUSAL_TAPS: list[Tap] = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]


class WavefrontSlice(Slice):
    """One slice of variables: a dense context layer over (taps, features), then a tail of dense layers."""

    def __init__(self, config: ModelConfig, features: int, outputs: int, *, earlier: int) -> None:
        super().__init__()
        hidden, levels = config.prior_hidden, config.quality_levels
        self.first = earlier == 0
        self.context = nn.Linear(len(CAUSAL_TAPS) * features + earlier, hidden, bias=False)
        self.context_bias = nn.Parameter(torch.zeros(1, levels, hidden))
        self.hidden1 = nn.Linear(hidden, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, outputs, bias=False)
        nn.init.zeros_(self.head.weight)
        self.head_bias = nn.Parameter(torch.zeros(levels, outputs))

    def forward(self, seen: Tensor, weights: Tensor) -> Tensor:
        """Outputs (B, h, w, outputs) float of what each position sees, (B, h, w, inputs), at (B, levels) weights."""
        x = clip(self.context(seen) + (weights @ self.context_bias[0])[:, None, None])
        x = clip(self.hidden1(x))
        x = clip(self.hidden2(x))
        outputs: Tensor = self.head(x).float() + (weights @ self.head_bias)[:, None, None]
        return outputs


class WavefrontPrior(Prior):
    """The prior that codes position by position."""

    def __init__(self, config: ModelConfig, sizes: tuple[int, ...]) -> None:
        super().__init__(config, sizes)
        everything = sum(sizes) * self.features
        self.slices = nn.ModuleList(
            WavefrontSlice(config, everything, size * self.parameters_per_code, earlier=start * self.features)
            for size, start in zip(sizes, itertools.accumulate(sizes, initial=0), strict=False)
        )

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        weights = hat_weights(level, self.levels)
        here = features.clamp(-FEATURE_LIMIT, FEATURE_LIMIT).permute(0, 2, 3, 1)
        around = neighbours(here)
        parts = []
        starts = itertools.accumulate(self.sizes, initial=0)
        for size, block, start in zip(self.sizes, self.slices, starts, strict=False):
            seen = torch.cat([around, here[..., : start * self.features]], 3) if start else around
            # slice 0 holds symbols in the hundreds: bf16 would be too coarse to foretell them
            with torch.autocast(
                features.device.type, enabled=start > 0 and torch.is_autocast_enabled(features.device.type)
            ):
                out = block(seen, weights)
            parts.append(self._per_code(out.permute(0, 3, 1, 2), size))
        return torch.cat(parts, 1)


def neighbours(here: Tensor) -> Tensor:
    """What the causal taps see of features (B, h, w, N): (B, h, w, taps * N), 0 outside."""
    _, height, width, _ = here.shape
    padded = F.pad(here, (0, 0, 1, 1, 1, 0))
    return torch.cat([padded[:, 1 + dy :, 1 + dx :][:, :height, :width] for dy, dx in CAUSAL_TAPS], 3)
