"""Analysis and synthesis transforms: images to latents and back (torch, float).

Shapes: images (B, 3, H, W) float in [-0.5, 0.5], H and W multiples of the stride; latents
(B, C, H/stride, W/stride); `level` (B,) float quality positions in [0, quality_levels - 1].
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.config import ModelConfig

TRUNK_LIMIT = 8.0  # activations between blocks are clamped to +-this: int16 with 11 fractional bits at run time
INPUT_LIMIT = 32.0  # those that the synthesis trunk starts from: 9 fractional bits
HIDDEN_LIMIT = 64.0  # those after a ReLU are clipped at this: 8 fractional bits
UNIT_STEP = 0.25  # quantiser step, in pixel units of 0..1, that a latent of size 1 stands for


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 autocast is worth it: always on CUDA, on CPUs that multiply bf16 in hardware."""
    if device.type == "cuda":
        return True
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if platform.system() == "Linux" and cpuinfo.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def hat_weights(level: Tensor, levels: int) -> Tensor:
    """Weights (B, levels) that interpolate a per-level table linearly at positions `level` (B,)."""
    anchors = torch.arange(levels, device=level.device, dtype=level.dtype)
    return (1.0 - (level[:, None] - anchors).abs()).clamp(min=0.0)


class LevelGain(nn.Module):
    """Positive gain per channel, interpolated geometrically between quality levels (gained VAE, Cui et al. 2021)."""

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(levels, channels))

    def forward(self, level: Tensor) -> Tensor:
        """Gains (B, C, 1, 1) at quality positions `level` (B,)."""
        return torch.exp(self.log_at(level))[:, :, None, None]

    def log_at(self, level: Tensor) -> Tensor:
        """Natural logarithms (B, C) of the gains."""
        return hat_weights(level, self.log_gain.shape[0]) @ self.log_gain


def clipped_relu(x: Tensor) -> Tensor:
    """Clipped ReLU, the only nonlinearity of the transforms."""
    return F.hardtanh(x, 0.0, HIDDEN_LIMIT)


def clipped(x: Tensor, limit: float = TRUNK_LIMIT) -> Tensor:
    """Activations as the runtime holds them."""
    return F.hardtanh(x, -limit, limit)


class ResidualBlock(nn.Module):
    """x + 1x1(ReLU(3x3(x))): dense, because dense blocks train three times faster than depthwise ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return clipped(x + self.mix(clipped_relu(self.spatial(x))))


def residual_blocks(width: int, count: int) -> nn.Sequential:
    """`count` residual blocks of one width."""
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Make a convolution start as the zero map, so that the linear skip alone works at step 0."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class ResidualAnalysis(nn.Module):
    """Linear 16x16 patch transform (PCA-initialised) plus a learned correction that starts at zero."""

    input_scale = 3.0  # pixels are small numbers: the trunk sees them larger

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide, coarse = config.analysis_width, config.analysis_coarse_width
        self.skip = nn.Conv2d(768, config.channels, 1, bias=False)
        self.stem = nn.Conv2d(192, wide, 1)
        self.stem_gain = LevelGain(config.quality_levels, wide)
        self.fine = residual_blocks(wide, config.analysis_blocks)
        self.down = nn.Conv2d(wide, coarse, 3, stride=2, padding=1)
        self.coarse = residual_blocks(coarse, config.analysis_coarse_blocks)
        self.out = zero_init(nn.Conv2d(coarse, config.channels, 1))

    def trunk(self, images: Tensor, level: Tensor) -> Tensor:
        """Features (B, analysis_coarse_width, h, w) for the heads of all levels."""
        x = clipped(self.stem(F.pixel_unshuffle(images * self.input_scale, 8)))
        x = self.fine(clipped(x * self.stem_gain(level)))
        return self.coarse(clipped(self.down(x)))

    def head(self, images: Tensor, features: Tensor) -> Tensor:
        """Latents of images and their features."""
        correction = self.out(features)
        with torch.autocast(images.device.type, enabled=False):
            linear = self.skip(F.pixel_unshuffle(images, 16)) / UNIT_STEP
            return linear + correction.float()


class ResidualSynthesis(nn.Module):
    """Mirror of `ResidualAnalysis`: the linear patch transform back, plus a learned correction."""

    spread: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide = config.synthesis_width
        self.register_buffer("spread", torch.ones(config.channels))  # latent size per channel, for the trunk
        self.stem = nn.Conv2d(config.channels, config.channels, 1)
        self.coarse = residual_blocks(config.channels, config.synthesis_coarse_blocks)
        self.up = nn.Conv2d(config.channels, 4 * wide, 1)
        self.up_gain = LevelGain(config.quality_levels, wide)
        self.fine = residual_blocks(wide, config.synthesis_blocks)
        self.out = zero_init(nn.Conv2d(wide, 192, 1))
        self.skip = nn.Conv2d(config.channels, 768, 1, bias=False)

    def forward(self, latents: Tensor, level: Tensor) -> Tensor:
        x = self.coarse(clipped(self.stem(clipped(latents / self.spread[:, None, None], INPUT_LIMIT))))
        x = self.fine(clipped(F.pixel_shuffle(clipped(self.up(x)), 2) * self.up_gain(level)))
        correction = F.pixel_shuffle(self.out(x), 8)
        with torch.autocast(latents.device.type, enabled=False):
            linear = F.pixel_shuffle(self.skip(latents) * UNIT_STEP, 16)
            return linear + correction.float()


class PlainAnalysis(nn.Module):
    """The textbook encoder: strided 4x4 convolutions and two residual blocks (van den Oord et al. 2017)."""

    input_scale = 1.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.channels
        self.down1 = nn.Conv2d(3, width // 2, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(width // 2, width, 4, stride=2, padding=1)
        self.down3 = nn.Conv2d(width, width, 4, stride=2, padding=1)
        self.blocks = residual_blocks(width, 2)
        self.out = nn.Conv2d(width, config.codebook_width, 1)

    def trunk(self, images: Tensor, level: Tensor) -> Tensor:
        """Features (B, channels, h, w) for the heads of all levels."""
        return self.blocks(self.down3(clipped_relu(self.down2(clipped_relu(self.down1(images))))))

    def head(self, images: Tensor, features: Tensor) -> Tensor:
        """Latents of images and their features."""
        return self.out(features).float()


class PlainSynthesis(nn.Module):
    """Mirror of `PlainAnalysis`, with sub-pixel convolutions (Shi et al. 2016) as the transposed ones."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.channels
        self.stem = nn.Conv2d(config.codebook_width, width, 3, padding=1)
        self.blocks = residual_blocks(width, 2)
        self.up1 = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.up2 = nn.Conv2d(width, 4 * (width // 2), 3, padding=1)
        self.out = nn.Conv2d(width // 2, 4 * 3, 3, padding=1)

    def forward(self, latents: Tensor, level: Tensor) -> Tensor:
        x = self.blocks(self.stem(latents))
        x = F.pixel_shuffle(clipped_relu(self.up1(x)), 2)
        x = F.pixel_shuffle(clipped_relu(self.up2(x)), 2)
        return F.pixel_shuffle(self.out(x), 2).float()
