"""Bounds of VAEs on binary MNIST beside published ones: a VAE, an IWAE-50 that goes on from it, a CVAE.

    python scripts/vae_bounds.py ../shared/data/mnist/mnist.npz --output scripts/results/vae_mnist.json

The networks are those of Burda et al. 2016 with one stochastic layer: 784-200-200-50 and back, tanh. Pixels are
binarised at random: anew in every epoch of training, once with a fixed seed for the 10,000 test pictures. Writes
JSON, a Markdown table and a picture beside it: samples, latent traversals, and samples of the CVAE by label.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqcodec.beta_vae import BetaVAE, Objective
from vqcodec.bounds import active_units, bits_per_dim, elbo, iwae
from vqcodec.likelihoods import Bernoulli

PIXELS, HIDDEN, LATENTS, CLASSES = 784, 200, 50, 10
BATCH = 100
EVALUATED = (1, 50, 500)  # samples of the IWAE bound
PUBLISHED = {
    "VAE, fixed binarisation, NLL by 200 samples": (89.78, "pythae, reproducing 89.9 of Rezende and Mohamed 2015"),
    "IWAE-50, fixed binarisation, NLL by 5000 samples": (86.82, "pythae, reproducing 87.1 of Burda et al. 2016"),
}


@dataclass(frozen=True)
class Digits:
    """Grey pictures (N, 784) float in [0, 1] and their labels (N,) int64."""

    grey: Tensor
    label: Tensor

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Freshly binarised batches in random order: one epoch."""
        for chosen in torch.randperm(len(self.grey)).split(size):
            yield torch.bernoulli(self.grey[chosen]), self.label[chosen]


