"""The coarse level of a hierarchy: fewer codes, which foretell the fine ones and come first in a file (torch).

As in VQ-VAE-2 (Razavi et al. 2019) the coarse codes feed the synthesis and the fine level's prior. Here they
do so as a prediction of the fine latents, of which the fine codes hold the rest: without those, the prediction
alone is the coarse picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.config import ModelConfig
from vqcodec.nets import UNIT_STEP, LevelGain, zero_init
from vqcodec.prior import ContextPrior
from vqcodec.quantize import GridQuantizer, make_quantizer, rows_of


class CoarseLevel(nn.Module):
    """Coarse latents, their codes and prior, and the prediction of fine latents.

    Codes are (B, M, h/2, w/2) beside fine ones of (B, N, h, w), h and w even; `features` (B, C, h, w) are the
    analysis trunk's.
    """

    def __init__(self, config: ModelConfig, features: int, fine_channels: int) -> None:
        super().__init__()
        channels = config.coarse_channels
        self.out = nn.Conv2d(features, channels, 2, stride=2)
        self.skip = None
        if config.transform == "residual":
            self.skip = nn.Conv2d(3 * 32 * 32, channels, 1, bias=False)
            zero_init(self.out)
        self.analysis_gain = LevelGain(config.quality_levels, channels)
        self.synthesis_gain = LevelGain(config.quality_levels, channels)
        self.up = nn.Conv2d(channels, 4 * fine_channels, 1)
        self.quantizer = make_quantizer(config, config.coarse_slices)
        if config.quantizer == "codebook":
            size = (sum(config.coarse_slices), config.codebook_size, config.embedding)
            self.embedding = nn.Parameter(torch.randn(size))
        self.prior = ContextPrior(config, config.coarse_slices)

    def latents(self, images: Tensor, features: Tensor, level: Tensor) -> Tensor:
        """Coarse latents in quantiser steps."""
        latents: Tensor = self.out(features).float()
        if self.skip is not None:
            with torch.autocast(images.device.type, enabled=False):
                latents = latents + self.skip(F.pixel_unshuffle(images, 32)) / UNIT_STEP
        scaled: Tensor = latents * self.analysis_gain(level)
        return scaled

    def prediction(self, quantized: Tensor, level: Tensor) -> Tensor:
        """Fine latents (B, C, h, w) that quantised coarse ones foretell."""
        with torch.autocast(quantized.device.type, enabled=False):
            return F.pixel_shuffle(self.up(quantized * self.synthesis_gain(level)), 2)

    def prior_features(self, codes: Tensor) -> Tensor:
        """What priors see of coarse codes: themselves on the grid, else the rows of a learned table."""
        return codes.float() if isinstance(self.quantizer, GridQuantizer) else rows_of(self.embedding, codes)
