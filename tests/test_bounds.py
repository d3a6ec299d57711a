"""Bounds: exact where the likelihood is known, tighter with more samples, and what codes and pixels take."""

from __future__ import annotations

import math

import pytest
import torch
from test_models import SMALL
from toy_vae import log_likelihood, toy_data, toy_vae

from vqcodec.bounds import active_units, bits_per_dim, dequantized, elbo, iwae, vq_bound
from vqcodec.likelihoods import DiscretizedLogistic
from vqcodec.models import VQVAE


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_an_exact_posterior_makes_the_bounds_exact() -> None:
    x = toy_data(20_000)
    exact, vae = log_likelihood(x), toy_vae()
    for samples in (1, 7):  # every weight is p(x) itself
        assert torch.allclose(iwae(vae, x, samples), exact, atol=2e-4)
    error = elbo(vae, x) - exact  # its expectation is exact, log p(x | z) of one draw is not
    assert error.mean().abs() < 4.0 * error.std() / len(x) ** 0.5


def test_iwae_rises_with_its_samples_and_stays_below_the_likelihood() -> None:
    x = toy_data(4000)
    vae, exact = toy_vae(widening=1.8, shift=0.1), log_likelihood(x).mean()
    with torch.no_grad():
        gaps = [(exact - iwae(vae, x, samples).mean()).item() for samples in (1, 4, 16, 64, 1000)]
        one = (exact - elbo(vae, x).mean()).item()
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == pytest.approx(one, abs=0.1)
    widening = 3 * (0.5 * (1.8**2 - 1.0) - math.log(1.8))  # KL(q || exact posterior) of three dimensions
    shift = 3 * 0.5 * 0.1**2 * (4.25 / 0.25)
    assert one == pytest.approx(widening + shift, abs=0.1)
    assert -0.01 < gaps[-1] < 0.02


def test_chunks_and_gradients_of_iwae() -> None:
    x, vae = toy_data(500), toy_vae(widening=1.5)
    whole, parts = iwae(vae, x, 60, chunk=60).mean(), iwae(vae, x, 60, chunk=7).mean()
    assert whole.item() == pytest.approx(parts.item(), abs=0.05)
    iwae(vae, x, 3).mean().backward()
    gradient = vae.encoder.get_parameter("log_variance").grad
    assert gradient is not None and (gradient < 0).all()  # too wide a posterior is drawn in


def test_bits_per_dim_of_uniform_pixels_are_eight() -> None:
    dims = 12
    assert bits_per_dim(torch.tensor(-dims * math.log(256.0)), dims).item() == pytest.approx(8.0)
    assert bits_per_dim(torch.tensor(0.0), dims, 1 / 256).item() == pytest.approx(8.0)  # density 1 on [0, 1)
    values = torch.arange(256, dtype=torch.uint8)
    spread = dequantized(values)
    assert torch.equal((spread * 256).floor().to(torch.uint8), values)
    assert (spread * 256).frac().std() > 0.2


def test_collapsed_latents_are_not_active() -> None:
    means = torch.randn(500, 4) * torch.tensor([1.0, 0.0, 0.05, 0.3]) + 7.0
    assert active_units(means).tolist() == [True, False, False, True]
    on_a_grid = torch.stack([torch.randn(50, 2, 2), torch.ones(50, 2, 2)], 1)
    assert active_units(on_a_grid).tolist() == [True, False]


def test_vq_bound_is_codes_and_pixels_at_the_best_scale() -> None:
    model = VQVAE(SMALL).eval()
    level, images = torch.tensor([2.0, 5.0]), (torch.rand(2, 3, 64, 64) * 255).round() / 255
    images[1] = images[1] * 0.1 + 0.4
    images = (images * 255).round() / 255
    found = vq_bound(model, images, level)
    with torch.no_grad():
        codes = model.analyze(images, level)
        bits = model.code_bits(codes, level)[0].flatten(1).sum(1)
        shown = model.synthesize(codes, level)
    assert torch.allclose(found.codes, bits)
    for picture in range(2):
        one = slice(picture, picture + 1)
        costs = [
            -DiscretizedLogistic(2.0 ** (k / 40) / 500)(images[one], shown[one]).item() / math.log(2.0)
            for k in range(320)
        ]
        assert found.pixels[picture].item() - 5.0 == pytest.approx(min(costs), rel=0.002)
    assert found.pixels[1] < found.pixels[0] < 3 * 64 * 64 * 9
