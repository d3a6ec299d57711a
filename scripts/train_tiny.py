"""Train the built-in model `tiny` for small pictures on CIFAR-10's training set; run again to resume.

    python scripts/train_tiny.py ../shared/data --output runs/tiny --steps 24000
    python scripts/train_tiny.py ../shared/data --output runs/tiny --export vqcodec/builtin/tiny.safetensors

The rate is constant, then falls to zero over the last `DECAY` share of the steps. 2,000 training pictures are held out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from archive_benchmark import cifar
from torch import Tensor, nn

from vqcodec import checkpoint
from vqcodec.integer_pixels import export_pixel_prior
from vqcodec.nets import fast_bf16
from vqcodec.pixel_prior import CODED, PixelConfig, PixelPrior

RATE, DECAY, WARM_UP, HELD_OUT = 1e-2, 0.5, 100, 2_000
LOG_STEPS, CHECKPOINT_STEPS = 100, 500
SEEN = 64  # pictures by which the integers are rounded
DESCRIPTION = "pictures of about 32x32, without loss"


def pictures(data: Path) -> np.ndarray:
    """All training pictures (N, 32, 32, 3) uint8, colours in the order of coding."""
    return cifar(data, 50_000).images[..., list(CODED)]


def batch(images: np.ndarray, step: int, count: int) -> Tensor:
    """Pictures (count, 32, 32, 3) of a step, half of them mirrored."""
    rng = np.random.default_rng([step, 0])
    chosen = images[rng.integers(0, len(images), count)]
    chosen[: count // 2] = chosen[: count // 2, :, ::-1]
    return torch.from_numpy(chosen)


def learning_rate(step: int, steps: int) -> float:
    return RATE * min(1.0, (step + 1) / WARM_UP, (steps - step) / (steps * DECAY))


@torch.no_grad()
def measure(model: PixelPrior, images: np.ndarray) -> float:
    """Bits/dim of the float model."""
    parts = [model(torch.from_numpy(part)).mean((1, 2, 3)) for part in np.array_split(images, 20)]
    return float(torch.cat(parts).mean())


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of a loss, which is clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def save(output: Path, step: int, model: nn.Module, optimizer: torch.optim.Adam) -> None:
    """Write a checkpoint of a model that has a `config`."""
    state = {f"weight.{name}": value.detach() for name, value in model.named_parameters()}
    for name, parameter in model.named_parameters():
        state |= {f"{moment}.{name}": optimizer.state[parameter][moment] for moment in ("exp_avg", "exp_avg_sq")}
    checkpoint.save(output, step, state, {"model": json.dumps(vars(model.config))})


def resume(folder: Path, model: nn.Module, optimizer: torch.optim.Adam) -> int:
    """Mirror of `save`: the step."""
    found = checkpoint.latest(folder)
    if found is None:
        return 0
    step, state, _ = checkpoint.load(found)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state[f"weight.{name}"])
        moments = {moment: state[f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step


def train(options: argparse.Namespace, model: PixelPrior) -> int:
    """Train to the last step, which is returned."""
    images = pictures(options.data)
    train_set, held_out = images[:-HELD_OUT], images[-HELD_OUT::8]
    optimizer = torch.optim.Adam(model.parameters(), RATE, betas=(0.9, 0.98), fused=True)
    bf16 = fast_bf16(torch.device("cpu"))
    first = step = resume(options.output, model, optimizer)
    started, losses = time.perf_counter(), []
    while step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(batch(train_set, step, options.batch)).mean()
        descend(model, optimizer, loss)
        step += 1
        losses.append(float(loss.detach()))
        if step % LOG_STEPS == 0:
            speed = (step - first) * options.batch * 1024 / (time.perf_counter() - started) / 1e3
            print(
                f"step {step}/{options.steps} {np.mean(losses[-LOG_STEPS:]):.4f} bits/dim, {speed:.0f} kpixel/s",
                flush=True,
            )
        if step % CHECKPOINT_STEPS == 0 or step == options.steps:
            save(options.output, step, model, optimizer)
            print(f"step {step} held out {measure(model, held_out):.4f} bits/dim", flush=True)
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with cifar10")
    parser.add_argument("--output", type=Path, default=Path("runs/tiny"), help="folder for checkpoints")
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--export", type=Path, help="write the newest checkpoint as a model file instead")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = PixelPrior(PixelConfig())
    if options.export:
        step = resume(options.output, model, torch.optim.Adam(model.parameters()))
        provenance = {"step": step, "batch": options.batch}
        seen = batch(pictures(options.data)[:-HELD_OUT], step, SEEN)
        data = export_pixel_prior(model, name="tiny", description=DESCRIPTION, provenance=provenance, samples=seen)
        options.export.write_bytes(data)
    else:
        train(options, model)


if __name__ == "__main__":
    main()
