"""A small random model of pixels, and pictures that such a model codes well."""

from __future__ import annotations

import numpy as np
import torch

from vqcodec.pixel_prior import PixelConfig, PixelPrior


def random_prior(config: PixelConfig | None = None, seed: int = 0) -> PixelPrior:
    """Random weights, whose heads say something else for every pixel."""
    torch.manual_seed(seed)
    model = PixelPrior(config or PixelConfig(24, 3))
    with torch.no_grad():
        for parameter in (*model.biases, model.head):
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def drawn(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pictures (N, H, W, 3) uint8, each sample near the mean of those to the left and above."""
    rng = np.random.default_rng(seed)
    noise = np.rint(rng.logistic(0.0, 6.0, (count, height, width, 3))).astype(int)
    pictures = np.full((count, height + 1, width + 1, 3), 128)
    for y, x in np.ndindex(height, width):
        guess = (pictures[:, y + 1, x] + pictures[:, y, x + 1] + 1) >> 1
        pictures[:, y + 1, x + 1] = np.clip(guess + noise[:, y, x], 0, 255)
    return np.ascontiguousarray(pictures[:, 1:, 1:].astype(np.uint8))
