"""VQ-VAE: images to codes, codes to images, and the rate-distortion loss that trains both (torch)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqcodec.config import ModelConfig
from vqcodec.nets import (
    UNIT_STEP,
    LevelGain,
    PlainAnalysis,
    PlainSynthesis,
    ResidualAnalysis,
    ResidualSynthesis,
)
from vqcodec.prior import ContextPrior, categorical_bits, logistic_bits
from vqcodec.quantize import CodebookQuantizer, GridQuantizer, rows_of


class Losses(NamedTuple):
    """Per-image terms of a training batch: `total` scalar; `bpp` (B,) bits per pixel; `mse` (B,) on 0..1 pixels."""

    total: Tensor
    bpp: Tensor
    mse: Tensor
    log: dict[str, float]


class VQVAE(nn.Module):
    """One-level VQ-VAE with a context prior.

    Images are (B, 3, H, W) float in [0, 1], H and W multiples of `config.stride`; `level` (B,) float
    is the quality position in [0, quality_levels - 1]; codes are (B, N, H/stride, W/stride).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        plain = config.transform == "plain"
        self.analysis = PlainAnalysis(config) if plain else ResidualAnalysis(config)
        self.synthesis = PlainSynthesis(config) if plain else ResidualSynthesis(config)
        width = config.codebook_width if plain else config.channels
        self.analysis_gain = LevelGain(config.quality_levels, width)
        self.synthesis_gain = LevelGain(config.quality_levels, width)
        self.quantizer: GridQuantizer | CodebookQuantizer
        if config.quantizer == "grid":
            self.quantizer = GridQuantizer()
        else:
            groups = sum(config.slices)
            self.quantizer = CodebookQuantizer(groups, config.codebook_size, config.codebook_width)
            self.embedding = nn.Parameter(torch.randn(groups, config.codebook_size, config.embedding))
        self.prior = ContextPrior(config)

    def analyze(self, images: Tensor, level: Tensor, dead_zone: float = 0.0) -> Tensor:
        """Codes of images: int64 (B, N, h, w); on the grid, latents first go towards zero by up to `dead_zone`."""
        latents = self._latents(images, level)
        if self.config.quantizer == "grid":
            latents = latents - latents.clamp(-dead_zone, dead_zone)
        return self.quantizer.codes(latents).long()

    def synthesize(self, codes: Tensor, level: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] of codes (B, N, h, w)."""
        return self._images(self.quantizer.lookup(codes), level).clamp(0.0, 1.0)

    def code_bits(self, codes: Tensor, level: Tensor) -> Tensor:
        """Bits (B, N, h, w) of every code under the float prior."""
        known = codes.float() if self.config.quantizer == "grid" else codes
        return self._bits(known, known, level)

    def forward(self, images: Tensor, level: Tensor, rate_exponent: float) -> Losses:
        """Training loss: mean over images of weight(level) * (bpp + lambda * 255^2 * MSE), plus the quantiser's."""
        quantized = self.quantizer(self._latents(images, level))
        decoded = self._images(quantized.latents, level)
        pixels = images.shape[2] * images.shape[3]
        bpp = self._bits(quantized.soft, quantized.codes, level).sum((1, 2, 3)) / pixels
        mse = (decoded - images).square().mean((1, 2, 3))
        lam = self.config.lambda_at(level)
        cost = (lam / 0.0057) ** rate_exponent * (bpp + lam * 65025.0 * mse)
        return Losses(cost.mean() + quantized.loss, bpp, mse, quantized.log)

    def _latents(self, images: Tensor, level: Tensor) -> Tensor:
        return self.analysis(images - 0.5, level) * self.analysis_gain(level)

    def _images(self, latents: Tensor, level: Tensor) -> Tensor:
        return self.synthesis(latents * self.synthesis_gain(level), level) + 0.5

    def _bits(self, values: Tensor, codes: Tensor, level: Tensor) -> Tensor:
        """Bits of `values` (the codes, or the grid's noisy ones) when the prior sees `codes` before them."""
        if self.config.quantizer == "grid":
            return logistic_bits(values, self.prior(codes, level))
        return categorical_bits(values, self.prior(rows_of(self.embedding, codes), level))


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
        log2_scale = (0.55 * sigma[None, :] / steps[:, None]).log2().clamp(-3.0, 8.0)
        start = 0
        for size, block in zip(config.slices, model.prior.blocks(), strict=True):
            block.head_bias[:, size:] = log2_scale[:, start : start + size]
            start += size
