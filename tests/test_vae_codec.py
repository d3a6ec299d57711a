"""A beta-VAE of pictures becomes an ordinary model: its codes are its posterior means, its files decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import SMALL, SMALL_BOOK
from torch import Tensor

import vqcodec
from vqcodec import _core
from vqcodec.beta_vae import BetaVAE, Objective
from vqcodec.config import ModelConfig
from vqcodec.errors import InvalidInputError
from vqcodec.export import export_model
from vqcodec.models import VQVAE, start_from_pca
from vqcodec.photos import CropSampler
from vqcodec.prior import logistic_bits
from vqcodec.vae_codec import STEP, as_codec, logistic_tables, picture_vae, trade_off

CONFIG = replace(SMALL, channels=48, slices=(8, 16, 24))
NOISE, BETA, LEVEL = 0.02, 8.0, 4.0


@pytest.fixture
def crops(photo: np.ndarray) -> Tensor:
    """(16, 3, 64, 64) in [0, 1]."""
    sampler = CropSampler([photo], 64, 32, seed=0)
    return torch.from_numpy(sampler.batch(0, 0, 16)).permute(0, 3, 1, 2) / 255.0


@pytest.fixture
def vae(photo: np.ndarray, crops: Tensor) -> BetaVAE:
    """One that begins as probabilistic PCA."""
    patches = torch.from_numpy(CropSampler([photo], 64, 32, seed=0).patches(4000, 16)).permute(0, 3, 1, 2) / 255.0
    torch.manual_seed(0)
    model = VQVAE(CONFIG)
    start_from_pca(model, torch.nn.functional.pixel_unshuffle(patches - 0.5, 16).flatten(1))
    return picture_vae(model, LEVEL, crops, noise=NOISE, objective=Objective(BETA)).eval()


def test_it_begins_with_latents_of_the_priors_size(vae: BetaVAE, crops: Tensor) -> None:
    with torch.no_grad():
        posterior = vae.posterior(crops)
        energy = (posterior.mean.square() + posterior.log_variance.exp()).mean((0, 2, 3))
        assert torch.allclose(energy, torch.ones(48), atol=0.01)
        shown = vae.decode(posterior.mean)
    assert -10.0 * (shown - crops).square().mean().log10() > 24.0  # dB


def test_loss_reaches_every_network(vae: BetaVAE, crops: Tensor) -> None:
    for parameter in vae.parameters():  # zero-initialised heads would hide what lies before them
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    vae(crops, 0).total.backward()
    without = [name for name, p in vae.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not without


def test_codes_are_posterior_means_in_steps(vae: BetaVAE, crops: Tensor, photo: np.ndarray, tmp_path: Path) -> None:
    model = as_codec(vae, crops, (2.0, 1.0))
    path = tmp_path / "beta.safetensors"
    path.write_bytes(export_model(model, name="beta", description=""))
    codec = vqcodec.load(path)
    sizes = []
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] / 255.0
    for quality, width in ((0.0, 2.0), (100.0, 1.0)):
        data = codec.encode(photo, quality, effort=0)
        stored = codec.codes(data)[0]
        assert np.array_equal(stored, _core.analyze(codec.info.runtime, photo, codec.position(quality))[0])
        with torch.no_grad():
            step = width * STEP * vae.posterior(crops).log_variance.exp().mean((0, 2, 3)).sqrt()
            wanted = (vae.posterior(image).mean / step[:, None, None]).round()[0].numpy()
            level = torch.tensor([0.0 if quality == 0 else 1.0])
            bits = model.code_bits([torch.from_numpy(stored).long()[None]], level)[0].sum().item()
            shown = (model.synthesize([torch.from_numpy(stored).long()[None]], level)[0] * 255).permute(1, 2, 0)
        assert np.mean(stored != wanted) < 0.005  # int16 weights: ties only
        assert np.abs(codec.decode(data).astype(float) - shown.numpy()).max() <= 2.0
        fixed, adapted = (
            _core.cross_entropy(codec.info.runtime, codec.position(quality), [stored], adaptive=adaptive)
            for adaptive in (False, True)
        )
        assert fixed == pytest.approx(bits, rel=0.01)
        assert adapted < fixed
        assert 8 * len(data) == pytest.approx(adapted, rel=0.001, abs=8 * 64)
        sizes.append(len(data))
    assert sizes[0] < sizes[1]


def test_trade_off_is_that_of_the_objective(vae: BetaVAE, crops: Tensor) -> None:
    config = as_codec(vae, crops, (2.0, 1.0)).config
    assert (config.lambda_max, config.lambda_min) == pytest.approx((trade_off(NOISE, BETA), trade_off(NOISE, BETA) / 4))
    losses = vae(crops, 0)
    bits = losses.kl.sum() / np.log(2.0)
    errors = -losses.log_likelihood.sum() - crops.numel() * np.log(NOISE * np.sqrt(2 * np.pi))  # sum / (2 noise^2)
    cost = bits + config.lambda_max * 65025.0 * errors * (2 * NOISE**2) / 3  # sum over pixels, mean over colours
    nats = BETA * losses.kl.sum() + errors
    assert cost.item() * BETA * np.log(2.0) == pytest.approx(nats.item(), rel=1e-4)


def test_tables_cost_little_more_than_the_entropy() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([0.05, 0.7, 6.0])
    codes = torch.from_numpy(rng.logistic(0.3, scales, (1, 40, 40, 3)).round()).permute(0, 3, 1, 2).float()
    tables = logistic_tables(codes)
    bits = logistic_bits(codes, tables.T[None, :, :, None, None]).mean((0, 2, 3))
    for channel in range(3):
        share = np.unique(codes[:, channel].numpy(), return_counts=True)[1] / 1600
        entropy = -(share * np.log2(share)).sum()
        assert bits[channel].item() < entropy + 0.06


@pytest.mark.parametrize("config", [SMALL_BOOK, replace(SMALL, coarse_slices=(3, 5))], ids=["codebook", "hierarchy"])
def test_other_models_are_no_start(config: ModelConfig, crops: Tensor) -> None:
    with pytest.raises(InvalidInputError, match="integer grid"):
        picture_vae(VQVAE(config), 0.0, crops, noise=NOISE, objective=Objective())
