"""What a label is worth to a VQ model: `photo` trained on for CIFAR-10, knowing each picture's class or not.

    python scripts/labels.py ../shared/data/cifar10 --output scripts/results/labels.json

Both runs start from the built-in model at one quality, take the same crops and steps, and are exported. On the test
pictures: bits of the codes (the integer prior's own entropy) and PSNR, for the run with labels also with each
picture's label replaced by the next. Writes the JSON, and a picture beside it of samples, a row for each label.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ablation import train
from PIL import Image
from train_on_codes import pictures

import vqcodec
from vqcodec import metrics, weights
from vqcodec.config import PRESETS, ModelConfig, TrainConfig
from vqcodec.export import export_model
from vqcodec.models import VQVAE
from vqcodec.photos import CropSampler
from vqcodec.successors import go_on_as
from vqcodec.train import Trainer

CLASSES = 10
SIDE = 32


def trained(config: ModelConfig, sampler: CropSampler, steps: int, batch: int) -> VQVAE:
    """The averaged weights at the end of a run that starts from `photo`."""
    training = TrainConfig(steps=steps, batch=batch, crop=SIDE, peak_rate=5e-4, warmup_steps=50, decay=0.5)
    model = go_on_as(weights.load_networks(weights.resolve("photo")), config, torch.empty(0))
    return train(Trainer(model, training, torch.device("cpu")), sampler)


def measure(codec: vqcodec.Codec, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean bits of a picture's codes and mean PSNR in dB, where the model is told these labels."""
    bits, decibels = [], []
    for image, label in zip(images, labels.tolist(), strict=True):
        data, report = codec.encode_report(image, label=label, effort=0, verify=False)
        bits.append(report.model_bits)
        decibels.append(metrics.psnr(codec.decode(data), image))
    return float(np.mean(bits)), float(np.mean(decibels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, help="folder of CIFAR-10 as in ../shared/data/cifar10")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--quality", type=float, default=50.0, help="of `photo`, for both runs")
    parser.add_argument("--tested", type=int, default=2000, help="test pictures")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    images, classes = zip(*pictures(options.cifar, "train", 50_000), strict=True)
    test = pictures(options.cifar, "test", options.tested)
    shown, labels = np.stack([image for image, _ in test]), np.array([label for _, label in test])
    knowing = PRESETS["photo"].with_labels(CLASSES, options.quality)
    runs = {
        "labels": (knowing, classes),
        "no labels": (replace(knowing, labels=1, quality_levels=1), [0] * len(images)),
    }
    results = {}
    for name, (config, known) in runs.items():
        sampler = CropSampler(images, SIDE, SIDE, seed=0, labels=known)
        model = trained(config, sampler, options.steps, options.batch)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            path.write_bytes(export_model(model, name=name, description=""))
            codec = vqcodec.load(path)
        told = {"": 0 * labels}
        if config is knowing:
            told = {"own label": labels, "the next label": (labels + 1) % CLASSES}
        for which, given in told.items():
            bits, decibels = measure(codec, shown, given)
            results[", ".join(filter(None, (name, which)))] = {"bits": bits, "psnr": decibels}
            print(f"{name:10} {which:15} {bits:7.2f} bits a picture, {decibels:.3f} dB", flush=True)
        if options.output and config is knowing:
            rows = [[codec.sample(SIDE, SIDE, label=label, seed=n) for n in range(16)] for label in range(CLASSES)]
            Image.fromarray(np.block([[[one] for one in row] for row in rows])).save(options.output.with_suffix(".png"))
    if options.output:
        settings = {"steps": options.steps, "batch": options.batch, "quality": options.quality, "pictures": len(test)}
        options.output.write_text(json.dumps({"settings": settings, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
