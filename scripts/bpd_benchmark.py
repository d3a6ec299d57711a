"""Bits per dimension of lossless files: vqcodec beside PNG, WebP and JPEG XL on the same pictures, in one run.

    python scripts/bpd_benchmark.py ../shared/data/kodak ../shared/data/val-photos --output scripts/results/bpd.json
    python scripts/bpd_benchmark.py --cifar ../shared/data/cifar10/test.webp --output scripts/results/bpd_cifar.json

Every file is decoded again and must be the picture it was made from. Bits are those of whole files, headers
included, over all samples of a set; the speed is that of one thread, in megapixels a second of processor time, which
other programs disturb least. CIFAR-10, a mosaic of its pictures, is measured as one file a picture and as one
archive: a .vqa for vqcodec, a plain .tar for the others.
Beside them stand bounds of models, which no file has. `bpd_report.py` sets tables and a picture from the JSON. Needs
the extras `bench` and `train`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from bpd_archives import cifar_test, packed, tarred
from bpd_coders import Coder, others, ours
from bpd_report import tables
from rd_benchmark import Photo, load_photos, machine
from vq_bounds import measure as vq_bound

from vqcodec import weights

SMALL = "tiny"  # the built-in model of pixels
PREVIEW = 40.0  # quality of the preview that samples count on
CODES = "photo"  # the model of codes whose bound stands beside the files


def measure(coder: Coder, photos: list[Photo]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Bits and speed over all pictures, and the file of each."""
    files, spent = {}, [0.0, 0.0]
    for photo in photos:
        started = time.process_time()
        data = coder.encode(photo.pixels)
        encoded = time.process_time()
        decoded = coder.decode(data)
        spent[0] += encoded - started
        spent[1] += time.process_time() - encoded
        if not np.array_equal(decoded, photo.pixels):
            raise SystemExit(f"{coder.label}: {photo.name} does not come back")
        files[photo.name] = data
    samples = sum(photo.pixels.size for photo in photos)
    speed = [samples / 3e6 / seconds for seconds in spent]
    bits = 8 * sum(map(len, files.values())) / samples
    print(f"{coder.label}: {bits:.3f} bits/dim, {speed[0]:.2f} / {speed[1]:.2f} Mpixel/s", file=sys.stderr)
    found = {"settings": coder.settings, "bits_per_dim": round(bits, 4)}
    return found | {"encode_mpixel_s": round(speed[0], 3), "decode_mpixel_s": round(speed[1], 3)}, files


def photo_results(photos: list[Photo]) -> dict[str, Any]:
    """All coders on photos, with the bytes of every picture, and what codes and the pixels given them would take."""
    images = [{"name": photo.name, "sha256": photo.sha256, "shape": list(photo.pixels.shape)} for photo in photos]
    rows = {}
    previews = [ours(preview=preview) for preview in (0.0, PREVIEW)]
    for coder in (ours(), ours(model=weights.EXPERT), *previews, *others()):
        row, files = measure(coder, photos)
        rows[coder.label] = row | {"bytes": {name: len(data) for name, data in files.items()}}
    model = weights.load_networks(weights.resolve(CODES))
    bound = sum(vq_bound(model, float(model.config.quality_levels - 1), [photo.pixels for photo in photos]))
    bounds = {f"codes of {CODES} -q 100 and pixels given them": round(bound, 4)}
    return {"images": images, "coders": rows, "bounds": bounds}


def cifar_results(photos: list[Photo]) -> dict[str, Any]:
    """All coders on small pictures of one size, as single files and as one archive; bytes are those of all."""
    digest = hashlib.sha256("\n".join(photo.sha256 for photo in photos).encode()).hexdigest()
    images = {"count": len(photos), "shape": list(photos[0].pixels.shape), "sha256": digest}
    samples = sum(photo.pixels.size for photo in photos)
    rows = {}
    for model in (None, SMALL):
        row, files = measure(ours(model=model), photos)
        rows[ours(model=model).label] = row | {"bytes": sum(map(len, files.values())), "archive": packed(photos, model)}
    bits = sum(weights.resolve(SMALL).pixels.cross_entropy(photo.pixels) for photo in photos)
    rows[ours(model=SMALL).label]["bound"] = round(bits / samples, 4)
    for coder in others():
        row, files = measure(coder, photos)
        rows[coder.label] = row | {"bytes": sum(map(len, files.values())), "archive": tarred(files, samples)}
    return {"images": images, "coders": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="folders of pictures")
    parser.add_argument("--cifar", type=Path, help="mosaic of CIFAR-10's test set")
    parser.add_argument("--limit", type=int, help="pictures of each set, the first by name")
    parser.add_argument("--every", type=int, default=1, help="one of so many pictures of a folder, by name")
    parser.add_argument("--output", type=Path, help="JSON file of all results")
    options = parser.parse_args()
    if not options.folders and not options.cifar:
        parser.error("name folders or --cifar")
    before, results = machine(), {}
    if options.cifar:
        results["cifar10"] = cifar_results(cifar_test(options.cifar)[: options.limit])
    for folder in options.folders:
        results[folder.name] = photo_results(load_photos(folder, options.every)[: options.limit])
    if options.output:
        options.output.write_text(json.dumps({"machine": before, "folders": results}, indent=1) + "\n")
    print(tables(results))


if __name__ == "__main__":
    main()
