"""What the export to integers costs: a checkpoint's float networks beside the integer ones, on whole images.

    python scripts/integer_loss.py runs/photo ../shared/data/kodak --photos ../shared/data/train-exact

Float: codes, 8-bit pixels and bits of the float prior, in torch. Integer: codes, pixels
and cross entropy of the exported model in Rust, scales not adapted, as in float. One line a
quality: means over the images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from vqcodec import _core
from vqcodec.calibration import crops
from vqcodec.export import export_model, load_checkpoint
from vqcodec.models import VQVAE
from vqcodec.photos import load_folders
from vqcodec.pixels import pad_to_multiple

QUALITIES = (0, 25, 50, 75, 100)
STEPS = 16  # quality positions between two levels


def psnr(image: np.ndarray, shown: np.ndarray) -> float:
    """PSNR in dB of (H, W, 3) pixels of 0..255."""
    return float(-10.0 * np.log10(np.mean((image - shown.astype(np.float64)) ** 2) / 65025.0))


@torch.inference_mode()
def float_result(model: VQVAE, image: np.ndarray, position: int) -> tuple[float, float]:
    """Bits and PSNR of the float networks, the picture clipped to 0..255 and rounded to 8 bits."""
    level = torch.tensor([position / STEPS])
    padded = pad_to_multiple(image, model.config.stride)
    codes = model.analyze(torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255.0, level)
    shown = (model.synthesize(codes, level)[0] * 255.0).round().permute(1, 2, 0).numpy()
    bits = sum(float(one.sum()) for one in model.code_bits(codes, level))
    return bits, psnr(image, shown[: image.shape[0], : image.shape[1]])


def integer_result(model: _core.Model, image: np.ndarray, position: int) -> tuple[float, float]:
    """Mirror of `float_result` for the exported model."""
    codes = _core.analyze(model, image, position)
    shown = _core.synthesize(model, codes, *image.shape[:2], position)
    return _core.cross_entropy(model, position, codes, adaptive=False), psnr(image, shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--photos", type=Path, help="folder of training photos to round by, as in `vqcodec export`")
    options = parser.parse_args()
    network, _ = load_checkpoint(options.checkpoint)
    seen = crops(load_folders([options.photos]), network.config.multiple) if options.photos else ()
    model = _core.Model(export_model(network, name="test", description="", images=seen))
    images = load_folders([options.images])
    print("quality  bits, integer over float   PSNR, integer minus float")
    for quality in QUALITIES:
        position = round(quality / 100 * (network.config.quality_levels - 1) * STEPS)
        pairs = [(integer_result(model, i, position), float_result(network, i, position)) for i in images]
        rate = np.mean([ours[0] / theirs[0] - 1.0 for ours, theirs in pairs])
        loss = np.mean([ours[1] - theirs[1] for ours, theirs in pairs])
        print(f"{quality:7d}  {100 * rate:+.3f} %{'':17}{loss:+.4f} dB", flush=True)


if __name__ == "__main__":
    main()
