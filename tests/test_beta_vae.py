"""Beta-VAE: both kinds of KL, the objective's parts, and the label as a condition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from toy_vae import DIMS, toy_data, toy_vae

from vqcodec.beta_vae import BetaVAE, DiagonalGaussian, Objective
from vqcodec.errors import InvalidInputError
from vqcodec.likelihoods import Bernoulli


def test_kl_in_closed_form_is_the_mean_of_the_sampled_one() -> None:
    torch.manual_seed(0)
    one = DiagonalGaussian(torch.tensor([[1.0, -0.5]]), torch.tensor([[0.4, -2.0]]))
    standard = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    by_hand = [0.5 * (math.exp(v) + m * m - 1.0 - v) for m, v in ((1.0, 0.4), (-0.5, -2.0))]
    assert one.divergence(standard)[0].tolist() == pytest.approx(by_hand, rel=1e-5)
    other = DiagonalGaussian(torch.tensor([[0.2, 0.1]]), torch.tensor([[-0.3, 0.5]]))
    many = DiagonalGaussian(*(part.expand(200_000, 2) for part in one))
    drawn = many.sample()
    sampled = one.log_density(drawn) - other.log_density(drawn)
    error = 4.0 * sampled.std(0) / 200_000**0.5
    assert (sampled.mean(0) - one.divergence(other)[0]).abs().le(error).all()


def test_sampled_objective_agrees_with_the_analytic_one() -> None:
    torch.manual_seed(0)
    x = toy_data(50_000)
    totals = [toy_vae(1.5, objective=Objective(2.0, analytic=analytic))(x, 0).total for analytic in (True, False)]
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=0.01)
    assert totals[0].item() != totals[1].item()


def test_beta_grows_in_the_warmup_and_weighs_the_kl() -> None:
    x = toy_data(100)
    vae = toy_vae(objective=Objective(beta=4.0, warmup_steps=10))
    assert [vae.objective.beta_at(step) for step in (0, 4, 9, 1000)] == pytest.approx([0.4, 2.0, 4.0, 4.0])
    found = []
    for step in (0, 20):
        torch.manual_seed(0)
        found.append(vae(x, step))
    assert found[0].kl.tolist() == found[1].kl.tolist()
    assert (found[1].total - found[0].total).item() == pytest.approx(3.6 * found[0].kl.mean().item(), rel=1e-4)


def test_free_nats_are_not_charged() -> None:
    x = toy_data(100)
    generous = toy_vae(objective=Objective(beta=2.0, free_nats=50.0))
    losses = generous(x, 0)
    assert losses.total.item() == pytest.approx(2.0 * DIMS * 50.0 - losses.log_likelihood.mean().item(), rel=1e-5)
    strict = toy_vae(objective=Objective(beta=2.0, free_nats=0.01))(x, 0)
    assert strict.total.item() == pytest.approx(
        2.0 * strict.kl.mean().item() - strict.log_likelihood.mean().item(), rel=1e-5
    )


def test_latents_on_a_grid_are_charged_for_every_position() -> None:
    torch.manual_seed(0)
    vae = BetaVAE(nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(4, 3, 4, 4), Bernoulli(), latents=4)
    losses = vae(torch.rand(5, 3, 16, 12).round(), 0)
    assert losses.kl.shape == losses.log_likelihood.shape == (5,)
    assert losses.total.item() == pytest.approx((losses.kl - losses.log_likelihood).mean().item(), rel=1e-5)
    assert vae.sample(2, grid=(4, 3)).shape == (2, 3, 16, 12)


def conditional(labels: int = 3) -> BetaVAE:
    """A CVAE of 6 binary pixels."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6 + labels, 16), nn.Tanh(), nn.Linear(16, 4))
    decoder = nn.Sequential(nn.Linear(2 + labels, 16), nn.Tanh(), nn.Linear(16, 6))
    return BetaVAE(encoder, decoder, Bernoulli(), latents=2, labels=labels)


def test_cvae_draws_what_its_label_says() -> None:
    vae = conditional()
    label = torch.arange(3).repeat(40)
    patterns = torch.eye(3).repeat_interleave(2, 1)  # two pixels for each label
    optimizer = torch.optim.Adam(vae.parameters(), 0.02)
    for step in range(150):
        losses = vae(patterns[label], step, label)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())
    drawn = vae.sample(120, label)
    assert (drawn.round() == patterns[label]).float().mean() > 0.97


def test_prior_of_a_label_is_its_own() -> None:
    vae = conditional()
    with torch.no_grad():
        vae.prior_mean[1] = 5.0
    prior = vae.prior(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert prior.mean.tolist() == [[0.0, 0.0], [5.0, 5.0]]
    with pytest.raises(InvalidInputError, match="label"):
        vae.sample(2)
