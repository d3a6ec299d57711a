"""Quantisers on one transform: the built-in `photo` trained on with each, for the same number of steps.

    python scripts/quantizer_ablation.py ../shared/data

All begin with the transform of `photo` at one of its rates, a prior from nothing and, where codebooks are learned,
k-means of latents; the textbook VQ-VAE of 2017 has a transform of its own, from nothing. Rates are cross entropies of
the float priors over validation photos, against those of `photo` at the same PSNR, so that the first row shows what a
prior trained so briefly lacks. Run again to resume.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ablation import Curve, curve, train
from torch import Tensor, nn

from vqcodec import weights
from vqcodec.config import PHOTO, PHOTO_VQ, PLAIN, ModelConfig, TrainConfig
from vqcodec.models import VQVAE, start_scales
from vqcodec.photos import CropSampler, centre_crops, load_folders
from vqcodec.prior import ContextPrior
from vqcodec.quantize import CodebookQuantizer, Quantized
from vqcodec.successors import go_on_as
from vqcodec.train import Trainer, start

LEVEL = PHOTO.level_at(PHOTO_VQ.lambda_min)
START_CROPS = 64  # from which codebooks start
PRODUCT = replace(PHOTO_VQ, codebook_rate=0.0)
RESIDUAL = replace(PHOTO_VQ, codebook_rate=0.0, slices=(1, 3, 12), codebook_size=256, codebook_width=16)
SINGLE = replace(PHOTO_VQ, codebook_rate=0.0, slices=(1,), codebook_size=512, codebook_width=256)


class ResidualQuantizer(nn.Module):
    """Codebooks of whole vectors, each for what the ones before it leave (residual VQ, Juang and Gray 1982)."""

    def __init__(self, stages: int, size: int, width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(CodebookQuantizer(1, size, width) for _ in range(stages))

    def forward(self, latents: Tensor) -> Quantized:
        rest, codes, losses = latents, [], []
        for stage in self.stages:
            found = stage(rest)
            codes.append(found.codes)
            losses.append(found.loss)
            rest = rest - stage.lookup(found.codes)
        chosen = torch.cat(codes, 1)
        return Quantized(latents - rest.detach(), chosen, chosen, torch.stack(losses).mean())

    def codes(self, latents: Tensor) -> Tensor:
        """Index (B, stages, h, w) int64 of every stage."""
        codes = []
        for stage in self.stages:
            codes.append(stage.codes(latents))
            latents = latents - stage.lookup(codes[-1])
        return torch.cat(codes, 1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Latents (B, width, h, w) of index codes."""
        return sum(stage.lookup(one) for stage, one in zip(self.stages, codes.split(1, 1), strict=True))

    @torch.no_grad()
    def start_on(self, latents: Tensor) -> None:
        """Begin all stages with k-means."""
        for stage in self.stages:
            stage.start_on(latents)
            latents = latents - stage.lookup(stage.codes(latents))


def grid(config: ModelConfig, images: Tensor) -> VQVAE:
    """Rounding, on a common grid or from the prior's means; the prior begins with the spread of each channel."""
    model = VQVAE(config)
    model.load_state_dict(weights.load_networks(weights.resolve("photo")).state_dict())
    model.prior = ContextPrior(config, config.slices)
    with torch.no_grad():
        latents = model.latents(images, torch.full((len(images),), LEVEL))
        start_scales(model.prior, latents.std((0, 2, 3)).expand(config.quality_levels, -1))
    return model


def codebooks(config: ModelConfig, images: Tensor) -> VQVAE:
    """Learned codebooks of groups of channels, or of whole vectors."""
    return go_on_as(weights.load_networks(weights.resolve("photo")), config, images)


def residual(config: ModelConfig, images: Tensor) -> VQVAE:
    """Learned codebooks of what is left by the ones before."""
    model = codebooks(config, images)
    model.quantizer = ResidualQuantizer(sum(config.slices), config.codebook_size, config.channels)
    with torch.no_grad():
        model.quantizer.start_on(model.latents(images, torch.zeros(len(images))))
        for block in model.prior.blocks():
            block.head_bias.zero_()
    return model


