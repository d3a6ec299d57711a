"""A linear Gaussian VAE whose likelihood is known: x = 2 z + noise of deviation 0.5, each dimension on its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqcodec.beta_vae import BetaVAE, Objective
from vqcodec.likelihoods import Gaussian

WEIGHT, NOISE = 2.0, 0.5
ENERGY = WEIGHT**2 + NOISE**2
DIMS = 3


class Doubling(nn.Module):
    """The decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(WEIGHT))

    def forward(self, latents: Tensor) -> Tensor:
        return latents * self.weight


class Posterior(nn.Module):
    """The exact posterior, but for a factor on its deviation and a shift of its mean."""

    def __init__(self, widening: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.full((DIMS,), math.log(NOISE**2 / ENERGY) + 2.0 * math.log(widening)))
        self.shift = nn.Parameter(torch.full((DIMS,), shift))

    def forward(self, x: Tensor) -> Tensor:
        mean = x * (WEIGHT / ENERGY) + self.shift
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def toy_vae(widening: float = 1.0, shift: float = 0.0, objective: Objective | None = None) -> BetaVAE:
    """The VAE; its posterior is exact by default."""
    return BetaVAE(Posterior(widening, shift), Doubling(), Gaussian(NOISE), latents=DIMS, objective=objective)


def toy_data(count: int) -> Tensor:
    """What the VAE models, (count, DIMS)."""
    return WEIGHT * torch.randn(count, DIMS) + NOISE * torch.randn(count, DIMS)


def log_likelihood(x: Tensor) -> Tensor:
    """The exact log p(x), (B,) nats."""
    return -0.5 * (x.square() / ENERGY + math.log(2.0 * math.pi * ENERGY)).sum(1)
