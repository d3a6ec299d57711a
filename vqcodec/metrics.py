"""Rate and distortion of 8-bit pictures: thin wrappers, the formulas stay in the libraries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqcodec.errors import InvalidInputError

MS_SSIM_MIN_SIDE = 161  # an 11-tap window must fit five times halved
BD_MIN_POINTS = 4


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape, over all samples; inf when equal.

    Raises InvalidInputError for other dtypes, unequal shapes or empty arrays.
    """
    _require_comparable(a, b)
    difference = a.astype(np.float64) - b.astype(np.float64)
    mean_square = float(np.mean(np.square(difference)))
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Multi-scale SSIM (0..1) of two uint8 arrays (H, W) or (H, W, C), mean over channels.

    None when a side is shorter than 161 pixels, where five scales are not defined. Needs
    `pytorch-msssim` (extra `bench`). Raises InvalidInputError as `psnr` does.
    """
    _require_comparable(a, b)
    if a.ndim not in (2, 3):
        raise InvalidInputError(f"MS-SSIM needs a picture of shape (H, W) or (H, W, C), not {a.shape}")
    if min(a.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    import torch
    from pytorch_msssim import ms_ssim as library_ms_ssim

    def planes(picture: np.ndarray) -> torch.Tensor:
        channels_last = np.atleast_3d(picture).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(channels_last.transpose(2, 0, 1)))[None]

    with torch.inference_mode():
        return float(library_ms_ssim(planes(a), planes(b), data_range=255))


def bpp(file_bytes: int, height: int, width: int) -> float:
    """Bits per pixel of a whole file of `file_bytes` bytes; InvalidInputError when a side is not positive."""
    if height < 1 or width < 1:
        raise InvalidInputError(f"a picture of {width}x{height} has no pixels to spread its bits over")
    return 8 * file_bytes / (height * width)


def bd_rate(
    anchor_bpp: Sequence[float],
    anchor_quality: Sequence[float],
    test_bpp: Sequence[float],
    test_quality: Sequence[float],
) -> float:
    """Bjontegaard rate difference in percent of test against anchor (negative: test is smaller), PCHIP.

    Qualities are in dB; the integral runs over the range both curves share. Needs `bjontegaard`
    (extra `bench`). Raises InvalidInputError for fewer than four points, rates or qualities that do
    not rise together, or curves without a common range.
    """
    anchor = _rising_curve("anchor", anchor_bpp, anchor_quality)
    test = _rising_curve("test", test_bpp, test_quality)
    if min(anchor[1][-1], test[1][-1]) <= max(anchor[1][0], test[1][0]):
        raise InvalidInputError("the two curves share no range of quality")
    import bjontegaard

    difference: Any = bjontegaard.bd_rate(*anchor, *test, method="pchip", require_matching_points=False, min_overlap=0)
    return float(difference)


def _require_comparable(a: np.ndarray, b: np.ndarray) -> None:
    for picture in (a, b):
        if picture.dtype != np.uint8:
            raise InvalidInputError(f"pictures are compared as uint8 arrays, not {picture.dtype}")
    if a.shape != b.shape:
        raise InvalidInputError(f"pictures of unequal shapes {a.shape} and {b.shape} cannot be compared")
    if a.size == 0:
        raise InvalidInputError("empty pictures cannot be compared")


def _rising_curve(name: str, rates: Sequence[float], qualities: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    if len(rates) != len(qualities) or len(rates) < BD_MIN_POINTS:
        raise InvalidInputError(
            f"the {name} curve has {len(rates)} rates and {len(qualities)} qualities; "
            f"the BD-rate needs at least {BD_MIN_POINTS} of each"
        )
    curve = np.array(sorted(zip(rates, qualities, strict=True)), np.float64).T
    if not (np.isfinite(curve).all() and curve[0, 0] > 0 and (np.diff(curve) > 0).all()):
        raise InvalidInputError(f"rates and qualities of the {name} curve must be finite and rise together")
    return curve[0], curve[1]
