"""Likelihoods are probabilities: they add up to 1, and agree with their textbook formulas."""

from __future__ import annotations

import math

import pytest
import torch

from vqcodec.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian


@pytest.mark.parametrize("scale", [0.001, 0.02, 0.5])
@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.4321, 1.0])
def test_masses_of_all_256_values_add_up_to_one(mean: float, scale: float) -> None:
    values = torch.arange(256, dtype=torch.float64)[:, None] / 255.0
    likelihood = DiscretizedLogistic(scale).double()
    masses = likelihood(values, torch.full_like(values, mean)).exp()
    assert masses.sum().item() == pytest.approx(1.0, abs=1e-9)


def test_discretized_logistic_is_a_difference_of_two_cdfs() -> None:
    values, means = torch.tensor([[10.0, 200.0]]) / 255.0, torch.tensor([[0.05, 0.7]])

    def cdf(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x / 0.03))

    pairs = zip(values[0].tolist(), means[0].tolist(), strict=True)
    expected = sum(math.log(cdf(v + 0.5 / 255 - m) - cdf(v - 0.5 / 255 - m)) for v, m in pairs)
    assert DiscretizedLogistic(0.03)(values, means).item() == pytest.approx(expected, rel=1e-4)


def test_far_values_keep_a_finite_cost_and_a_gradient() -> None:
    means = torch.zeros(1, 1, requires_grad=True)
    cost = DiscretizedLogistic(0.002)(torch.full((1, 1), 200 / 255), means)
    cost.sum().backward()
    assert torch.isfinite(cost).all() and means.grad is not None and means.grad.item() > 0


def test_gaussian_is_a_density_and_bernoulli_a_probability() -> None:
    x = torch.linspace(-3.0, 3.0, 60_001)[:, None]
    density = Gaussian(0.1)(x, torch.full_like(x, 0.3)).exp()
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1.0, abs=1e-4)
    logits = torch.tensor([[0.4, -2.0]])
    both = [Bernoulli()(torch.tensor([[a, b]]), logits).exp() for a in (0.0, 1.0) for b in (0.0, 1.0)]
    assert sum(both).item() == pytest.approx(1.0, abs=1e-6)
    assert both[3].item() == pytest.approx(torch.sigmoid(logits).prod().item(), abs=1e-6)


def test_only_a_learned_scale_learns() -> None:
    for likelihood in (Gaussian, DiscretizedLogistic):
        assert not likelihood(0.1).log_scale.requires_grad
        assert likelihood(0.1, learned=True).log_scale.requires_grad
