"""Train the built-in model `photo`: one process a core on a CPU, one process on a GPU; run again to resume.

    python scripts/train_photo.py ../shared/data --output runs/photo --steps 20000
    vqcodec export runs/photo vqcodec/builtin/photo.safetensors --name photo --photos ../shared/data/train-exact --force

Two phases, as `training-recipe` measured: small crops at a constant rate, then larger crops while the
rate falls to zero. The first phase ends where the fall begins (`TrainConfig.decay`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch

from vqcodec.config import TrainConfig

# pictures without loss count twice, and again smaller; lossy ones lose most of their traces when they shrink
SOURCES = ("train-photos", "train-exact", "train-exact", "train-exact@0.7", "train-photos@0.75")
PLATEAU_CROP, DECAY_CROP = 160, 192
# keep glibc from handing memory back between steps: 10 % of a CPU training step
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def launcher(processes: int) -> list[str]:
    """The command that starts `vqcodec train` on this machine."""
    if processes == 1:
        return [sys.executable, "-m", "vqcodec", "train"]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes), "-m", "vqcodec", "train"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train-photos, train-exact and val-photos")
    parser.add_argument("--output", type=Path, default=Path("runs/photo"))
    parser.add_argument("--steps", type=int, default=20_000, help="optimiser steps in all")
    parser.add_argument("--from", dest="start_from", help="model whose weights to start from, say photo")
    parser.add_argument("--batch", type=int, default=64 if torch.cuda.is_available() else 8)
    parser.add_argument("--checkpoint-steps", type=int, default=500)
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    processes = torch.cuda.device_count() if cuda else max(p for p in (1, 2, 4, 8) if p <= (os.cpu_count() or 1))
    command = [
        *launcher(processes),
        *(str(options.data / source) for source in SOURCES),
        *("--validation", str(options.data / "val-photos"), "--output", str(options.output)),
        *("--batch", str(options.batch), "--checkpoint-steps", str(options.checkpoint_steps)),
        *("--steps", str(options.steps)),
    ]
    if options.start_from:
        command += ["--from", options.start_from]
    environment = os.environ | ({} if cuda else {"OMP_NUM_THREADS": "1", **MALLOC})
    plateau_steps = round(options.steps * (1.0 - TrainConfig().decay))
    plateau = [*command, "--crop", str(PLATEAU_CROP), "--until", str(plateau_steps)]
    for phase in (plateau, [*command, "--crop", str(DECAY_CROP)]):
        subprocess.run(phase, env=environment, check=True)


if __name__ == "__main__":
    main()
