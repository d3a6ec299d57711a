"""A beta-VAE on the codec's own transform networks, and its way back into an ordinary model of codes (torch).

The VAE's latents are those of a VQ-VAE, scaled so that their prior is a standard normal. As a codec its posterior
means are divided by a step for each channel and rounded; the codes are coded with one logistic table for each
channel, without contexts: the factorised prior of Balle et al. 2017. File, command line and benchmark are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vqcodec.beta_vae import BetaVAE, Objective
from vqcodec.config import ModelConfig
from vqcodec.errors import InvalidInputError
from vqcodec.likelihoods import Gaussian
from vqcodec.models import VQVAE
from vqcodec.nets import LevelGain, ResidualAnalysis, ResidualSynthesis
from vqcodec.prior import logistic_bits

STEP = math.sqrt(12.0)  # of posterior deviations: rounding then errs as much as the posterior's noise
LARGEST_VARIANCE = 0.99  # of a posterior at the start: a latent that has collapsed could not come back


class PictureEncoder(nn.Module):
    """Images (B, 3, H, W) in [0, 1] to posterior means and log variances (B, 2 C, h, w)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = ResidualAnalysis(config)
        self.gain = LevelGain(1, config.channels)
        self.log_variance = nn.Conv2d(config.analysis_coarse_width, config.channels, 1)
        nn.init.zeros_(self.log_variance.weight)

    def forward(self, images: Tensor) -> Tensor:
        images, level = images - 0.5, images.new_zeros(len(images))
        features = self.analysis.trunk(images, level)
        means = self.analysis.head(images, features) * self.gain(level)
        return torch.cat([means, self.log_variance(features).float()], 1)


class PictureDecoder(nn.Module):
    """Mirror of `PictureEncoder`: latents (B, C, h, w) to images, not clamped."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.synthesis = ResidualSynthesis(config)
        self.gain = LevelGain(1, config.channels)

    def forward(self, latents: Tensor) -> Tensor:
        level = latents.new_zeros(len(latents))
        return self.synthesis(latents * self.gain(level), level) + 0.5


def trade_off(noise: float, beta: float) -> float:
    """The `ModelConfig` lambda that a beta-VAE with Gaussian pixels is trained for: nats and errors in its units."""
    return 3.0 / (2.0 * math.log(2.0) * 65025.0 * beta * noise**2)


@torch.no_grad()
def picture_vae(model: VQVAE, level: float, images: Tensor, *, noise: float, objective: Objective) -> BetaVAE:
    """A beta-VAE that begins as a grid model at a quality position; `noise` is the deviation of the pixels in 0..1.

    Its codes' noise becomes the posterior's, and their energy on `images` (B, 3, H, W) the prior's unit. From
    `start_from_pca` that is probabilistic PCA (Tipping and Bishop 1999): the optimum of linear networks.
    """
    if model.config.quantizer != "grid" or model.coarse is not None:
        raise InvalidInputError("a beta-VAE begins as a model of one level on the integer grid")
    position = torch.full((len(images),), level)
    config = _factorized(model.config, 1)
    encoder, decoder = PictureEncoder(config), PictureDecoder(config)
    _copy_networks(model.analysis, encoder.analysis, position[:1])
    _copy_networks(model.synthesis, decoder.synthesis, position[:1])
    features = model.analysis.trunk(images - 0.5, position)
    codes = model.analysis.head(images - 0.5, features) * model.analysis_gain(position)
    energy = codes.square().mean((0, 2, 3))
    variance = (1.0 / 12.0 / energy).clamp(max=LARGEST_VARIANCE)
    signal = (energy * (1.0 - variance)).sqrt()
    encoder.gain.log_gain.copy_(model.analysis_gain.log_at(position[:1]) + (signal / energy).log())
    decoder.gain.log_gain.copy_(model.synthesis_gain.log_at(position[:1]) + signal.log())
    assert encoder.log_variance.bias is not None
    encoder.log_variance.bias.copy_(variance.log())
    return BetaVAE(encoder, decoder, Gaussian(noise), latents=config.channels, objective=objective)


@torch.no_grad()
def as_codec(vae: BetaVAE, images: Tensor, widths: Sequence[float] = (1.0,)) -> VQVAE:
    """An ordinary model of a `picture_vae`, whose tables are fitted on `images` (B, 3, H, W).

    Each of `widths`, coarse to fine, makes a quality level: a latent's step is so many times sqrt(12) posterior
    deviations (root mean square over the images).
    """
    encoder, decoder, likelihood = vae.encoder, vae.decoder, vae.likelihood
    assert isinstance(encoder, PictureEncoder) and isinstance(decoder, PictureDecoder)
    assert isinstance(likelihood, Gaussian)
    posteriors = [vae.posterior(one) for one in images.split(8)]
    means = torch.cat([one.mean for one in posteriors])
    variance = torch.cat([one.log_variance for one in posteriors]).exp().mean((0, 2, 3))
    steps = torch.tensor(widths)[:, None] * STEP * variance.sqrt()
    at_one = trade_off(math.exp(float(likelihood.log_scale)), vae.objective.beta)
    coarsest, finest = at_one / widths[0] ** 2, at_one / widths[-1] ** 2
    config = replace(_factorized(encoder.config, len(widths)), lambda_min=coarsest, lambda_max=finest)
    model = VQVAE(config).eval()
    _copy_networks(encoder.analysis, model.analysis, torch.zeros(1))
    _copy_networks(decoder.synthesis, model.synthesis, torch.zeros(1))
    model.analysis_gain.log_gain.copy_(encoder.gain.log_gain - steps.log())
    model.synthesis_gain.log_gain.copy_(decoder.gain.log_gain + steps.log())
    (block,) = model.prior.blocks()
    for parameter in block.parameters():
        parameter.zero_()
    for number, step in enumerate(steps):
        block.head_bias[number] = logistic_tables(model.quantizer.codes(means / step[:, None, None])).flatten()
    return model


@torch.enable_grad()
def logistic_tables(codes: Tensor, rounds: int = 150) -> Tensor:
    """Mean and log2 scale (2, C) of the discretised logistics that give codes (B, C, h, w) the fewest bits."""
    flat = codes.transpose(0, 1).flatten(1)
    start = torch.stack([flat.mean(1), (0.55 * flat.std(1).clamp(min=0.1)).log2()])
    tables = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([tables], 0.05)
    for _ in range(rounds):
        loss = logistic_bits(flat[None, :, None], tables.T[None, :, :, None, None]).mean(3).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tables.detach()


def _factorized(config: ModelConfig, levels: int) -> ModelConfig:
    """The same transform with all channels in one slice and no contexts."""
    alone = replace(config, quality_levels=levels, slices=(config.channels,), prior_hidden=1)
    return replace(alone, coarse_slices=(), centred=False)


def _copy_networks(source: nn.Module, target: nn.Module, position: Tensor) -> None:
    """Copy weights; the target's levels all get the source's gains at a quality position (1,)."""
    state = dict(source.state_dict())
    for name, module in source.named_modules():
        if isinstance(module, LevelGain):
            there = target.get_submodule(name)
            assert isinstance(there, LevelGain)
            state[f"{name}.log_gain"] = module.log_at(position).expand_as(there.log_gain)
    target.load_state_dict(state)
