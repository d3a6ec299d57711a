"""What the parts of the built-in model are worth: variants of it, trained for the same number of steps.

    python scripts/ablation.py ../shared/data

One model for all rates: the built-in `photo`, trained on as it is (the control) or for one quality level only. A coarse
level (VQ-VAE-2, its codes on one grid): from the start, without one, with one, and with one that the fine level's prior
does not see. Rates are cross entropies of the float priors over the validation photos. Run again to resume.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqcodec import metrics, weights
from vqcodec.config import HIERARCHY, PRESETS, ModelConfig, TrainConfig
from vqcodec.models import VQVAE
from vqcodec.photos import CropSampler, centre_crops, load_folders
from vqcodec.train import Trainer, start


@dataclass(frozen=True)
class Variant:
    """A model, how it begins, and what it is compared with."""

    name: str
    control: str
    config: ModelConfig
    trained: bool = False  # whether it begins as the built-in one
    level: float | None = None  # the only one it is trained for
    blind: bool = False  # whether the fine prior is kept from seeing the coarse codes


PHOTO = PRESETS["photo"]
GRID = replace(PHOTO, centred=False)  # as those of two levels are
VARIANTS = [
    Variant("photo, trained on", "photo, trained on", PHOTO, trained=True),
    Variant("level 2 only", "photo, trained on", PHOTO, trained=True, level=2.0),
    Variant("level 5 only", "photo, trained on", PHOTO, trained=True, level=5.0),
    Variant("one level", "one level", GRID),
    Variant("two levels", "one level", HIERARCHY),
    Variant("two levels, blind prior", "one level", HIERARCHY, blind=True),
]

Curve = list[tuple[float, float, float]]  # bpp, those of the coarse level, PSNR in dB; one for each level


def begin(variant: Variant, config: TrainConfig, sampler: CropSampler) -> Trainer:
    """A run before any step."""
    torch.manual_seed(config.seed)
    if variant.trained:
        return Trainer(weights.load_networks(weights.resolve("photo")), config, torch.device("cpu"))
    trainer = start(variant.config, config, sampler, torch.device("cpu"))
    if variant.blind:
        for block in trainer.model.prior.blocks():
            assert block.condition is not None
            block.condition.requires_grad_(False)  # its weights begin as 0
    return trainer


def train(trainer: Trainer, sampler: CropSampler) -> VQVAE:
    """The model of averaged weights at the end of a run."""
    while trainer.step < trainer.config.steps:
        chosen = (trainer.step, 0, trainer.config.batch)
        trainer.train_step(sampler.batch(*chosen), sampler.labels(*chosen))
    with torch.no_grad():
        for parameter, average in zip(trainer.model.parameters(), trainer.average, strict=True):
            parameter.copy_(average)
    return trainer.model


@torch.inference_mode()
def curve(model: VQVAE, photos: list[np.ndarray], levels: list[float]) -> Curve:
    """Mean rates and PSNR over the photos at each quality level."""
    model.eval()
    points = []
    for position in levels:
        level = torch.full((1,), position)
        bits, decibels = [], []
        for photo in centre_crops(photos, HIERARCHY.multiple, len(photos)):
            image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255.0
            codes = model.analyze(image, level)
            error = (model.synthesize(codes, level) - image).square().mean()
            parts: list[Tensor] = [one.sum() / image[0, 0].numel() for one in model.code_bits(codes, level)]
            bits.append((float(sum(parts)), float(parts[0]) if len(parts) > 1 else 0.0))
            decibels.append(float(-10.0 * torch.log10(error)))
        bpp, coarse = np.mean(bits, 0)
        points.append((float(bpp), float(coarse), float(np.mean(decibels))))
    return points


def verdict(found: Curve, control: Curve) -> str:
    """A curve against the control's: BD-rate, or at one point the difference at equal rate."""
    rates, decibels = [point[0] for point in control], [point[2] for point in control]
    if len(found) > 1:
        change = metrics.bd_rate(rates, decibels, [point[0] for point in found], [point[2] for point in found])
        share = 100 * np.mean([coarse / bpp for bpp, coarse, _ in found])
        return f"BD-rate {change:+.2f} %, {share:.1f} % of the bits in the coarse level"
    bpp, _, reached = found[0]
    return f"{reached - np.interp(np.log(bpp), np.log(rates), decibels):+.3f} dB at {bpp:.4f} bpp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train-photos, train-exact and val-photos")
    parser.add_argument("--steps", type=int, default=1200, help="from the start")
    parser.add_argument("--further-steps", type=int, default=600, help="from the built-in model")
    parser.add_argument("--output", type=Path, default=Path("scripts/results/ablation.json"))
    arguments = parser.parse_args()
    photos = load_folders([arguments.data / "train-photos", arguments.data / "train-exact"])
    held_out = load_folders([arguments.data / "val-photos"])
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for variant in VARIANTS:
        steps, rate = (arguments.further_steps, 5e-4) if variant.trained else (arguments.steps, 1.5e-3)
        if known.get(variant.name, {}).get("steps") != steps:
            begun = time.monotonic()
            config = TrainConfig(steps=steps, crop=160, peak_rate=rate, warmup_steps=50, decay=0.5, level=variant.level)
            sampler = CropSampler(photos, config.crop, HIERARCHY.multiple, config.seed)
            model = train(begin(variant, config, sampler), sampler)
            every = [float(level) for level in range(variant.config.quality_levels)]
            found = curve(model, held_out, every if variant.level is None else [variant.level])
            known[variant.name] = {"steps": steps, "curve": found, "seconds": time.monotonic() - begun}
            arguments.output.write_text(json.dumps(known, indent=1))
        against = verdict(known[variant.name]["curve"], known[variant.control]["curve"])
        print(f"{variant.name:24} {steps:5} steps  {against}", flush=True)


if __name__ == "__main__":
    main()
