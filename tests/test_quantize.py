"""Quantisers: nearest codes, straight-through gradients, EMA codebooks that start on the data and stay alive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.quantize import CODE_LIMIT, CodebookQuantizer, GridQuantizer


@given(st.floats(-1e6, 1e6, width=32))
def test_grid_codes_are_the_nearest_integers(value: float) -> None:
    code = GridQuantizer().codes(torch.full((1, 1, 1, 1), value)).item()
    assert code == np.clip(np.rint(np.float32(value)), -CODE_LIMIT, CODE_LIMIT)


def test_grid_gradient_is_straight_through() -> None:
    latents = torch.randn(2, 3, 4, 4, requires_grad=True)
    GridQuantizer()(latents).latents.square().sum().backward()
    assert torch.equal(latents.grad, 2.0 * latents.round())


@given(st.integers(1, 3), st.integers(2, 9), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=25)
def test_codebook_picks_the_nearest_vector(groups: int, size: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    quantizer = CodebookQuantizer(groups, size, width)
    latents = torch.randn(2, groups * width, 3, 4)
    codes = quantizer.codes(latents)
    assert codes.shape == (2, groups, 3, 4)
    split = latents.view(2, groups, 1, width, 3, 4)
    table = quantizer.codebook[None, :, :, :, None, None]
    distance = (split - table).square().sum(3)
    chosen = distance.gather(2, codes[:, :, None]).squeeze(2)
    assert torch.allclose(chosen, distance.amin(2), atol=1e-5)
    looked = quantizer.lookup(codes).view(2, groups, width, 3, 4)
    assert torch.allclose((looked - latents.view(2, groups, width, 3, 4)).square().sum(2), distance.amin(2), atol=1e-4)


def test_codebook_gradient_is_straight_through_plus_commitment() -> None:
    quantizer = CodebookQuantizer(1, 8, 2).eval()
    latents = torch.randn(1, 2, 4, 4, requires_grad=True)
    result = quantizer(latents)
    (result.latents.sum() + result.loss).backward()
    chosen = quantizer.lookup(result.codes)
    expected = 1.0 + 0.25 * 2.0 * (latents - chosen) / latents.numel()
    assert torch.allclose(latents.grad, expected)


def test_codebook_converges_on_clusters_and_uses_all_codes() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, -4.0]])
    quantizer = CodebookQuantizer(1, 4, 2).train()
    for _ in range(300):
        points = centres[torch.randint(4, (256,))] + 0.1 * torch.randn(256, 2)
        result = quantizer(points.T.reshape(1, 2, 16, 16))
    distance = torch.cdist(quantizer.codebook[0], centres).amin(0)
    assert distance.max() < 0.2
    assert result.log["codebook/used"] == 1.0
    assert result.log["codebook/perplexity"] == pytest.approx(4.0, abs=0.2)


def test_dead_codes_are_restarted_on_data() -> None:
    torch.manual_seed(0)
    quantizer = CodebookQuantizer(1, 16, 2).train()
    quantizer.started.fill_(True)
    quantizer.codebook.copy_(torch.full_like(quantizer.codebook, 1e3))
    quantizer.codebook[0, 0] = 0.0
    for _ in range(600):
        result = quantizer(torch.randn(1, 2, 16, 16))
    assert result.log["codebook/used"] > 0.9
    assert quantizer.codebook.abs().max() < 10.0


def test_a_rate_makes_rare_codes_pay() -> None:
    torch.manual_seed(0)
    quantizer = CodebookQuantizer(1, 2, 1, rate=0.25).eval()
    quantizer.codebook.copy_(torch.tensor([[[0.0], [1.0]]]))
    quantizer.hits.copy_(torch.tensor([[7.0, 1.0]]))  # 3 bits against 0.19
    price = quantizer.prices()[0]
    assert price[1] - price[0] == pytest.approx(0.25 * np.log2(7.0), rel=1e-5)
    edge = 0.5 + 0.5 * float(price[1] - price[0])  # where both cost the same
    latents = torch.tensor([edge - 1e-3, edge + 1e-3]).view(2, 1, 1, 1)
    assert quantizer.codes(latents).flatten().tolist() == [0, 1]


def test_a_rate_trades_distortion_for_entropy() -> None:
    torch.manual_seed(0)
    latents = torch.randn(4, 2, 16, 16)

    def cost(rate: float) -> tuple[float, float]:
        quantizer = CodebookQuantizer(1, 16, 2, rate).train()
        share = quantizer.start_on(latents)
        codes = quantizer.eval().codes(latents)
        error = (quantizer.lookup(codes) - latents).square().sum(1).mean()
        return float(error), float(-(share * share.clamp(min=1e-9).log2()).sum())

    (near, dear), (far, cheap) = cost(0.0), cost(0.2)
    assert near < far and cheap < dear
    assert far + 0.2 * cheap < near + 0.2 * dear
