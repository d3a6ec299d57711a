"""Bounds on the log-likelihood of pictures, and how much of a latent code is in use (torch).

Bounds are in nats; `bits_per_dim` turns them into what the literature compares. Discrete pixels under a
discrete likelihood need no dequantisation. A density bounds 8-bit pixels when it has been given
`dequantized` ones: by Jensen's inequality log P(v) >= E_u log p((v + u) / 256) - log 256 a dimension (Theis et
al. 2016), for which `bits_per_dim` takes the bins' width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqcodec.beta_vae import BetaVAE
from vqcodec.likelihoods import DiscretizedLogistic
from vqcodec.models import VQVAE

ACTIVE_VARIANCE = 0.01
OCTAVE = 4  # scales an octave: the best is missed by 0.008 bits/dim at most
SCALES = 32  # from half a grey level upwards, named in 5 bits


def elbo(vae: BetaVAE, images: Tensor, label: Tensor | None = None) -> Tensor:
    """Evidence lower bound (B,) in nats: log p(x | z) at one draw, minus the KL in closed form, without beta."""
    posterior = vae.posterior(images, label)
    latents = posterior.sample()
    kl = posterior.divergence(vae.prior(latents, label))
    return vae.likelihood(images, vae.decode(latents, label)) - kl.flatten(1).sum(1)


def iwae(vae: BetaVAE, images: Tensor, samples: int, label: Tensor | None = None, chunk: int = 50) -> Tensor:
    """Importance weighted bound (B,) in nats of `samples` draws (Burda et al. 2016), `chunk` of them at a time.

    It grows with the samples, from the ELBO at 1 towards log p(x); its gradient trains an IWAE.
    """
    posterior = vae.posterior(images, label)
    weights = []
    for start in range(0, samples, chunk):
        count = min(chunk, samples - start)
        many = type(posterior)(*(one.repeat_interleave(count, 0) for one in posterior))
        labels = None if label is None else label.repeat_interleave(count, 0)
        latents = many.sample()
        fit = vae.likelihood(images.repeat_interleave(count, 0), vae.decode(latents, labels))
        ratio = vae.prior(latents, labels).log_density(latents) - many.log_density(latents)
        weights.append((fit + ratio.flatten(1).sum(1)).view(-1, count))
    return torch.logsumexp(torch.cat(weights, 1), 1) - math.log(samples)


def dequantized(values: Tensor) -> Tensor:
    """Pixels (v + u) / 256 in [0, 1) of 8-bit values, u uniform in [0, 1)."""
    return (values.float() + torch.rand(values.shape, device=values.device)) / 256.0


def bits_per_dim(nats: Tensor, dims: int, bin_width: float = 1.0) -> Tensor:
    """Bits per dimension of log-likelihoods; of a density with the `bin_width` of a value (1 / 256 if dequantised)."""
    return -nats / (dims * math.log(2.0)) - math.log2(bin_width)


def active_units(means: Tensor) -> Tensor:
    """Which latents (L,) bool tell pictures apart: the variance of their posterior means (N, L, ...) is above 0.01.

    That is Burda et al.'s measure of collapse; a latent on a grid is taken over all positions.
    """
    return means.transpose(0, 1).flatten(1).var(1) > ACTIVE_VARIANCE


class VQBound(NamedTuple):
    """Bits (B,) that losslessly coded pictures take at most: those of the codes, and of the pixels given them."""

    codes: Tensor
    pixels: Tensor


@torch.no_grad()
def vq_bound(model: VQVAE, images: Tensor, level: Tensor) -> VQBound:
    """-log2 p(codes) and -log2 P(x | codes) of 8-bit pictures (B, 3, H, W) in [0, 1], at quality positions (B,).

    The pixels follow discretised logistics around the decoded picture, with the best of 32 scales for each
    picture, whose 5 bits are counted: codes and pixels make a lossless code, so this bounds log P(x).
    """
    codes = model.analyze(images, level)
    shown = model.synthesize(codes, level)
    code_bits = torch.stack([bits.flatten(1).sum(1) for bits in model.code_bits(codes, level)]).sum(0)
    scales = [2.0 ** (step / OCTAVE - 1.0) / 255.0 for step in range(SCALES)]
    nats = torch.stack([DiscretizedLogistic(scale).to(images.device)(images, shown) for scale in scales])
    return VQBound(code_bits, -nats.amax(0) / math.log(2.0) + math.log2(SCALES))
