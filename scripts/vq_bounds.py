"""Bits per dimension that a VQ model's codes and the pixels given them take, on a folder of 8-bit pictures.

    python scripts/vq_bounds.py ../shared/data/kodak --models photo --limit 8

The pixels follow discretised logistics around the decoded picture (`vqcodec.bounds.vq_bound`), so nothing is
dequantised, and the sum bounds -log2 p(x). That is no codec: `vqcodec encode --lossless` makes smaller files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from rd_benchmark import load_photos

from vqcodec import weights
from vqcodec.bounds import vq_bound
from vqcodec.models import VQVAE


def measure(model: VQVAE, position: float, pictures: list[np.ndarray]) -> tuple[float, float]:
    """Bits per dimension of codes and of pixels, over all pictures (H, W, 3) uint8, cut to multiples of a stride."""
    bits, dims, multiple = np.zeros(2), 0, model.config.multiple
    for pixels in pictures:
        height, width = (side // multiple * multiple for side in pixels.shape[:2])
        images = torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None].float() / 255.0
        found = vq_bound(model, images, torch.tensor([position]))
        bits += [float(found.codes), float(found.pixels)]
        dims += images.numel()
    return float(bits[0] / dims), float(bits[1] / dims)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of lossless pictures")
    parser.add_argument("--models", nargs="+", default=["photo"], help="names or model files")
    parser.add_argument("--qualities", type=float, nargs="+", default=[0.0, 50.0, 100.0])
    parser.add_argument("--limit", type=int, help="pictures, the first by name")
    options = parser.parse_args()
    pictures = [photo.pixels for photo in load_photos(options.folder)[: options.limit]]
    print("| bits/dim | quality | codes | pixels given codes | sum |\n| --- | --- | --- | --- | --- |")
    for name in options.models:
        model = weights.load_networks(weights.resolve(name))
        for quality in options.qualities:
            codes, given = measure(model, quality / 100.0 * (model.config.quality_levels - 1), pictures)
            print(f"| {name} | {quality:g} | {codes:.3f} | {given:.3f} | {codes + given:.3f} |", flush=True)


if __name__ == "__main__":
    main()