def load_digits(path: Path, part: str) -> Digits:
    """The "train" or "test" pictures of mnist.npz."""
    stored = np.load(path)
    grey = torch.from_numpy(stored[f"x_{part}"]).flatten(1).float() / 255.0
    return Digits(grey, torch.from_numpy(stored[f"y_{part}"].astype(np.int64)))


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of tanh."""
    layers = [nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, outputs)]
    for layer in layers[::2]:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def make_vae(data: Digits, labels: int = 0) -> BetaVAE:
    """An untrained VAE whose decoder begins at the mean picture."""
    encoder, decoder = perceptron(PIXELS + labels, 2 * LATENTS), perceptron(LATENTS + labels, PIXELS)
    with torch.no_grad():
        decoder[-1].bias.copy_(torch.logit(data.grey.mean(0).clamp(1e-3, 1.0 - 1e-3)))
    objective = Objective(warmup_steps=len(data.grey) // BATCH)
    return BetaVAE(encoder, decoder, Bernoulli(), latents=LATENTS, labels=labels, objective=objective)


def train(vae: BetaVAE, data: Digits, epochs: int, samples: int = 1, batch: int = BATCH, rate: float = 1e-3) -> float:
    """Train for the ELBO, or for the IWAE bound of several samples; returns the seconds it took."""
    optimizer = torch.optim.Adam(vae.parameters(), rate, eps=1e-4, fused=True)
    steps = max(epochs * -(-len(data.grey) // batch), 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    started, step = time.perf_counter(), 0
    for epoch in range(epochs):
        bound = 0.0
        for images, label in data.batches(batch):
            known = label if vae.labels else None
            with torch.autocast("cpu", torch.bfloat16, enabled=samples > 1):
                loss = vae(images, step, known).total if samples == 1 else -iwae(vae, images, samples, known).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bound += float(loss.detach()) * len(images) / len(data.grey)
            step += 1
        if epoch % 10 == 0 or samples > 1:
            print(f"epoch {epoch + 1}: {bound:.2f} nats, {time.perf_counter() - started:.0f} s", flush=True)
    return time.perf_counter() - started


@torch.inference_mode()
def evaluate(vae: BetaVAE, data: Digits) -> dict[str, Any]:
    """Mean bounds in nats (as costs) and bits/dim over all pictures, and the active units."""
    torch.manual_seed(1)
    binary, means = torch.bernoulli(data.grey), []
    costs: dict[str, list[Tensor]] = {name: [] for name in ("ELBO", *(f"IWAE-{k}" for k in EVALUATED))}
    for images, label in zip(binary.split(100), data.label.split(100), strict=True):
        known = label if vae.labels else None
        means.append(vae.posterior(images, known).mean)
        costs["ELBO"].append(-elbo(vae, images, known))
        for k in EVALUATED:
            costs[f"IWAE-{k}"].append(-iwae(vae, images, k, known))
    nats = {name: torch.cat(parts).mean() for name, parts in costs.items()}
    return {
        "nats": {name: round(float(value), 3) for name, value in nats.items()},
        "bits_per_dim": {name: round(float(bits_per_dim(-value, PIXELS)), 4) for name, value in nats.items()},
        "active_units": int(active_units(torch.cat(means)).sum()),
        "pictures": len(binary),
    }


@torch.inference_mode()
def traversals(vae: BetaVAE, data: Digits, rows: int, columns: int) -> Tensor:
    """Pictures (rows * columns, 784): a row for each of the busiest latents, moved from -3 to 3 from one picture."""
    means = vae.posterior(data.grey).mean
    busiest = means.var(0).argsort(descending=True)[:rows]
    latents = means[:1].repeat(rows * columns, 1).view(rows, columns, -1)
    for row, unit in enumerate(busiest.tolist()):
        latents[row, :, unit] = torch.linspace(-3.0, 3.0, columns)
    return vae.likelihood.mean(vae.decode(latents.flatten(0, 1)))


def mosaic(pictures: Tensor, columns: int) -> np.ndarray:
    """One grey picture, uint8, of many (N, 784)."""
    tiles = (pictures * 255.0).round().byte().numpy().reshape(-1, columns, 28, 28)
    return tiles.swapaxes(1, 2).reshape(-1, columns * 28)


def show(vae: BetaVAE, conditional: BetaVAE, data: Digits, path: Path) -> None:
    """Samples of the VAE, traversals of it, and samples of the CVAE with a row for each label, side by side."""
    torch.manual_seed(2)
    side = CLASSES
    with torch.inference_mode():
        drawn = vae.sample(side * side)
        by_label = conditional.sample(side * side, torch.arange(side).repeat_interleave(side))
    panels = [mosaic(pictures, side) for pictures in (drawn, traversals(vae, data, side, side), by_label)]
    gap = np.full((panels[0].shape[0], 14), 255, np.uint8)
    Image.fromarray(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 1)).save(path, optimize=True)


def markdown(models: dict[str, dict[str, Any]]) -> str:
    """A table of bounds in nats, the best in bits/dim, active units; published figures below."""
    bounds = list(next(iter(models.values()))["nats"])
    lines = ["| nats, test | " + " | ".join(bounds) + f" | bits/dim, {bounds[-1]} | active units |"]
    lines.append("| --- |" + " --- |" * (len(bounds) + 2))
    for name, found in models.items():
        cells = [f"{found['nats'][bound]:.2f}" for bound in bounds]
        cells += [f"{found['bits_per_dim'][bounds[-1]]:.4f}", f"{found['active_units']} of {LATENTS}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| published | nats | source |", "| --- | --- | --- |"]
    lines += [f"| {name} | {value:.2f} | {source} |" for name, (value, source) in PUBLISHED.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path, help="mnist.npz")
    parser.add_argument("--epochs", type=int, default=150, help="of the VAE")
    parser.add_argument("--iwae-epochs", type=int, default=10, help="of the IWAE, from the VAE's weights")
    parser.add_argument("--cvae-epochs", type=int, default=30, help="of the CVAE")
    parser.add_argument("--output", type=Path, help="JSON; .md and .png are written beside it")
    options = parser.parse_args()
    data, test = (load_digits(options.mnist, part) for part in ("train", "test"))
    torch.manual_seed(0)
    conditional = make_vae(data, CLASSES)
    models = {}

    def measure(name: str, vae: BetaVAE, seconds: float) -> None:
        models[name] = evaluate(vae, test) | {"train_seconds": round(seconds)}
        print(name, models[name], flush=True)

    measure(f"CVAE, {options.cvae_epochs} epochs", conditional, train(conditional, data, options.cvae_epochs))
    vae = make_vae(data)
    measure(f"VAE, {options.epochs} epochs", vae, train(vae, data, options.epochs))
    if options.output:
        show(vae, conditional, test, options.output.with_suffix(".png"))
    seconds = train(vae, data, options.iwae_epochs, samples=50, batch=20, rate=3e-4)
    measure(f"IWAE-50, {options.iwae_epochs} epochs more", vae, seconds)
    print(markdown(models))
    if options.output:
        options.output.write_text(json.dumps({"models": models, "published": PUBLISHED}, indent=1) + "\n")
        options.output.with_suffix(".md").write_text(markdown(models))


if __name__ == "__main__":
    main()
