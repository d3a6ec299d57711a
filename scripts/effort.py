"""Measure what `--effort` saves and what it takes, at every quality level of a model.

    python scripts/effort.py ../shared/data/kodak --efforts 1 2

For each effort and level, against effort 0: bytes of the whole file, PSNR and, as the one number that counts, bits
at equal cost (change of `bits + lambda * pixels * MSE`, which the search lowers, as a share of the bits); seconds an
image, codes to file included. Then the BD-rates of the mean curves. Negative is better, except for PSNR and seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rd_benchmark import load_photos

import vqcodec
from vqcodec import metrics, weights


@dataclass(frozen=True)
class Result:
    """One image at one quality and effort."""

    file_bytes: int
    bpp: float
    square_error: float  # mean, of 255
    seconds: float
    ms_ssim: float | None

    def cost(self, trade: float, pixels: int) -> float:
        """Bits, with the error counted as so many."""
        return 8 * self.file_bytes + trade * pixels * self.square_error


def measure(
    codec: vqcodec.Codec, photo: np.ndarray, quality: float, effort: int, *, similarity: bool, threads: int
) -> Result:
    """Encode and decode a photo (H, W, 3)."""
    started = time.perf_counter()
    data = codec.encode(photo, quality, effort=effort, verify=False, threads=threads)
    seconds = time.perf_counter() - started
    shown = codec.decode(data)
    error = float(np.mean(np.square(shown.astype(np.float64) - photo)))
    ms_ssim = metrics.ms_ssim(shown, photo) if similarity else None
    return Result(len(data), metrics.bpp(len(data), *photo.shape[:2]), error, seconds, ms_ssim)


def decibels(results: list[Result]) -> float:
    """Mean PSNR."""
    return statistics.fmean(10 * np.log10(255**2 / result.square_error) for result in results)


def bd_rates(plain: list[list[Result]], searched: list[list[Result]]) -> str:
    """BD-rates in PSNR and, where it was measured, in MS-SSIM of curves of results level by level."""

    def rates(curve: list[list[Result]]) -> list[float]:
        return [statistics.fmean(result.bpp for result in level) for level in curve]

    def similarity(curve: list[list[Result]]) -> list[float]:
        return [float(-10 * np.log10(1 - np.mean([result.ms_ssim for result in level]))) for level in curve]

    found = metrics.bd_rate(rates(plain), list(map(decibels, plain)), rates(searched), list(map(decibels, searched)))
    text = f"BD-rate {found:+.2f} % (PSNR)"
    if None not in {result.ms_ssim for level in plain + searched for result in level}:
        found = metrics.bd_rate(rates(plain), similarity(plain), rates(searched), similarity(searched))
        text += f", {found:+.2f} % (MS-SSIM)"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--efforts", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--every", type=int, default=1, help="take every n-th image")
    parser.add_argument("--model", default="photo")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--ms-ssim", action="store_true")
    options = parser.parse_args()
    photos = [photo.pixels for photo in load_photos(options.folder, options.every)]
    codec = vqcodec.load(options.model)
    config = weights.model_config(codec.info)
    curves: dict[int, list[list[Result]]] = {effort: [] for effort in (0, *options.efforts)}
    print(f"{len(photos)} images\nlevel effort    bpp  bytes %  PSNR dB  bits at equal cost %  worst %  seconds")
    for level in range(config.quality_levels):
        quality = 100 * level / (config.quality_levels - 1)
        for effort, curve in curves.items():
            settings = {"similarity": options.ms_ssim, "threads": options.threads}
            curve.append([measure(codec, photo, quality, effort, **settings) for photo in photos])
            plain, found = curves[0][level], curve[level]
            trade = config.lambda_at(level)
            pairs = list(zip(plain, found, (photo.shape[0] * photo.shape[1] for photo in photos), strict=True))
            saved = [100 * (b.cost(trade, n) - a.cost(trade, n)) / (8 * a.file_bytes) for a, b, n in pairs]
            size = statistics.fmean(100 * (b.file_bytes / a.file_bytes - 1) for a, b, _ in pairs)
            print(
                f"{level:5} {effort:6} {statistics.fmean(r.bpp for r in found):6.3f} {size:+8.2f}"
                f" {decibels(found) - decibels(plain):+8.3f} {statistics.fmean(saved):+21.2f} {max(saved):+8.2f}"
                f" {statistics.median(r.seconds for r in found):8.3f}",
                flush=True,
            )
    for effort in options.efforts:
        print(f"effort {effort}: {bd_rates(curves[0], curves[effort])}")


if __name__ == "__main__":
    main()