ROWS: dict[str, tuple[Callable[[ModelConfig, Tensor], VQVAE] | None, ModelConfig]] = {
    "integer grid, centred on the prior's means": (grid, PHOTO),
    "integer grid": (grid, replace(PHOTO, centred=False)),
    "product of 64 codebooks of 128, by distance and rate": (codebooks, PHOTO_VQ),
    "product of 64 codebooks of 128, by distance": (codebooks, PRODUCT),
    "residual, 16 stages of 256 whole vectors": (residual, RESIDUAL),
    "one codebook of 512 whole vectors": (codebooks, SINGLE),
    "the textbook VQ-VAE, 512 codes at stride 8": (None, PLAIN),
}


def trained(name: str, config: TrainConfig, sampler: CropSampler) -> VQVAE:
    """The model of one row at the end of its run."""
    torch.manual_seed(config.seed)
    build, shape = ROWS[name]
    if build is None:
        return train(start(shape, config, sampler, torch.device("cpu")), sampler)
    images = torch.from_numpy(sampler.batch(0, 0, START_CROPS)).permute(0, 3, 1, 2) / 255.0
    level = LEVEL if shape.quality_levels > 1 else 0.0
    return train(Trainer(build(shape, images), replace(config, level=level), torch.device("cpu")), sampler)


@torch.inference_mode()
def use_of_codes(model: VQVAE, level: float, photos: Sequence[np.ndarray]) -> tuple[float, float, int]:
    """Live codes and perplexity, means over the codebooks (of the grid: its channels), and how many these are."""
    found = []
    position = torch.full((1,), level)
    for photo in centre_crops(photos, model.config.multiple, len(photos)):
        codes = model.analyze(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255.0, position)[0]
        if model.config.centred:
            codes = (codes - model.prior(codes, position)[:, :, 0]).round()
        found.append(codes[0].flatten(1).long())
    counts = [torch.bincount(group - group.min()).double() for group in torch.cat(found, 1)]
    shares = [(count / count.sum()).clamp(min=1e-30) for count in counts]
    perplexity = [float(torch.exp(-(share * share.log()).sum())) for share in shares]
    return float(np.mean([int((count > 0).sum()) for count in counts])), float(np.mean(perplexity)), len(counts)


def against(point: tuple[float, float, float], control: Curve) -> float | None:
    """Bits over those of a control's curve at equal PSNR, in percent; None where the curve does not go so low."""
    rates, decibels = [one[0] for one in control], [one[2] for one in control]
    if not decibels[0] <= point[2] <= decibels[-1]:
        return None
    return float(100 * (point[0] / np.exp(np.interp(point[2], decibels, np.log(rates))) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train-photos, train-exact and val-photos")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=3, help="use every n-th validation photo")
    parser.add_argument("--output", type=Path, default=Path("scripts/results/quantizer_ablation.json"))
    arguments = parser.parse_args()
    photos = load_folders([arguments.data / "train-photos", arguments.data / "train-exact"])
    held_out = load_folders([arguments.data / "val-photos"])[:: arguments.every]
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    known |= {"steps": arguments.steps, "photos": len(held_out)}
    if "photo" not in known:
        levels = [float(level) for level in range(PHOTO.quality_levels)]
        known["photo"] = curve(weights.load_networks(weights.resolve("photo")), held_out, levels)
        arguments.output.write_text(json.dumps(known, indent=1) + "\n")
    config = TrainConfig(steps=arguments.steps, crop=160, peak_rate=1e-3, warmup_steps=50, decay=0.5)
    print("quantiser | bpp | PSNR, dB | bits against photo | live codes | perplexity")
    for name, (_, shape) in ROWS.items():
        if name not in known:
            begun = time.monotonic()
            sampler = CropSampler(photos, config.crop, 32, config.seed)
            model = trained(name, config, sampler)
            level = LEVEL if shape.quality_levels > 1 else 0.0
            bpp, _, decibels = curve(model, held_out, [level])[0]
            live, perplexity, books = use_of_codes(model.eval(), level, held_out)
            known[name] = {
                "bpp": bpp, "psnr": decibels, "live": live, "perplexity": perplexity, "codebooks": books,
                "seconds": time.monotonic() - begun,
            }  # fmt: skip
            arguments.output.write_text(json.dumps(known, indent=1) + "\n")
        row = known[name]
        change = against((row["bpp"], 0.0, row["psnr"]), known["photo"])
        bits = "beyond its range" if change is None else f"{change:+.1f} %"
        shown = f"{row['bpp']:.4f} | {row['psnr']:.2f} | {bits} | {row['live']:.0f} | {row['perplexity']:.1f}"
        print(f"{name} | {shown}", flush=True)


if __name__ == "__main__":
    main()
