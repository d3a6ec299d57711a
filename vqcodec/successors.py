"""Models that begin as another one: for other distortions, larger, with a coarse level, labels or codebooks (torch)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vqcodec.config import ModelConfig
from vqcodec.growth import grown
from vqcodec.models import VQVAE, start_coarse
from vqcodec.nets import LevelGain, hat_weights
from vqcodec.quantize import CodebookQuantizer

EMBEDDED = 6.0  # how far embeddings reach at first: the runtime holds up to 8


def go_on_as(model: VQVAE, config: ModelConfig, images: Tensor) -> VQVAE:
    """A model that begins as another one: for other distortions or codes, larger, with a coarse level or labels.

    Codebooks start as k-means of the latents of `images` (B, 3, H, W) in [0, 1], on the device of these, and more
    channels as the principal components of what the pictures lack. ValueError where the configs differ in more.
    """
    if config.labels and not model.config.labels:
        return _with_labels(model, config)
    if config.quantizer == "codebook" and model.config.quantizer == "grid":
        return _with_codebooks(model, config, images)
    if config.channels > model.config.channels or config.synthesis_blocks > model.config.synthesis_blocks:
        return grown(model, config, images)
    same = replace(config, distortion=model.config.distortion, coarse_slices=model.config.coarse_slices)
    same = replace(same, centred=model.config.centred)
    if model.config != same or (model.coarse is not None and not config.coarse_slices):
        raise ValueError("the models differ in more than the distortion, the centre of codes and the coarse level")
    successor = VQVAE(config)
    successor.load_state_dict(model.state_dict(), strict=False)
    if successor.coarse is not None and model.coarse is None and config.transform == "residual":
        start_coarse(successor, successor.coarse)
    return successor


_LEVEL_AXES = {"log_gain": 0, "context_bias": 1, "head_bias": 0}
"""Tensors that have an axis of quality levels, and which one."""


@torch.no_grad()
def _with_labels(model: VQVAE, config: ModelConfig) -> VQVAE:
    """A model at one of its rates, which is the same for all labels at first."""
    old = model.config
    same = {name: getattr(old, name) for name in ("labels", "quality_levels", "lambda_min", "lambda_max")}
    if old != replace(config, **same):
        raise ValueError("the models differ in more than the labels and the range of rates")
    level = hat_weights(torch.tensor([old.level_at(config.lambda_min)]), old.quality_levels)[0]
    state = model.state_dict()
    for name, table in state.items():
        axis = _LEVEL_AXES.get(name.rsplit(".", 1)[-1])
        if axis is not None:
            at_level = torch.tensordot(table, level, dims=([axis], [0])).unsqueeze(axis)
            state[name] = at_level.repeat_interleave(config.labels, axis)
    successor = VQVAE(config)
    successor.load_state_dict(state)
    return successor


@torch.no_grad()
def _with_codebooks(model: VQVAE, config: ModelConfig, images: Tensor) -> VQVAE:
    """The transform of a grid model at one of its rates, with codebooks of its latents in place of the grid.

    Group g of G holds the channels g, g + G, ...: strong ones apart, each with weaker ones beside it.
    """
    old = model.config
    rates, prior = ("quality_levels", "lambda_min", "lambda_max"), ("slices", "embedding", "centred")
    codes = ("quantizer", "codebook_size", "codebook_width", "codebook_rate")
    grid = replace(config, **{name: getattr(old, name) for name in (*rates, *prior, *codes)})
    if old != grid or config.quality_levels != 1 or old.coarse_slices:
        raise ValueError("the models differ in more than the quantiser and the range of rates")
    level = torch.tensor([old.level_at(config.lambda_min)])
    order = torch.arange(config.channels).view(config.codebook_width, -1).T.flatten()
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("prior.")}
    gains = {name: module for name, module in model.named_modules() if isinstance(module, LevelGain)}
    state |= {f"{name}.log_gain": gain.log_at(level) for name, gain in gains.items()}
    for name, axis in _LATENT_AXES.items():
        state[name] = state[name].index_select(axis, order)
    successor = VQVAE(config)
    successor.load_state_dict(state, strict=False)
    _start_codebooks(successor.to(images.device), images)
    return successor


_LATENT_AXES = {
    "analysis.skip.weight": 0,
    "analysis.out.weight": 0,
    "analysis.out.bias": 0,
    "analysis_gain.log_gain": 1,
    "synthesis_gain.log_gain": 1,
    "synthesis.spread": 0,
    "synthesis.stem.weight": 1,
    "synthesis.skip.weight": 1,
}
"""Tensors that have an axis of latent channels, and which one."""


def _start_codebooks(model: VQVAE, images: Tensor) -> None:
    """Begin codebooks, embeddings and the prior's biases with the latents of images."""
    quantizer = model.quantizer
    assert isinstance(quantizer, CodebookQuantizer)
    level = images.new_zeros(len(images))
    features = model.analysis.trunk(images - 0.5, level)
    latents = model.analysis.head(images - 0.5, features) * model.analysis_gain(level)
    shares = quantizer.start_on(latents)
    width = min(quantizer.codebook.shape[2], model.config.embedding)
    reach = quantizer.codebook.abs().amax((1, 2), keepdim=True).clamp(min=EMBEDDED)
    model.embedding.mul_(0.1)
    model.embedding[..., :width] = quantizer.codebook[..., :width] * (EMBEDDED / reach)
    parts = torch.split(shares.clamp(min=1e-4).log2(), list(model.prior.sizes))
    for block, part in zip(model.prior.blocks(), parts, strict=True):
        block.head_bias.copy_(part.flatten()[None])
