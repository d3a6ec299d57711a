"""Train the built-in model `thumb` for small pictures on CIFAR-10's training set; run again to resume.

    python scripts/train_thumb.py ../shared/data --output runs/thumb --steps 8000
    vqcodec export runs/thumb vqcodec/builtin/thumb.safetensors --name thumb --description "pictures of about 32x32"

The rate is constant, then falls to zero (`TrainConfig.decay`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from archive_benchmark import cifar

from vqcodec import checkpoint
from vqcodec.config import THUMB, TrainConfig
from vqcodec.photos import CropSampler
from vqcodec.progress import TrainingLog
from vqcodec.train import connect, disconnect, resume, run, start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with cifar10")
    parser.add_argument("--output", type=Path, default=Path("runs/thumb"))
    parser.add_argument("--steps", type=int, default=8_000, help="optimiser steps in all")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    device = connect()
    pictures = list(cifar(options.data, 50_000).images)
    sampler = CropSampler(pictures, 32, 32, seed=0)
    config = TrainConfig(steps=options.steps, batch=options.batch, crop=32)
    found = checkpoint.latest(options.output)
    if found:
        trainer = resume(found, device, steps=options.steps, batch=options.batch)
    else:
        trainer = start(THUMB, config, sampler, device)
    with TrainingLog(options.output, options.steps, trainer.step, quiet=trainer.rank != 0) as log:
        run(trainer, sampler, (), options.output, log, options.steps)
    disconnect()


if __name__ == "__main__":
    main()
