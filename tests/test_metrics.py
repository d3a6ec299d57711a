"""PSNR, MS-SSIM, bits per pixel and BD-rate: known values, and clear errors where they are not defined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqcodec import metrics
from vqcodec.errors import InvalidInputError

RATES = [0.1, 0.2, 0.4, 0.8]
DECIBELS = [26.0, 28.5, 31.0, 34.0]


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((5, 7, 3), np.uint8)
    assert metrics.psnr(black, black + 1) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(black, black + 255) == 0.0
    assert metrics.psnr(black, black) == math.inf


def test_psnr_does_not_wrap_around() -> None:
    high, low = np.full((4, 4), 250, np.uint8), np.full((4, 4), 5, np.uint8)
    assert metrics.psnr(high, low) == metrics.psnr(low, high) == pytest.approx(20 * math.log10(255 / 245))


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ms_ssim])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)),
        (np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.uint8)),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8)),
    ],
    ids=["shape", "float", "uint16", "empty"],
)
def test_pictures_that_cannot_be_compared(measure, a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        measure(a, b)


def test_ms_ssim_falls_with_noise(photo: np.ndarray) -> None:
    pytest.importorskip("pytorch_msssim")
    rng = np.random.default_rng(0)

    def noisy(amount: float) -> np.ndarray:
        return np.clip(photo + rng.normal(0, amount, photo.shape), 0, 255).astype(np.uint8)

    values = [metrics.ms_ssim(photo, noisy(amount)) for amount in (0.01, 8, 40)]
    assert metrics.ms_ssim(photo, photo) == pytest.approx(1.0)
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < values[0] <= 1


def test_ms_ssim_of_color_is_the_mean_of_its_channels(photo: np.ndarray) -> None:
    pytest.importorskip("pytorch_msssim")
    flipped = photo[::-1].copy()
    channels = [metrics.ms_ssim(photo[..., channel], flipped[..., channel]) for channel in range(3)]
    assert metrics.ms_ssim(photo, flipped) == pytest.approx(np.mean(channels), abs=1e-5)


def test_ms_ssim_needs_161_pixels_a_side() -> None:
    pytest.importorskip("pytorch_msssim")
    for shape in [(160, 400, 3), (400, 160)]:
        assert metrics.ms_ssim(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)) is None
    smallest = np.zeros((161, 163), np.uint8)
    assert metrics.ms_ssim(smallest, smallest) == pytest.approx(1.0)


def test_bpp() -> None:
    assert metrics.bpp(14_746, 512, 768) == pytest.approx(0.3, abs=1e-4)
    with pytest.raises(InvalidInputError):
        metrics.bpp(100, 0, 768)


def test_bd_rate_of_a_tenth_less_everywhere() -> None:
    pytest.importorskip("bjontegaard")
    smaller = [0.9 * rate for rate in RATES]
    assert metrics.bd_rate(RATES, DECIBELS, smaller, DECIBELS) == pytest.approx(-10.0)
    assert metrics.bd_rate(smaller, DECIBELS, RATES, DECIBELS) == pytest.approx(100 / 9)
    assert metrics.bd_rate(RATES[::-1], DECIBELS[::-1], RATES, DECIBELS) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("rates", "decibels"),
    [
        (RATES[:3], DECIBELS[:3]),
        (RATES, DECIBELS[:3]),
        (RATES, [26.0, 25.0, 31.0, 34.0]),
        (RATES, [26.0, 28.0, 31.0, math.inf]),
        ([0.0, 0.2, 0.4, 0.8], DECIBELS),
        (RATES, [decibels + 20 for decibels in DECIBELS]),
    ],
    ids=["three points", "unequal", "falling", "infinite", "no rate", "no common range"],
)
def test_bd_rate_is_refused_where_it_means_nothing(rates: list[float], decibels: list[float]) -> None:
    with pytest.raises(InvalidInputError):
        metrics.bd_rate(RATES, DECIBELS, rates, decibels)
