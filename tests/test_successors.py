"""Models that begin as another one: here with learned codebooks in place of the grid."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_models import SMALL

import vqcodec
from vqcodec import weights
from vqcodec.config import PRESETS
from vqcodec.models import VQVAE, start_from_pca
from vqcodec.successors import go_on_as

BOOKS = dataclasses.replace(
    SMALL,
    quantizer="codebook",
    quality_levels=1,
    lambda_min=0.004,
    lambda_max=0.004,
    slices=(2, 4),
    codebook_size=64,
    codebook_width=4,
    codebook_rate=0.05,
    embedding=6,
)


@pytest.fixture
def crops(photo: np.ndarray) -> torch.Tensor:
    """(B, 3, 64, 64) in [0, 1]."""
    rows = [photo[y : y + 64, x : x + 64] for y in range(0, 256, 64) for x in range(0, 256, 64)]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255.0


def test_codebooks_begin_near_the_picture_of_the_grid(crops: torch.Tensor) -> None:
    torch.manual_seed(0)
    grid = VQVAE(SMALL)
    patches = torch.nn.functional.pixel_unshuffle(crops - 0.5, 16).movedim(1, -1).flatten(0, 2)
    start_from_pca(grid, patches)
    books = go_on_as(grid, BOOKS, crops).eval()
    level = torch.full((len(crops),), SMALL.level_at(0.004))
    assert SMALL.lambda_at(float(level[0])) == pytest.approx(0.004)
    with torch.no_grad():
        shown = grid.eval().synthesize(grid.analyze(crops, level), level)
        codes = books.analyze(crops, torch.zeros(len(crops)))
        again = books.synthesize(codes, torch.zeros(len(crops)))
        bits = books.code_bits(codes, torch.zeros(len(crops)))[0].mean()
    mean = crops.mean((2, 3), keepdim=True)
    assert (again - shown).square().mean() < 0.1 * (crops - mean).square().mean()
    counts = torch.nn.functional.one_hot(codes[0], BOOKS.codebook_size).sum((0, 2, 3))
    share = counts / counts.sum(1, keepdim=True)
    entropy = -(share * share.clamp(min=1e-9).log2()).sum(1).mean()
    assert float(bits) == pytest.approx(float(entropy), rel=0.1)  # the prior begins with the shares of the codes


def test_the_analysis_stays_as_it_was(crops: torch.Tensor) -> None:
    books = VQVAE(BOOKS).train()
    books(crops, torch.zeros(len(crops)), 0.0).total.backward()
    assert all(parameter.grad is None for parameter in books.analysis.parameters())
    assert all(parameter.grad is not None for parameter in books.synthesis.parameters())


def test_other_shapes_are_refused(crops: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="more than the quantiser"):
        go_on_as(VQVAE(SMALL), dataclasses.replace(BOOKS, analysis_width=8), crops)


def test_the_preset_follows_the_built_in_model() -> None:
    model = weights.load_networks(weights.resolve("photo"))
    books = go_on_as(model, PRESETS["vq"], torch.rand(1, 3, 64, 64))
    assert books.quantizer.codebook.shape == (64, 128, 4)
    assert vqcodec.load("photo").info.quality_levels == model.config.quality_levels


def test_a_larger_model_begins_as_the_smaller_one(crops: torch.Tensor) -> None:
    torch.manual_seed(0)
    small = VQVAE(SMALL)
    patches = torch.nn.functional.pixel_unshuffle(crops - 0.5, 16).movedim(1, -1).flatten(0, 2)
    start_from_pca(small, patches)
    for parameter in small.prior.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    more = dataclasses.replace(
        SMALL,
        channels=SMALL.channels + 12,
        slices=(*SMALL.slices[:-1], SMALL.slices[-1] + 12),
        synthesis_blocks=SMALL.synthesis_blocks + 1,
    )
    large = go_on_as(small, more, crops).eval()
    small.eval()
    level = torch.full((len(crops),), SMALL.quality_levels - 1.0)
    with torch.no_grad():
        before, after = small.analyze(crops, level)[0], large.analyze(crops, level)[0]
        assert torch.equal(after[:, : SMALL.channels], before)
        silent = after.clone()
        silent[:, SMALL.channels :] = 0
        shown = small.synthesize([before], level)
        assert torch.allclose(large.synthesize([silent], level), shown, atol=1e-5)
        known = large.code_bits([silent], level)[0][:, : SMALL.channels]
        assert torch.allclose(known, small.code_bits([before], level)[0], rtol=1e-3, atol=1e-4)
        added = large.code_bits([after], level)[0][:, SMALL.channels :].sum()
        assert (large.synthesize([after], level) - crops).square().mean() < 0.9 * (shown - crops).square().mean()
    counts = after[:, SMALL.channels :].transpose(0, 1).flatten(1)
    entropy = 0.0
    for codes in counts:
        share = torch.unique(codes, return_counts=True)[1] / codes.numel()
        entropy -= float((share * share.log2()).sum()) * codes.numel()
    assert float(added) < 1.3 * entropy + 0.05 * counts.numel()  # the prior's scales are those of the new codes


def test_a_model_does_not_shrink(crops: torch.Tensor) -> None:
    fewer = dataclasses.replace(SMALL, synthesis_blocks=SMALL.synthesis_blocks + 1, prior_hidden=8)
    with pytest.raises(ValueError, match="more than the last slice"):
        go_on_as(VQVAE(SMALL), fewer, crops)
