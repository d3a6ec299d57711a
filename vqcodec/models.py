"""VQ-VAE: images to codes, codes to images, and the rate-distortion loss that trains both (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqcodec.coarse import CoarseLevel
from vqcodec.config import ModelConfig
from vqcodec.distortion import distortion
from vqcodec.nets import (
    UNIT_STEP,
    LevelGain,
    PlainAnalysis,
    PlainSynthesis,
    ResidualAnalysis,
    ResidualSynthesis,
)
from vqcodec.prior import ContextPrior, categorical_bits, logistic_bits
from vqcodec.quantize import CodebookQuantizer, GridQuantizer, Quantized, make_quantizer, rows_of

ANCHOR_PASSES = 40  # of `ContextPrior.settle`: its codes are those of a file then, but for ties
COARSE_WEIGHT = 0.1  # of the coarse picture's distortion in the loss


class Losses(NamedTuple):
    """Terms of a training batch: `total` scalar; `bpp` (B,) bits per pixel; `mse` (B,) on 0..1 pixels."""

    total: Tensor
    bpp: Tensor
    mse: Tensor
    log: dict[str, float]


class VQVAE(nn.Module):
    """VQ-VAE of one or two levels with context priors.

    Images are (B, 3, H, W) float in [0, 1], H and W multiples of `config.multiple`; `level` (B,) float
    is the quality position in [0, quality_levels - 1]; codes are a list, coarse to fine, of
    (B, N, H/stride, W/stride), the coarse level's stride being twice `config.stride`. A model of centred
    codes has in their place the values that they stand for, float: mean of the prior + code.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.settled = False  # whether codes are rounded as in a file, and the analysis stays as it is
        plain = config.transform == "plain"
        self.analysis = PlainAnalysis(config) if plain else ResidualAnalysis(config)
        self.synthesis = PlainSynthesis(config) if plain else ResidualSynthesis(config)
        width = config.codebook_width if plain else config.channels
        self.analysis_gain = LevelGain(config.quality_levels, width)
        self.synthesis_gain = LevelGain(config.quality_levels, width)
        self.quantizer = make_quantizer(config, config.slices)
        if config.quantizer == "codebook":
            groups = sum(config.slices)
            self.embedding = nn.Parameter(torch.randn(groups, config.codebook_size, config.embedding))
        if config.codebook_rate:  # the loss says nothing of what choosing codes costs: the analysis stays as it was
            self.analysis.requires_grad_(False)
            self.analysis_gain.requires_grad_(False)
        self.coarse: CoarseLevel | None = None
        condition = 0
        if config.coarse_slices:
            features = config.channels if plain else config.analysis_coarse_width
            self.coarse = CoarseLevel(config, features, width)
            condition = sum(config.coarse_slices) * self.coarse.prior.features
        self.prior = ContextPrior(config, config.slices, condition)

    def latents(self, images: Tensor, level: Tensor) -> Tensor:
        """What images (B, 3, H, W) in [0, 1] become before they are codes, in quantiser steps: of one level."""
        images = images - 0.5
        latents: Tensor = self.analysis.head(images, self.analysis.trunk(images, level)) * self.analysis_gain(level)
        return latents

    def analyze(self, images: Tensor, level: Tensor, dead_zone: float = 0.0) -> list[Tensor]:
        """Codes of images, int64; on the grid, latents first go towards zero by up to `dead_zone`.

        Of centred codes the values, float.
        """

        def nearest(quantizer: GridQuantizer | CodebookQuantizer, latents: Tensor) -> Tensor:
            if self.config.quantizer == "grid":
                latents = latents - latents.clamp(-dead_zone, dead_zone)
            return quantizer.codes(latents).long()

        if self.config.centred:
            return [self.prior.settle(self.latents(images, level), level, ANCHOR_PASSES)]
        if self.coarse is None:
            return [nearest(self.quantizer, self.latents(images, level))]
        images = images - 0.5
        features = self.analysis.trunk(images, level)
        coarse = nearest(self.coarse.quantizer, self.coarse.latents(images, features, level))
        prediction = self.coarse.prediction(self.coarse.quantizer.lookup(coarse), level)
        latents = self.analysis.head(images, features) - prediction
        return [coarse, nearest(self.quantizer, latents * self.analysis_gain(level))]

    def synthesize(self, codes: Sequence[Tensor], level: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] of the codes of all levels, or of the coarse one alone.

        `grid` is the shape of the fine level, where the coarse codes reach beyond it.
        """
        latents = None
        if self.coarse is not None:
            latents = self.coarse.prediction(self.coarse.quantizer.lookup(codes[0]), level)
            height, width = grid or latents.shape[2:]
            latents = latents[..., :height, :width]
        if len(codes) == len(self.level_slices):
            fine = self.quantizer.lookup(codes[-1]) * self.synthesis_gain(level)
            latents = fine if latents is None else fine + latents
        assert latents is not None
        return (self.synthesis(latents, level) + 0.5).clamp(0.0, 1.0)

    def code_bits(self, codes: Sequence[Tensor], level: Tensor) -> list[Tensor]:
        """Bits of every code of every level under the float priors, shapes as the codes."""
        known = [grid.float() if self.config.quantizer == "grid" else grid for grid in codes]
        if self.config.centred:
            parameters = self.prior(known[0], level)
            return [logistic_bits((known[0] - parameters[:, :, 0]).round(), centred(parameters))]
        return self._bits(known, known, level)

    @property
    def level_slices(self) -> list[tuple[int, ...]]:
        """The slices of each level, coarse to fine."""
        return [slices for slices in (self.config.coarse_slices, self.config.slices) if slices]

    def forward(self, images: Tensor, level: Tensor, rate_exponent: float) -> Losses:
        """Training loss: mean over images of weight(level) * (bpp + lambda * distortion), plus the quantiser's."""
        images = images - 0.5
        features = self.analysis.trunk(images, level)
        latents = self.analysis.head(images, features)
        found: list[Quantized] = []
        prediction = None
        if self.coarse is not None:
            found.append(self.coarse.quantizer(self.coarse.latents(images, features, level)))
            prediction = self.coarse.prediction(found[0].latents, level)
            latents = latents - prediction
        latents = latents * self.analysis_gain(level)
        if self.config.centred:
            values, bits = self._quantize_centred(latents, level)
        else:
            found.append(self.quantizer(latents))
            values = found[-1].latents
            bits = self._bits([one.soft for one in found], [one.codes for one in found], level)
        latents = values * self.synthesis_gain(level)
        if prediction is not None:
            latents = latents + prediction
        shown = self.synthesis(latents, level)
        mse = (shown - images).square().mean((1, 2, 3))
        pixels = images.shape[2] * images.shape[3]
        bpp = torch.stack([level_bits.sum((1, 2, 3)) for level_bits in bits]).sum(0) / pixels
        lam = self.config.lambda_at(level)
        weight = (lam / 0.0057) ** rate_exponent
        lacking = distortion(self.config, shown + 0.5, images + 0.5)
        total = (weight * (bpp + lam * lacking)).mean() + sum(one.loss for one in found)
        if prediction is not None:
            total = total + COARSE_WEIGHT * self._coarse_cost(images, prediction, level, weight * lam)
        log = {key: value for one in reversed(found) for key, value in one.log.items()}  # the fine level's last
        return Losses(total, bpp, mse, log)

    def _quantize_centred(self, latents: Tensor, level: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Values of centred codes, and bits: of latents with noise, straight through the rounding.

        Contexts are what one pass of the prior gives: those in coding order, by `ContextPrior.settle`, train no better.
        Once it is settled, scales learn from the codes as they are. Means cannot: a code would not move with them.
        """
        with torch.no_grad():
            guess = self.prior(latents.round(), level)[:, :, 0]
            context = guess + (latents - guess).round()
        parameters = self.prior(latents + (context - latents).detach(), level)
        mean = parameters[:, :, 0]
        codes = (latents - mean).round().detach()
        values = latents + (codes + mean - latents).detach()
        noisy = latents + torch.rand_like(latents) - 0.5
        if not self.settled:
            return values, [logistic_bits(noisy, parameters)]
        bits = logistic_bits(noisy, torch.stack([mean, parameters[:, :, 1].detach()], 2))
        return values, [logistic_bits(codes, centred(parameters)) + bits - bits.detach()]

    def _coarse_cost(self, images: Tensor, prediction: Tensor, level: Tensor, weight: Tensor) -> Tensor:
        """What the coarse picture lacks, from every fourth image: only the synthesis learns from it."""
        chosen = slice(None, None, 4)
        shown = self.synthesis(prediction[chosen].detach(), level[chosen])
        return (weight[chosen] * distortion(self.config, shown + 0.5, images[chosen] + 0.5)).mean()

    def _bits(self, values: Sequence[Tensor], codes: Sequence[Tensor], level: Tensor) -> list[Tensor]:
        """Bits of `values` (the codes, or the grid's noisy ones) when the priors see `codes` before them."""
        if self.coarse is None:
            return [self._level_bits(values[0], self.prior(self._prior_features(codes[0]), level))]
        condition = self.coarse.prior_features(codes[0])
        coarse = self._level_bits(values[0], self.coarse.prior(condition, level))
        fine = self._level_bits(values[1], self.prior(self._prior_features(codes[1]), level, condition))
        return [coarse, fine]

    def _prior_features(self, codes: Tensor) -> Tensor:
        return codes if self.config.quantizer == "grid" else rows_of(self.embedding, codes)

    def _level_bits(self, values: Tensor, parameters: Tensor) -> Tensor:
        grid = self.config.quantizer == "grid"
        return logistic_bits(values, parameters) if grid else categorical_bits(values, parameters)


def centred(parameters: Tensor) -> Tensor:
    """Means and scales (B, C, 2, h, w) of codes that count from the mean."""
    return torch.stack([torch.zeros_like(parameters[:, :, 0]), parameters[:, :, 1]], 2)


@torch.no_grad()
def start_from_pca(model: VQVAE, patches: Tensor) -> None:
    """Initialise skip, gains and prior scales of a grid model from (N, 768) training patches in [-0.5, 0.5].

    The skip is the uncentred PCA of 16x16 patches in `pixel_unshuffle` order; the quantiser step of a
    level is 2.8 sqrt(3 / (65025 lambda)), the best scalar step at that exchange rate.
    """
    config, analysis, synthesis = model.config, model.analysis, model.synthesis
    assert isinstance(analysis, ResidualAnalysis) and isinstance(synthesis, ResidualSynthesis)
    second_moment = patches.T.double() @ patches.double() / patches.shape[0]
    values, vectors = torch.linalg.eigh(second_moment)
    basis = vectors.flip(1)[:, : config.channels].float()
    sigma = values.flip(0)[: config.channels].clamp(min=1e-12).sqrt().float()
    analysis.skip.weight.copy_(basis.T[:, :, None, None])
    synthesis.skip.weight.copy_(basis[:, :, None, None])
    synthesis.spread.copy_((1.0 + (sigma / UNIT_STEP) ** 2).sqrt())
    steps = torch.tensor([2.8 * (3.0 / (65025.0 * config.lambda_at(i))) ** 0.5 for i in range(config.quality_levels)])
    if config.quantizer == "grid":
        model.analysis_gain.log_gain.copy_((UNIT_STEP / steps).log()[:, None].expand(-1, config.channels))
        model.synthesis_gain.log_gain.copy_(-model.analysis_gain.log_gain)
        start_scales(model.prior, sigma[None, :] / steps[:, None])
    if model.coarse is not None:
        start_coarse(model, model.coarse)


@torch.no_grad()
def start_coarse(model: VQVAE, coarse: CoarseLevel) -> None:
    """Let a coarse level begin as the Haar transform of the lowest fine latents, 2x2 positions by 2x2.

    It then foretells them but for its own rounding; the first quarter of its channels are their means.
    """
    analysis, synthesis = model.analysis, model.synthesis
    assert isinstance(analysis, ResidualAnalysis) and isinstance(synthesis, ResidualSynthesis) and coarse.skip
    channels = model.config.coarse_channels
    lowest = -(-channels // 4)
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0
    haar = signs.view(4, 2, 2)
    patch = analysis.skip.weight[:lowest].view(lowest, 3, 16, 16)
    skip = torch.einsum("bij,kcyx->bkciyjx", haar, patch)  # the same patch in each of 2x2 blocks
    coarse.skip.weight.copy_(skip.reshape(4 * lowest, -1)[:channels, :, None, None])
    up = torch.zeros(4 * lowest, synthesis.skip.in_channels, 2, 2)
    for channel in range(lowest):
        up[channel::lowest, channel] = haar
    coarse.up.weight.copy_(up[:channels].flatten(1).T[:, :, None, None])
    coarse.up.get_parameter("bias").zero_()
    own = torch.arange(4 * lowest)[:channels] % lowest
    coarse.analysis_gain.log_gain.copy_(model.analysis_gain.log_gain[:, own])
    coarse.synthesis_gain.log_gain.copy_(-model.analysis_gain.log_gain[:, own])
    if model.config.quantizer == "grid":
        sigma = (synthesis.spread[own] ** 2 - 1.0).clamp(min=1e-4).sqrt()
        bands = torch.where(torch.arange(channels) < lowest, 1.9, 0.4)  # means keep most of the energy
        start_scales(coarse.prior, bands * sigma * coarse.analysis_gain.log_gain.exp())


def start_scales(prior: ContextPrior, sigma: Tensor) -> None:
    """Let the scales of a grid's prior begin at those of codes with deviations `sigma` (levels, channels)."""
    log2_scale = (0.55 * sigma).log2().clamp(-3.0, 8.0)
    parts = log2_scale.split(list(prior.sizes), 1)
    for size, block, part in zip(prior.sizes, prior.blocks(), parts, strict=True):
        block.head_bias[:, size:] = part
