"""Train the built-in model `photo-exact`, the expert for photos without loss; run again to resume.

    python scripts/train_expert.py ../shared/data --output runs/expert --steps 24000
    python scripts/train_expert.py ../shared/data --output runs/expert --export vqcodec/builtin/photo-exact.safetensors

What the networks see comes from the adaptive model of lossless files, run over the photos of train-exact; of one
pixel in `KEPT` it is remembered. Every 20th photo is held out. The rate is constant, then falls to zero.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from train_tiny import descend, resume, save

from vqcodec import _core
from vqcodec.nets import fast_bf16
from vqcodec.photos import load_folders
from vqcodec.pixel_expert import COLOURS, ExpertConfig, PixelExpert, export_pixel_expert

RATE, DECAY, WARM_UP = 3e-3, 0.6, 100
KEPT = 6
LOG_STEPS, CHECKPOINT_STEPS = 200, 1000
DESCRIPTION = "photos without loss, beside the adaptive model"

Lessons = list[np.ndarray]  # of each colour (N, inputs + 1) int16


def lessons_of(photos: list[np.ndarray]) -> Lessons:
    """What the networks see of one pixel in `KEPT` of all photos."""

    def kept(numbered: tuple[int, np.ndarray]) -> Lessons:
        number, photo = numbered
        pixels = np.random.default_rng(number).permutation(photo[..., 0].size)[::KEPT]
        return [rows[np.sort(pixels)] for rows in _core.lessons(photo)]

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(kept, enumerate(photos)))
    return [np.concatenate([rows[colour] for rows in found]) for colour in range(COLOURS)]


def learning_rate(step: int, steps: int) -> float:
    return RATE * min(1.0, (step + 1) / WARM_UP, (steps - step) / (steps * DECAY))


def bits(model: PixelExpert, lessons: Lessons, chosen: np.ndarray | slice) -> Tensor:
    """Mean bits/dim of some lessons."""
    rows = (torch.from_numpy(of_colour[chosen]).float() for of_colour in lessons)
    return torch.stack([model(each, colour).mean() for colour, each in enumerate(rows)]).mean()


def train(options: argparse.Namespace, model: PixelExpert) -> None:
    """Train to the last step."""
    photos = load_folders([options.data / "train-exact"])
    held_out = lessons_of(photos[::20])
    lessons = lessons_of([photo for number, photo in enumerate(photos) if number % 20])
    optimizer = torch.optim.Adam(model.parameters(), RATE, betas=(0.9, 0.98), fused=True)
    bf16 = fast_bf16(torch.device("cpu"))
    first = step = resume(options.output, model, optimizer)
    started, losses = time.perf_counter(), []
    while step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        chosen = np.random.default_rng([step, 0]).integers(0, len(lessons[0]), options.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = bits(model, lessons, chosen)
        descend(model, optimizer, loss)
        step += 1
        losses.append(float(loss.detach()))
        if step % LOG_STEPS == 0:
            speed = (step - first) / (time.perf_counter() - started)
            print(f"step {step}/{options.steps} {np.mean(losses[-LOG_STEPS:]):.4f} bits/dim, {speed:.1f}/s", flush=True)
        if step % CHECKPOINT_STEPS == 0 or step == options.steps:
            save(options.output, step, model, optimizer)
            with torch.no_grad():
                print(f"step {step} held out {float(bits(model, held_out, slice(None))):.4f} bits/dim", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train-exact")
    parser.add_argument("--output", type=Path, default=Path("runs/expert"), help="folder for checkpoints")
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--batch", type=int, default=8192, help="pixels of each colour a step")
    parser.add_argument("--hidden", type=int, default=ExpertConfig().hidden)
    parser.add_argument("--export", type=Path, help="write the newest checkpoint as a model file instead")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = PixelExpert(ExpertConfig(options.hidden))
    if options.export:
        step = resume(options.output, model, torch.optim.Adam(model.parameters()))
        provenance = {"step": step, "batch": options.batch}
        data = export_pixel_expert(model, name="photo-exact", description=DESCRIPTION, provenance=provenance)
        options.export.write_bytes(data)
    else:
        train(options, model)


if __name__ == "__main__":
    main()
