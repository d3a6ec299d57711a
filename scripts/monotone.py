"""File sizes over the qualities, and over target sizes: do they rise, are they hit?

    python scripts/monotone.py ../shared/data/kodak [--model photo] [--qualities 0 100] [--targets 0.1 0.3]

Encodes every picture at qualities 0, 5, ..., 100, or those given in rising order, and into a few target sizes
(`--targets` alone: none). Ends with an error where a file is not larger than the one of the quality below, above its
target or more than 3 % below it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rd_benchmark import load_photos

import vqcodec

QUALITIES = range(0, 101, 5)
TARGETS = (0.1, 0.15, 0.3, 0.5)
SLACK = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="photo")
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES)
    parser.add_argument("--targets", type=float, nargs="*", default=TARGETS, help="bits per pixel")
    options = parser.parse_args()
    if len(options.qualities) < 2:
        parser.error("--qualities needs two or more")
    codec = vqcodec.load(options.model)
    failures, growth, hits = [], [], []
    for photo in load_photos(options.folder):
        pixels = photo.pixels[..., 0].size
        sizes = [len(codec.encode(photo.pixels, quality, verify=False)) for quality in options.qualities]
        growth.append(np.divide(sizes[1:], sizes[:-1]))
        if growth[-1].min() <= 1.0:
            failures.append(f"{photo.name}: a higher quality gives no larger file")
        for target in options.targets:
            limit = int(target * pixels / 8)
            if not sizes[0] <= limit <= sizes[-1]:
                continue
            hits.append(len(codec.encode(photo.pixels, target_bytes=limit, verify=False)) / limit)
            if not 1.0 - SLACK <= hits[-1] <= 1.0:
                failures.append(f"{photo.name}: {hits[-1]:.4f} of the target of {limit} bytes")
        print(f"{photo.name}: {8 * sizes[0] / pixels:.3f} to {8 * sizes[-1] / pixels:.3f} bpp", flush=True)
    steps = np.array(growth)
    shape = f"{len(steps)} pictures x {len(options.qualities)} qualities"
    print(f"{shape}: from one to the next x {steps.min():.3f} or more")
    if hits:
        print(f"{len(hits)} target sizes: {min(hits):.4f} to {max(hits):.4f} of the target")
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
