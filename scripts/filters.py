"""Measure what the filters in files save: the same codes with and without theirs, at every quality level of a model.

    python scripts/filters.py ../shared/data/kodak --every 3

For each level: bytes of a filter (mean, most), PSNR gained (mean, least, most) and files without one. Then the BD-rate
of the mean curves with filters against those without, the bytes of the filters counted.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
from effort import Result, bd_rates, decibels
from rd_benchmark import load_photos

import vqcodec
from vqcodec import _core, metrics, weights


def shown(codec: vqcodec.Codec, photo: np.ndarray, file: bytes) -> Result:
    """What a file of a photo (H, W, 3) comes to."""
    pixels = codec.decode(file)
    error = float(np.mean(np.square(pixels.astype(np.float64) - photo)))
    return Result(len(file), metrics.bpp(len(file), *photo.shape[:2]), error, 0.0, metrics.ms_ssim(pixels, photo))


def without_filter(codec: vqcodec.Codec, file: bytes) -> bytes:
    """The file of the same codes."""
    header, model = _core.read_header(file), _core.Model(codec.info.path.read_bytes())
    return _core.write_file(model, header.width, header.height, header.quality, codec.codes(file))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th image")
    parser.add_argument("--model", default="photo")
    options = parser.parse_args()
    photos = [photo.pixels for photo in load_photos(options.folder, options.every)]
    codec = vqcodec.load(options.model)
    levels = weights.model_config(codec.info).quality_levels
    curves: tuple[list[list[Result]], list[list[Result]]] = ([], [])
    print(f"{len(photos)} images\nlevel    bpp  bytes (most)  PSNR dB (least, most)  without one")
    for level in range(levels):
        encoded = [codec.encode(photo, 100 * level / (levels - 1), verify=False) for photo in photos]
        for curve, versions in zip(curves, ([without_filter(codec, file) for file in encoded], encoded), strict=True):
            curve.append([shown(codec, photo, file) for photo, file in zip(photos, versions, strict=True)])
        plain, filtered = curves[0][level], curves[1][level]
        sizes = [b.file_bytes - a.file_bytes for a, b in zip(plain, filtered, strict=True)]
        gains = [decibels([b]) - decibels([a]) for a, b in zip(plain, filtered, strict=True)]
        print(
            f"{level:5} {statistics.fmean(r.bpp for r in filtered):6.3f} {statistics.fmean(sizes):6.1f} {max(sizes):5}"
            f"   {statistics.fmean(gains):+7.3f} {min(gains):+7.3f} {max(gains):+7.3f} {sizes.count(0):8}",
            flush=True,
        )
    print(f"with filters: {bd_rates(*curves)}")


if __name__ == "__main__":
    main()
