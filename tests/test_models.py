"""VQ-VAE: shapes, the PCA start, quality levels, and windows that leave no seams."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from vqcodec import metrics
from vqcodec.config import PLAIN, ModelConfig, TrainConfig, from_json, to_json
from vqcodec.distortion import distortion
from vqcodec.errors import InvalidInputError
from vqcodec.models import VQVAE, start_from_pca
from vqcodec.photos import CropSampler
from vqcodec.transform import CORE, Transform

SMALL = ModelConfig(
    channels=24,
    slices=(4, 8, 12),
    prior_hidden=16,
    analysis_width=16,
    analysis_coarse_width=16,
    synthesis_width=16,
    synthesis_blocks=5,
)
SMALL_PLAIN = dataclasses.replace(PLAIN, channels=16, codebook_size=16, codebook_width=4, embedding=4, prior_hidden=16)
SMALL_BOOK = dataclasses.replace(
    SMALL, quantizer="codebook", channels=24, slices=(2, 4), codebook_size=16, codebook_width=4, embedding=4
)
ALL = pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SMALL_PLAIN,
        SMALL_BOOK,
        dataclasses.replace(SMALL, coarse_slices=(3, 5)),
        dataclasses.replace(SMALL_PLAIN, coarse_slices=(1,)),
        dataclasses.replace(SMALL_BOOK, coarse_slices=(2,)),
    ],
    ids=["grid", "plain", "codebook", "grid2", "plain2", "codebook2"],
)


@ALL
def test_loss_reaches_every_parameter(config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = VQVAE(config).train()
    for parameter in model.parameters():  # zero-initialised heads would hide what lies before them
        torch.nn.init.normal_(parameter, std=0.05)
    level = torch.linspace(0, config.quality_levels - 1, 8)
    losses = model(torch.rand(8, 3, 128, 128), level, -0.3)  # 4x4 codes of the coarsest level: taps reach 4
    losses.total.backward()
    assert losses.bpp.shape == losses.mse.shape == (8,)
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without


def test_distortion_is_what_the_benchmark_measures(photo: np.ndarray) -> None:
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
    images, shown = (torch.from_numpy(one.copy()).permute(2, 0, 1)[None] / 255.0 for one in (photo, noisy))
    squared = 255**2 / 10 ** (metrics.psnr(photo, noisy) / 10)
    assert float(distortion(SMALL, shown, images)) == pytest.approx(squared, rel=1e-4)
    structural = dataclasses.replace(SMALL, distortion="ms-ssim")
    assert float(distortion(structural, images, images)) == pytest.approx(0.0, abs=0.01)
    lacking = 1250 * (1 - (metrics.ms_ssim(photo, noisy) or 0))
    assert float(distortion(structural, shown, images)) == pytest.approx(lacking, rel=1e-3)
    with pytest.raises(InvalidInputError, match="more than 160 pixels"):
        distortion(structural, images[..., :160], images[..., :160])


@ALL
def test_codes_and_images_have_the_stated_shapes(config: ModelConfig) -> None:
    model = VQVAE(config).eval()
    level = torch.zeros(1)
    codes = model.analyze(torch.rand(1, 3, 64, 96), level)
    strides = [2 * config.stride, config.stride][-len(codes) :]
    for grid, slices, stride in zip(codes, model.level_slices, strides, strict=True):
        assert grid.dtype == torch.int64
        assert grid.shape == (1, sum(slices), 64 // stride, 96 // stride)
    for levels in range(1, len(codes) + 1):
        images = model.synthesize(codes[:levels], level)
        assert images.shape == (1, 3, 64, 96)
        assert images.min() >= 0.0 and images.max() <= 1.0


def test_pca_start_codes_a_photo_well(photo: np.ndarray) -> None:
    sampler = CropSampler([photo], 128, 32, seed=0)
    patches = torch.from_numpy(sampler.patches(4000, 16)).permute(0, 3, 1, 2).float() / 255.0 - 0.5
    model = VQVAE(dataclasses.replace(SMALL, channels=192, slices=(12, 28, 56, 96)))
    start_from_pca(model, torch.nn.functional.pixel_unshuffle(patches, 16).flatten(1))
    crop = torch.from_numpy(photo[:256, :256].copy()).permute(2, 0, 1)[None].float() / 255.0
    errors, bits = [], []
    for position in (0.0, 3.5, 7.0):
        level = torch.tensor([position])
        codes = model.analyze(crop, level)
        errors.append((model.synthesize(codes, level) - crop).square().mean().item())
        bits.append(sum(one.sum().item() for one in model.code_bits(codes, level)))
    assert errors == sorted(errors, reverse=True) and bits == sorted(bits)
    assert -10.0 * np.log10(errors[-1]) > 30.0  # dB, before any training


@ALL
def test_windows_leave_no_seams(config: ModelConfig) -> None:
    torch.manual_seed(1)
    transform = Transform(VQVAE(config).eval())
    for parameter in transform.model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    side = (CORE + 10) * config.stride
    pixels = np.random.default_rng(0).integers(0, 256, (side, 4 * config.stride, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255.0
    with torch.no_grad():
        whole = transform.model.analyze(image, torch.zeros(1))
        codes = transform.analyze(pixels, 0.0)
        for one, other in zip(codes, whole, strict=True):
            assert np.mean(one != other[0].numpy()) < 1e-3  # rounding ties only
        shown = (transform.model.synthesize(whole, torch.zeros(1))[0] * 255.0).round().permute(1, 2, 0)
        again = transform.synthesize([one[0].numpy().astype(np.int32) for one in whole], pixels.shape[:2], 0.0)
    assert np.abs(again.astype(int) - shown.numpy().astype(int)).max() <= 1


def test_configs_survive_json_and_reject_unknown_keys() -> None:
    assert from_json(ModelConfig, to_json(SMALL)) == SMALL
    assert from_json(TrainConfig, to_json(TrainConfig(steps=7))) == TrainConfig(steps=7)
    with pytest.raises(ValueError, match="unknown ModelConfig key: colour"):
        from_json(ModelConfig, '{"colour": 1}')
