"""What a decoded picture lacks, in the unit that the rate is weighed against (torch)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.config import ModelConfig
from vqcodec.errors import InvalidInputError

MS_SSIM_COST = 1250.0  # squared errors that 1 - MS-SSIM counts for: as CompressAI pairs its lambdas of both kinds


def distortion(config: ModelConfig, shown: Tensor, images: Tensor) -> Tensor:
    """(B,) distortion of pictures (B, 3, H, W) around 0..1: mean squared error of 0..255, or what stands for it.

    For `ms-ssim` (Wang et al. 2003) sides must be longer than 160 pixels, or it is an InvalidInputError.
    """
    if config.distortion == "mse":
        return 65025.0 * (shown - images).square().mean((1, 2, 3))
    if min(shown.shape[2:]) <= 160:
        raise InvalidInputError(f"MS-SSIM needs pictures and crops of more than 160 pixels, not {min(shown.shape[2:])}")
    from pytorch_msssim import ms_ssim

    with torch.autocast(shown.device.type, enabled=False):  # it takes differences of nearly equal numbers
        likeness: Tensor = ms_ssim(shown.float(), images.float(), data_range=1.0, size_average=False)
    return MS_SSIM_COST * (1.0 - likeness)
