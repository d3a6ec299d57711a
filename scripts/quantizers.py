"""Quantisers side by side: bytes at equal PSNR against the built-in `photo`, live codes, perplexity.

    python scripts/quantizers.py ../shared/data/kodak photo-vq runs/plain.safetensors

For each model of one rate: its mean rate and PSNR over the images, the rate at which `photo` has that PSNR (whole
files, effort 0), and of its codebooks how many codes are in use, their perplexity, and the bits of a file a code.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rd_benchmark import load_photos

import vqcodec
from vqcodec import metrics, weights


def rate_and_psnr(codec: vqcodec.Codec, photos: list[np.ndarray], quality: float) -> tuple[float, float]:
    """Mean bits per pixel of whole files, and mean PSNR in dB."""
    files = [codec.encode(photo, quality, effort=0, verify=False) for photo in photos]
    rates = [metrics.bpp(len(data), *photo.shape[:2]) for data, photo in zip(files, photos, strict=True)]
    decibels = [metrics.psnr(codec.decode(data), photo) for data, photo in zip(files, photos, strict=True)]
    return float(np.mean(rates)), float(np.mean(decibels))


def rate_of_photo(photos: list[np.ndarray], decibels: float) -> float:
    """Bits per pixel of `photo` at a mean PSNR, between two qualities that enclose it."""
    codec = vqcodec.load("photo")
    low, high = 0.0, 100.0
    points = {quality: rate_and_psnr(codec, photos, quality) for quality in (low, high)}
    while high - low > 5.0:
        middle = (low + high) / 2
        points[middle] = rate_and_psnr(codec, photos, middle)
        low, high = (middle, high) if points[middle][1] < decibels else (low, middle)
    (rates, reached) = zip(*(points[quality] for quality in (low, high)), strict=True)
    return float(np.exp(np.interp(decibels, reached, np.log(rates))))


def use_of_codes(codec: vqcodec.Codec, photos: list[np.ndarray]) -> tuple[int, float, float]:
    """Mean over the codebooks: live codes, perplexity; bits of the file for each code."""
    files = [codec.encode(photo, effort=0, verify=False) for photo in photos]
    grids = [codec.codes(data)[0] for data in files]
    codes = np.concatenate([grid.reshape(len(grid), -1) for grid in grids], axis=1)
    counts = np.stack([np.bincount(group, minlength=codes.max() + 1) for group in codes])
    share = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(share * np.log2(np.maximum(share, 1e-30))).sum(axis=1)
    live = (counts > 0).sum(axis=1).mean()
    return round(live), float(np.exp2(entropy).mean()), 8 * sum(map(len, files)) / codes.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+", help="of learned codebooks: built-in names or model files")
    parser.add_argument("--output", type=Path, default=Path("scripts/results/quantizers.json"))
    options = parser.parse_args()
    photos = [photo.pixels for photo in load_photos(options.folder)]
    rows = []
    print(
        "model | codebooks | bpp | PSNR, dB | photo's bpp | bytes against photo | live codes | perplexity | bits a code"
    )
    for name in options.models:
        codec = vqcodec.load(name)
        config = weights.model_config(codec.info)
        rate, decibels = rate_and_psnr(codec, photos, 0.0)
        reference = rate_of_photo(photos, decibels)
        live, perplexity, bits = use_of_codes(codec, photos)
        books = f"{sum(config.slices)} x {config.codebook_size} of {config.codebook_width}"
        rows.append(
            {
                "model": codec.name, "codebooks": books, "bpp": rate, "psnr": decibels, "photo_bpp": reference,
                "live": live, "perplexity": perplexity, "bits": bits,
            }
        )  # fmt: skip
        change = 100 * (rate / reference - 1)
        print(
            f"{codec.name} | {books} | {rate:.4f} | {decibels:.2f} | {reference:.4f} | {change:+.1f} % | {live}"
            f" | {perplexity:.1f} | {bits:.2f}",
            flush=True,
        )
    options.output.write_text(json.dumps({"images": len(photos), "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
