"""Beta-VAE: the continuous baseline beside the VQ-VAE, with an optional label as condition (torch).

Kingma and Welling 2014 for the VAE, Higgins et al. 2017 for beta, Kingma et al. 2016 for free bits, Sohn et
al. 2015 for the label (CVAE). Shapes: images (B, ...) float; latents (B, L) or, of a picture, (B, L, h, w);
label (B,) int64. Everything is in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.errors import InvalidInputError
from vqcodec.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian

Likelihood = Bernoulli | Gaussian | DiscretizedLogistic


class DiagonalGaussian(NamedTuple):
    """Independent Gaussians: mean and log variance of each latent, broadcastable shapes."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """One draw, through which gradients reach mean and log variance."""
        return self.mean + torch.exp(0.5 * self.log_variance) * torch.randn_like(self.mean)

    def log_density(self, latents: Tensor) -> Tensor:
        """log p of each latent on its own, shape as `latents`."""
        error = (latents - self.mean).square() * torch.exp(-self.log_variance)
        return -0.5 * (error + self.log_variance + math.log(2.0 * math.pi))

    def divergence(self, other: DiagonalGaussian) -> Tensor:
        """KL(self || other) of each latent, in closed form."""
        narrower = torch.exp(self.log_variance - other.log_variance)
        error = (self.mean - other.mean).square() * torch.exp(-other.log_variance)
        return 0.5 * (narrower + error - 1.0 + other.log_variance - self.log_variance)


@dataclass(frozen=True)
class Objective:
    """What a beta-VAE is trained for."""

    beta: float = 1.0  # weight of the KL
    warmup_steps: int = 0  # over which the weight grows linearly to beta
    free_nats: float = 0.0  # KL of a latent, mean over batch and positions, that is not charged
    analytic: bool = True  # KL in closed form; False: its value at the sample

    def beta_at(self, step: int) -> float:
        """Weight of the KL at a training step."""
        return self.beta * min(1.0, (step + 1) / max(self.warmup_steps, 1))


class VAELosses(NamedTuple):
    """Terms of a training batch: `total` scalar; `log_likelihood` (B,) and `kl` (B,) nats, without beta."""

    total: Tensor
    log_likelihood: Tensor
    kl: Tensor


class BetaVAE(nn.Module):
    """VAE with a diagonal Gaussian posterior and a standard normal prior, or a learned Gaussian per label.

    `encoder` gives 2 L channels, means and log variances; `decoder` what `likelihood` takes. With `labels`
    classes both get the label as `labels` more channels, one of which is 1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        latents: int,
        labels: int = 0,
        objective: Objective | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.latents, self.labels = latents, labels
        self.objective = objective or Objective()
        if labels:
            self.prior_mean = nn.Parameter(torch.zeros(labels, latents))
            self.prior_log_variance = nn.Parameter(torch.zeros(labels, latents))

    def posterior(self, images: Tensor, label: Tensor | None = None) -> DiagonalGaussian:
        """q(z | x): what the encoder says of each latent."""
        mean, log_variance = self.encoder(self._with_label(images, label)).chunk(2, 1)
        return DiagonalGaussian(mean, log_variance)

    def prior(self, like: Tensor, label: Tensor | None = None) -> DiagonalGaussian:
        """p(z), for latents of the shape of `like`."""
        if not self.labels:
            return DiagonalGaussian(torch.zeros_like(like), torch.zeros_like(like))
        shape = (-1, self.latents, *[1] * (like.ndim - 2))
        tables = (self.prior_mean, self.prior_log_variance)
        return DiagonalGaussian(*(table[self._known(label)].view(shape).expand_as(like) for table in tables))

    def decode(self, latents: Tensor, label: Tensor | None = None) -> Tensor:
        """What the likelihood takes, of latents."""
        return self.decoder(self._with_label(latents, label))

    def forward(self, images: Tensor, step: int, label: Tensor | None = None) -> VAELosses:
        """Training loss: mean over images of beta * KL - log p(x | z), at one z drawn for each."""
        posterior = self.posterior(images, label)
        latents = posterior.sample()
        prior = self.prior(latents, label)
        if self.objective.analytic:
            kl = posterior.divergence(prior)
        else:
            kl = posterior.log_density(latents) - prior.log_density(latents)
        fit = self.likelihood(images, self.decode(latents, label))
        per_latent = kl.transpose(0, 1).flatten(1)  # (L, B * positions)
        charged = per_latent.mean(1).clamp(min=self.objective.free_nats).sum() * (per_latent.shape[1] / len(images))
        total = self.objective.beta_at(step) * charged - fit.mean()
        return VAELosses(total, fit, kl.flatten(1).sum(1))

    def sample(self, count: int, label: Tensor | None = None, grid: tuple[int, ...] = ()) -> Tensor:
        """Pictures of `count` latents drawn from the prior, (L,) each, or (L, h, w) with `grid` (h, w)."""
        like = next(self.decoder.parameters()).new_zeros(count, self.latents, *grid)
        return self.likelihood.mean(self.decode(self.prior(like, label).sample(), label))

    def _known(self, label: Tensor | None) -> Tensor:
        if label is None:
            raise InvalidInputError("this model is conditioned on a label, and none was given")
        return label

    def _with_label(self, x: Tensor, label: Tensor | None) -> Tensor:
        if not self.labels:
            return x
        planes = F.one_hot(self._known(label), self.labels).to(x.dtype)
        planes = planes.view(*planes.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return torch.cat([x, planes], 1)
