"""Training on two processes under torchrun (gloo on a CPU), and going on with one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from vqcodec import checkpoint


def test_two_processes_train_one_model(photo: np.ndarray, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    Image.fromarray(photo).save(photos / "a.png")
    options = ["-m", "vqcodec", "train", photos, "-o", out, "--preset", "codebook", "--batch", "2", "--crop", "64"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for launcher, steps in ((torchrun, 2), ([sys.executable], 3)):
        command = [*launcher, *options, "--steps", str(steps)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        step, tensors, _ = checkpoint.load(out / f"step-{steps:08d}")
        assert step == steps and all(tensor.float().isfinite().all() for tensor in tensors.values())
    assert len(list(out.glob("step-*"))) == 2  # each was written by one process
