"""Models that begin as a smaller one and go on from there (torch; Net2Net, Chen et al. 2016)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from vqcodec.config import ModelConfig
from vqcodec.models import VQVAE
from vqcodec.nets import UNIT_STEP, ResidualAnalysis, ResidualSynthesis

RIDGE = 1e-4  # of a regression, relative to the mean power of what it goes by


@torch.no_grad()
def grown(model: VQVAE, config: ModelConfig, images: Tensor) -> VQVAE:
    """A grid model of one level with more channels in its last slice and more blocks in its synthesis.

    It shows what the smaller one shows, but for what the new channels add: the principal components of what that one
    lacks of `images` (B, 3, H, W) in [0, 1]. ValueError where the configs differ in more.
    """
    old = model.config
    size = {name: getattr(old, name) for name in ("channels", "synthesis_blocks")}
    smaller = replace(config, slices=(*config.slices[:-1], old.slices[-1]), centred=old.centred, **size)
    grows = config.channels >= old.channels and config.synthesis_blocks >= old.synthesis_blocks
    if old != smaller or not grows or (old.quantizer, old.transform, old.coarse_slices) != ("grid", "residual", ()):
        raise ValueError("the models differ in more than the last slice's channels and the synthesis's blocks")
    successor = VQVAE(config)
    known = model.state_dict()
    state = {name: _padded(name, tensor, known.get(name), old) for name, tensor in successor.state_dict().items()}
    successor.load_state_dict(state)
    if config.channels > old.channels:
        _start_transform(successor.to(images.device), model.to(images.device), images)
        _start_scales(successor, images, old.channels)
    return successor


def _padded(name: str, fresh: Tensor, known: Tensor | None, old: ModelConfig) -> Tensor:
    """What a larger model's tensor begins as: what it was in the smaller one, and what adds nothing to it."""
    if known is None:  # a block that is new
        return torch.zeros_like(fresh) if ".mix." in name else fresh
    if known.shape == fresh.shape:
        return known
    if name.startswith(f"prior.slices.{len(old.slices) - 1}.head"):  # all means of a slice, then all scales
        axis = 1 if name.endswith("bias") else 0
        halves = zip(known.chunk(2, axis), fresh.chunk(2, axis), strict=True)
        return torch.cat([_inside(torch.zeros_like(part), half) for half, part in halves], axis)
    adds = name.endswith(("spatial.weight", "spatial.bias", "stem.weight"))  # its new outputs go nowhere yet
    grown = fresh.clone() if adds else torch.zeros_like(fresh)
    if grown.dim() > 1:
        grown[: known.shape[0]] = 0.0
    return _inside(grown, known)


def _inside(grown: Tensor, known: Tensor) -> Tensor:
    """`grown` with `known` in its first corner."""
    grown[tuple(slice(size) for size in known.shape)] = known
    return grown


def _start_transform(larger: VQVAE, smaller: VQVAE, images: Tensor) -> None:
    """Begin the new channels as the principal components of what the smaller model's best pictures lack.

    They are orthogonal to the linear transform there is. What the synthesis foretells of them anyway is no part of
    them, as far as a linear map of pixels and features tells.
    """
    first, slice_start = smaller.config.channels, smaller.config.channels - smaller.config.slices[-1]
    analysis, synthesis = larger.analysis, larger.synthesis
    assert isinstance(analysis, ResidualAnalysis) and isinstance(synthesis, ResidualSynthesis)
    top = images.new_full((len(images),), larger.config.quality_levels - 1.0)
    missing = _patches(images - smaller.synthesize(smaller.analyze(images, top), top))
    basis = torch.linalg.qr(synthesis.skip.weight[:, :first, 0, 0].double())[0]
    unseen = missing - missing @ basis @ basis.T
    vectors = torch.linalg.eigh(unseen.T @ unseen)[1].flip(1)[:, : larger.config.channels - first]
    features = analysis.trunk(images - 0.5, top).movedim(1, -1).flatten(0, 2).double()
    known = torch.cat([_patches(images - 0.5), features, features.new_ones(len(features), 1)], 1)
    moments = known.T @ known
    moments.diagonal().add_(RIDGE * float(moments.diagonal().mean()))
    maps = torch.linalg.solve(moments, known.T @ missing @ vectors).T.float()
    analysis.skip.weight[first:] = maps[:, :768, None, None]
    analysis.out.weight[first:] = maps[:, 768:-1, None, None] / UNIT_STEP
    analysis.out.get_parameter("bias")[first:] = maps[:, -1] / UNIT_STEP
    synthesis.skip.weight[:, first:] = vectors.float()[:, :, None, None]
    synthesis.spread[first:] = (1.0 + (unseen @ vectors).square().mean(0) / UNIT_STEP**2).sqrt()
    gains = larger.analysis_gain.log_gain
    gains[:, first:] = gains[:, slice_start:first].mean(1, keepdim=True)
    larger.synthesis_gain.log_gain[:, first:] = -gains[:, first:]


def _start_scales(larger: VQVAE, images: Tensor, first: int) -> None:
    """Let the prior's scales of the channels from `first` on give the code 0 the share that it has in images."""
    added = larger.config.channels - first
    scales = larger.prior.blocks()[-1].head_bias[:, -added:]
    for position in range(larger.config.quality_levels):
        level = images.new_full((len(images),), float(position))
        zeros = (larger.latents(images, level)[:, first:].abs() < 0.5).float().mean((0, 2, 3))
        scales[position] = (0.25 / zeros.clamp(0.02, 0.9999).atanh()).log2()  # of a logistic: P(0) = tanh(1 / (4 s))


def _patches(images: Tensor) -> Tensor:
    """Patches (N, 768) float64 of pictures (B, 3, H, W), as the linear transforms see them."""
    return F.pixel_unshuffle(images, 16).movedim(1, -1).flatten(0, 2).double()
