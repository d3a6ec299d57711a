"""Autoregressive context prior over code grids, as trained in float (torch).

The coding order is the one of the Rust runtime (`rust/core/FORMAT.md`): channels in slices; slice 0 in
four interleaved grids, of which the first is coded position by position and the others see every
neighbour coded before; later slices in two checkerboard halves that see all earlier slices around them.
One masked pass gives all parameters, because only the first layer looks at neighbours.

The fine level of a hierarchy sees the coarse level's codes in every slice, as if they were an earlier one.

Shapes: features (B, sum(slices) * E, h, w) float holding small integers; condition (B, C, h/2, w/2) the features
of a coarse level, None without one; parameters
(B, sum(slices), P, h, w) float, P = 2 (mean, log2 scale) for the grid or K logits in log2 units.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.config import ModelConfig
from vqcodec.nets import hat_weights

Tap = tuple[int, int]
FEATURE_LIMIT = 2047.0  # context features are clamped to +-this, as the integer runtime does
ACTIVATION_LIMIT = 127.0  # hidden activations are clipped: int16 with 8 fractional bits at run time
MIN_LOG2_SCALE, MAX_LOG2_SCALE = -6.0, 8.9375  # 240 classes of 1/16 octave
PHASES: tuple[Tap, ...] = ((0, 0), (1, 1), (0, 1), (1, 0))


def slice0_taps(step: int) -> list[Tap]:
    """Neighbour offsets (dy, dx) that step 0..3 of slice 0 sees, in raster order."""
    if step == 0:
        grid = [(dy, dx) for dy in (-4, -2, 0) for dx in (-4, -2, 0, 2, 4)]
        return [tap for tap in grid if tap < (0, 0)]
    if step == 1:
        return [(dy, dx) for dy in (-3, -1, 1, 3) for dx in (-3, -1, 1, 3)]
    py, px = PHASES[step]
    coded = PHASES[:step]
    around = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    return [(dy, dx) for dy, dx in around if ((py + dy) % 2, (px + dx) % 2) in coded]


def steps(*, first: bool) -> list[list[Tap]]:
    """The steps of a slice, the first or a later one: phases (row, column) modulo 2 of the positions of each."""
    return [[phase] for phase in PHASES] if first else [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]


CROSS_TAPS: list[Tap] = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
CHECKER_TAPS: list[Tap] = [(-1, 0), (0, -1), (0, 1), (1, 0)]


class TapConv(nn.Module):
    """Convolution given by a list of taps, weights (outputs, taps, inputs): the runtime's own layout."""

    index: Tensor

    def __init__(
        self,
        taps: list[Tap],
        inputs: int,
        outputs: int,
        *,
        spacing: int = 1,
        stride: int = 1,
        start: Tap = (0, 0),
    ) -> None:
        super().__init__()
        self.stride = stride
        rows = [dy // spacing for dy, _ in taps]
        cols = [dx // spacing for _, dx in taps]
        self.pad = (-min(*cols, 0), max(*cols, 0), -min(*rows, 0), max(*rows, 0))
        left, right, top, bottom = self.pad
        self.kernel = (top + bottom + 1, left + right + 1)
        self.pad = (left - start[1], right, top - start[0], bottom)  # outputs at start, start + stride, ...
        index = torch.tensor([(r + top) * self.kernel[1] + c + left for r, c in zip(rows, cols, strict=True)])
        self.register_buffer("index", index, persistent=False)
        bound = (3.0 / (len(taps) * inputs)) ** 0.5 / 3.0
        self.weight = nn.Parameter(torch.empty(outputs, len(taps), inputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        outputs, _, inputs = self.weight.shape
        flat = x.new_zeros(outputs, inputs, self.kernel[0] * self.kernel[1])
        kernel = flat.index_copy(2, self.index, self.weight.transpose(1, 2).to(flat.dtype))
        padded = F.pad(x, self.pad)
        return F.conv2d(padded, kernel.view(outputs, inputs, *self.kernel), stride=self.stride)


class PriorSlice(nn.Module):
    """One slice of variables: context convolutions per step, then a 1x1 tail shared by the steps."""

    def __init__(self, config: ModelConfig, own: int, outputs: int, *, earlier: int = 0, condition: int = 0) -> None:
        super().__init__()
        hidden, levels = config.prior_hidden, config.quality_levels
        self.first = earlier == 0
        self.condition = TapConv(CROSS_TAPS, condition, hidden) if condition else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)  # so that a one-level prior can grow a coarse level
        self.cross = None if self.first else TapConv(CROSS_TAPS, earlier, hidden)
        if self.first:
            self.contexts = nn.ModuleList(
                [
                    TapConv(slice0_taps(0), own, hidden, spacing=2),
                    # odd offsets only: a dense kernel on the subgrid of phase (0, 0), one half step off
                    TapConv([(dy + 1, dx + 1) for dy, dx in slice0_taps(1)], own, hidden, spacing=2),
                    TapConv(slice0_taps(2), own, hidden, stride=2, start=PHASES[2]),
                    TapConv(slice0_taps(3), own, hidden, stride=2, start=PHASES[3]),
                ]
            )
        else:
            self.contexts = nn.ModuleList([TapConv(CHECKER_TAPS, own, hidden)])
        self.context_bias = nn.Parameter(torch.zeros(4 if self.first else 2, levels, hidden))
        self.hidden1 = nn.Conv2d(hidden, hidden, 1)
        self.hidden2 = nn.Conv2d(hidden, hidden, 1)
        self.head = nn.Conv2d(hidden, outputs, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        self.head_bias = nn.Parameter(torch.zeros(levels, outputs))

    def forward(self, earlier: Tensor, own: Tensor, weights: Tensor, condition: Tensor | None) -> Tensor:
        bias = torch.einsum("bl,slh->sbh", weights, self.context_bias)[..., None, None]
        x = self._first_context(own, bias) if self.first else self._later_context(earlier, own, bias)
        if self.condition is not None:
            x = x + self.condition(condition)
        x = clip(x)
        x = clip(self.hidden1(x))
        x = clip(self.hidden2(x))
        return self.head(x).float() + (weights @ self.head_bias)[:, :, None, None]

    def _first_context(self, own: Tensor, bias: Tensor) -> Tensor:
        anchor = own[:, :, ::2, ::2]
        sources = (anchor, anchor, own, own)
        phases = [conv(x) + b for conv, x, b in zip(self.contexts, sources, bias, strict=True)]
        quad = torch.stack([phases[0], phases[2], phases[3], phases[1]], dim=2)  # raster order of the 2x2 cell
        return F.pixel_shuffle(quad.flatten(1, 2), 2)

    def _later_context(self, earlier: Tensor, own: Tensor, bias: Tensor) -> Tensor:
        odd = checkerboard(own)
        near = self.contexts[0](own)
        assert self.cross is not None
        return self.cross(earlier) + bias[0] + odd * (near + (bias[1] - bias[0]))


def clip(x: Tensor) -> Tensor:
    """Clipped ReLU, the only nonlinearity of the prior."""
    return F.hardtanh(x, 0.0, ACTIVATION_LIMIT)  # one operation each way, where torch.clamp takes four


def checkerboard(x: Tensor) -> Tensor:
    """(1, 1, h, w) mask of the second half: 1 where row + column is odd."""
    rows = torch.arange(x.shape[2], device=x.device)[:, None]
    cols = torch.arange(x.shape[3], device=x.device)
    return ((rows + cols) % 2).to(x.dtype)[None, None]


class ContextPrior(nn.Module):
    """Parameters of every code's distribution from the codes before it, at a quality position."""

    def __init__(self, config: ModelConfig, sizes: tuple[int, ...], condition: int = 0) -> None:
        super().__init__()
        grid = config.quantizer == "grid"
        self.sizes = sizes
        self.levels = config.quality_levels
        self.features = 1 if grid else config.embedding
        self.parameters_per_code = 2 if grid else config.codebook_size
        starts = itertools.accumulate(sizes, initial=0)
        self.slices = nn.ModuleList(
            PriorSlice(
                config,
                size * self.features,
                size * self.parameters_per_code,
                earlier=start * self.features,
                condition=condition,
            )
            for size, start in zip(sizes, starts, strict=False)
        )

    def forward(self, features: Tensor, level: Tensor, condition: Tensor | None = None) -> Tensor:
        height, width = features.shape[2:]
        features = F.pad(features, (0, width % 2, 0, height % 2)).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        if condition is not None:
            condition = F.interpolate(condition.clamp(-FEATURE_LIMIT, FEATURE_LIMIT), scale_factor=2, mode="nearest")
        weights = hat_weights(level, self.levels)
        bounds = itertools.pairwise(itertools.accumulate(self.sizes, initial=0))
        parts = [
            self._slice(index, features[:, : end * self.features], weights, condition)
            for index, (_, end) in enumerate(bounds)
        ]
        return torch.cat(parts, 1)[..., :height, :width]

    @torch.no_grad()
    def settle(self, latents: Tensor, level: Tensor, anchor_passes: int) -> Tensor:
        """Values of centred codes (B, C, h, w): latents rounded in whole steps from means, in coding order.

        The first grid of slice 0, each of whose positions waits for those before it, is rounded all at once
        `anchor_passes` times; then it is nearly what it would be one by one. All else is exact.
        """
        height, width = latents.shape[2:]
        latents = F.pad(latents, (0, width % 2, 0, height % 2))
        values = latents.round()
        weights = hat_weights(level, self.levels)
        for index, (start, end) in enumerate(itertools.pairwise(itertools.accumulate(self.sizes, initial=0))):
            own = latents[:, start:end]
            for phases in steps(first=index == 0):
                for _ in range(anchor_passes if index == 0 and phases == [PHASES[0]] else 1):
                    known = values[:, :end].clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
                    mean = self._slice(index, known, weights, None)[:, :, 0]
                    for y, x in phases:
                        found = mean[..., y::2, x::2]
                        values[:, start:end, y::2, x::2] = found + (own[..., y::2, x::2] - found).round()
        return values[..., :height, :width]

    def _slice(self, index: int, features: Tensor, weights: Tensor, condition: Tensor | None) -> Tensor:
        """Parameters of one slice, given the features of the slices before it and its own."""
        size = self.sizes[index]
        start = features.shape[1] - size * self.features
        # slice 0 and coarse levels hold symbols in the hundreds: bf16 would be too coarse for them
        fast = index > 0 and torch.is_autocast_enabled(features.device.type)
        with torch.autocast(features.device.type, enabled=fast):
            out = self.blocks()[index](features[:, :start], features[:, start:], weights, condition)
        return self._per_code(out, size)

    def blocks(self) -> list[PriorSlice]:
        """The slices in coding order."""
        return [block for block in self.slices if isinstance(block, PriorSlice)]

    def _per_code(self, out: Tensor, size: int) -> Tensor:
        batch, _, height, width = out.shape
        if self.parameters_per_code == 2:  # the runtime's order: all means, then all scales
            return out.view(batch, 2, size, height, width).transpose(1, 2)
        return out.view(batch, size, self.parameters_per_code, height, width)


def logistic_bits(values: Tensor, parameters: Tensor) -> Tensor:
    """Bits of `values` (B, C, h, w) under discretised logistics (B, C, 2, h, w): mean, log2 scale."""
    mean, log2_scale = parameters.unbind(2)
    inverse = torch.exp2(-log2_scale.clamp(MIN_LOG2_SCALE, MAX_LOG2_SCALE))
    distance = (values - mean).abs()  # symmetric, so both edges are taken on the exact, negative side
    mass = torch.sigmoid((0.5 - distance) * inverse) - torch.sigmoid((-0.5 - distance) * inverse)
    return -torch.log2(mass.clamp(min=1e-9))


def categorical_bits(codes: Tensor, parameters: Tensor) -> Tensor:
    """Bits of index `codes` (B, C, h, w) int64 under logits (B, C, K, h, w) in log2 units."""
    log2_total = torch.logsumexp(parameters * 0.6931471805599453, 2) / 0.6931471805599453
    return log2_total - parameters.gather(2, codes[:, :, None]).squeeze(2)
