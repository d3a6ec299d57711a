"""The float context prior: what it may look at, and how it charges codes."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from vqcodec.config import ModelConfig
from vqcodec.models import VQVAE
from vqcodec.prior import PHASES, ContextPrior, categorical_bits, logistic_bits

GRID = ModelConfig(channels=6, slices=(1, 2, 3), prior_hidden=16, quality_levels=3)
BOOK = dataclasses.replace(GRID, quantizer="codebook", slices=(1, 2), codebook_size=5, codebook_width=2, embedding=4)


def coding_order(config: ModelConfig, height: int, width: int) -> list[tuple[int, int, int]]:
    """(variable, y, x) in the order of the bitstream, written independently of the network."""
    order = []
    cells = list(itertools.product(range(height), range(width)))
    start = 0
    for number, size in enumerate(config.slices):
        if number == 0:
            steps = [[(y, x) for y, x in cells if (y % 2, x % 2) == phase] for phase in PHASES]
        else:
            steps = [[(y, x) for y, x in cells if (y + x) % 2 == half] for half in (0, 1)]
        for step in steps:
            order += [(start + v, y, x) for y, x in step for v in range(size)]
        start += size
    return order


@pytest.mark.parametrize("config", [GRID, BOOK], ids=["grid", "codebook"])
@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (1, 4)])
def test_parameters_depend_only_on_earlier_codes(config: ModelConfig, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    prior = ContextPrior(config, config.slices, condition=7).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    variables = sum(config.slices)
    order = coding_order(config, *shape)
    level = torch.tensor([1.3])
    features = torch.randn(1, variables, prior.features, *shape)
    condition = torch.randn(1, 7, *(-(-side // 2) for side in shape))
    before = prior(features.flatten(1, 2), level, condition)
    seen = 0
    for rank in range(0, len(order), 7):
        changed = features.clone()
        variable, y, x = order[rank]
        changed[0, variable, :, y, x] += 3.0
        difference = (prior(changed.flatten(1, 2), level, condition) - before).abs().amax(2)[0]
        moved = {(v, y, x) for v, y, x in (difference > 1e-6).nonzero().tolist()}
        assert not moved & set(order[: rank + 1])
        seen += len(moved)
    assert seen > 0
    other = prior(features.flatten(1, 2), level, condition + 1.0)
    assert ((other - before).abs().amax((2, 3, 4)) > 1e-4).all()  # every code hears of the coarse level


def test_logistic_bits_are_a_distribution() -> None:
    values = torch.arange(-400.0, 401.0).view(1, 1, 1, -1)
    for mean, log2_scale in [(0.0, 0.0), (3.3, 2.5), (-0.5, -1.0), (7.25, 4.0)]:
        parameters = torch.tensor([mean, log2_scale]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 1, 801)
        assert torch.exp2(-logistic_bits(values, parameters)).sum().item() == pytest.approx(1.0, abs=1e-4)


def test_categorical_bits_match_cross_entropy() -> None:
    logits = torch.randn(2, 3, 7, 4, 5)
    codes = torch.randint(7, (2, 3, 4, 5))
    expected = torch.nn.functional.cross_entropy((logits * 0.6931471805599453).movedim(2, 1), codes, reduction="none")
    assert torch.allclose(categorical_bits(codes, logits), expected / 0.6931471805599453, atol=1e-5)


def test_fresh_prior_charges_a_finite_rate() -> None:
    model = VQVAE(BOOK)
    codes = torch.randint(5, (1, 3, 6, 6))
    assert torch.isfinite(model.code_bits([codes], torch.tensor([0.0]))[0]).all()
