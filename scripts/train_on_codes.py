"""Train a small classifier of CIFAR-10 on codes, and one on pixels: codes are data, too.

    python scripts/train_on_codes.py ../shared/data/cifar10 --output scripts/results/train_on_codes.json

Packs the pictures into two archives, and trains on what `ArchiveDataset` gives: pixels (3, 32, 32) through a small
convolutional network, codes (256, 2, 2) through one of as many weights without strides. Prints the accuracies on the
10,000 test pictures and the seconds of an epoch, reading included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import vqcodec
from vqcodec import ArchiveDataset

BATCH = 256
WIDTH = 96


def pictures(folder: Path, part: str, limit: int) -> list[tuple[np.ndarray, int]]:
    """The first `limit` pictures (32, 32, 3) of "train" or "test" with their labels."""
    mosaics = sorted(folder.glob("train-*.webp")) if part == "train" else [folder / "test.webp"]
    cut = [np.asarray(Image.open(path)).reshape(100, 32, 100, 32, 3).swapaxes(1, 2) for path in mosaics]
    images = np.concatenate([one.reshape(-1, 32, 32, 3) for one in cut])
    labels = np.load(folder / f"{part}_labels.npy").astype(int).tolist()
    return list(zip(images[:limit], labels[:limit], strict=False))


def network(what: str) -> nn.Sequential:
    """A classifier of pixels or of codes."""
    layers: list[nn.Module] = []
    if what == "pixels":
        for inputs, outputs in ((3, 32), (32, 64), (64, WIDTH)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * WIDTH, 128), nn.ReLU(), nn.Linear(128, 10))
    layers = [nn.Flatten(), nn.Linear(192 * 4, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def inputs_of(what: str, batch: torch.Tensor) -> torch.Tensor:
    """Pixels in -1..1; codes, which are in 1/256, with their large values drawn in, signs kept."""
    if what == "pixels":
        return batch.float() / 127.5 - 1.0
    numbers = batch.float() / 256.0
    return numbers.sign() * numbers.abs().log1p()


def train(what: str, archives: dict[str, Path], epochs: int, workers: int) -> dict[str, Any]:
    """Accuracy on the test pictures and the seconds of the epochs."""
    torch.manual_seed(0)
    model, seconds = network(what), []
    kind: Literal["pixels", "codes"] = "codes" if what == "codes" else "pixels"
    sets = {part: ArchiveDataset(path, what=kind) for part, path in archives.items()}
    loader = DataLoader(sets["train"], BATCH, shuffle=True, num_workers=workers)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * len(loader))
    for _ in range(epochs):
        started = time.perf_counter()
        for batch, labels in loader:
            loss = F.cross_entropy(model(inputs_of(what, batch)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        seconds.append(time.perf_counter() - started)
    model.eval()
    with torch.inference_mode():
        tested = [(model(inputs_of(what, b)).argmax(1) == labels) for b, labels in DataLoader(sets["test"], BATCH)]
    accuracy = float(torch.cat(tested).float().mean())
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {"accuracy": accuracy, "epoch_seconds": float(np.median(seconds)), "weights": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path, help="folder of CIFAR-10 as in ../shared/data/cifar10")
    parser.add_argument("--limit", type=int, default=50_000, help="training pictures")
    parser.add_argument("--quality", type=float, default=80.0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="train_on_codes_") as folder:
        archives = {part: Path(folder) / f"{part}.vqa" for part in ("train", "test")}
        for part, path in archives.items():
            vqcodec.pack(pictures(options.cifar, part, options.limit), path, quality=options.quality, effort=0)
        sizes = {part: path.stat().st_size for part, path in archives.items()}
        print(f"packed: {sizes}", flush=True)
        found = {what: train(what, archives, options.epochs, options.workers) for what in ("pixels", "codes")}
    for what, result in found.items():
        print(f"{what}: {100 * result['accuracy']:.1f} %, {result['epoch_seconds']:.1f} s an epoch")
    if options.output:
        settings = {"quality": options.quality, "epochs": options.epochs, "pictures": options.limit, "bytes": sizes}
        options.output.write_text(json.dumps({"settings": settings, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
