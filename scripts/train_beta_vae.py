"""Train beta-VAEs of photos for several betas, make each an ordinary model file, and print their curve.

    python scripts/train_beta_vae.py ../shared/data --output runs/beta --betas 64 16 4 --steps 300

Each starts from the transform of `--from`, at the quality whose lambda the beta has, or with `--from pca` from
probabilistic PCA. (To go on from a larger beta was worse: latents that have collapsed do not come back.) Every model
has three quality levels: steps of 2, 1.41 and 1 times sqrt(12) posterior deviations. Kodak's curves are measured on
whole files, at effort 0, `photo` beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from quantizers import rate_and_psnr
from rd_benchmark import load_photos
from torch import Tensor
from torch.nn import functional as F

import vqcodec
from vqcodec import metrics, weights
from vqcodec.beta_vae import BetaVAE, Objective
from vqcodec.bounds import active_units, bits_per_dim, dequantized, elbo, iwae
from vqcodec.config import ModelConfig
from vqcodec.export import export_model
from vqcodec.models import VQVAE, start_from_pca
from vqcodec.nets import fast_bf16
from vqcodec.photos import CropSampler, load_folders
from vqcodec.train import SKIP_RATE
from vqcodec.vae_codec import as_codec, picture_vae, trade_off

NOISE = 0.02  # deviation of the pixels, 5 grey levels
WIDTHS = (2.0, 2.0**0.5, 1.0)
CROP, BATCH, FITTED = 128, 8, 64  # FITTED: crops on which tables and steps are fitted
PICTURE_DIMS = 3 * CROP * CROP


@dataclass(frozen=True)
class Crops:
    """Training crops, and crops of other photos to measure on."""

    train: CropSampler
    validation: CropSampler


def pictures(sampler: CropSampler, step: int, count: int) -> Tensor:
    """Crops (count, 3, CROP, CROP) uint8."""
    return torch.from_numpy(sampler.batch(step, 0, count)).permute(0, 3, 1, 2)


def begin(source: str, beta: float, crops: Crops) -> tuple[VQVAE, float]:
    """A grid model to start from and the quality position whose lambda the beta has."""
    wanted = trade_off(NOISE, beta)
    if source == "pca":
        model = VQVAE(ModelConfig(quality_levels=1, lambda_min=wanted, lambda_max=wanted))
        patches = torch.from_numpy(crops.train.patches(50_000, 16)).permute(0, 3, 1, 2).float() / 255.0 - 0.5
        start_from_pca(model, F.pixel_unshuffle(patches, 16).flatten(1))
        return model, 0.0
    model = weights.load_networks(weights.resolve(source))
    return model, model.config.level_at(wanted)


def train(vae: BetaVAE, crops: Crops, steps: int, rate: float, seed: int) -> float:
    """Adam with a rate that falls linearly; returns the seconds it took."""
    skips = [p for name, p in vae.named_parameters() if "skip" in name]
    rest = [p for name, p in vae.named_parameters() if "skip" not in name and p.requires_grad]
    groups = [{"params": rest, "lr": rate}, {"params": skips, "lr": rate * SKIP_RATE}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    bf16, started = fast_bf16(torch.device("cpu")), time.perf_counter()
    vae.to(memory_format=torch.channels_last).train()
    for step in range(steps):
        images = pictures(crops.train, seed * 1_000_003 + step, BATCH).float() / 255.0
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = vae(images.contiguous(memory_format=torch.channels_last), step)
        optimizer.zero_grad()
        (losses.total / PICTURE_DIMS).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            bpp = float(losses.kl.detach().mean()) / math.log(2.0) / CROP**2
            print(f"step {step}: {bpp:.3f} bpp, {time.perf_counter() - started:.0f} s", flush=True)
    return time.perf_counter() - started


@torch.inference_mode()
def bounds(vae: BetaVAE, crops: Crops, samples: int = 10) -> dict[str, Any]:
    """Active units and bounds in bits/dim on validation crops of 8-bit pixels, dequantised."""
    torch.manual_seed(0)
    values = pictures(crops.validation, 0, 32)
    parts = [dequantized(one) for one in values.split(8)]
    means = torch.cat([vae.posterior(one).mean for one in parts])
    found = {
        "ELBO": torch.cat([elbo(vae, one) for one in parts]),
        f"IWAE-{samples}": torch.cat([iwae(vae, one, samples, chunk=2) for one in parts]),
    }
    bits = {name: round(float(bits_per_dim(nats.mean(), PICTURE_DIMS, 1 / 256)), 3) for name, nats in found.items()}
    return {"active_units": int(active_units(means).sum()), "bits_per_dim": bits}


def curve(model: str | Path, photos: list[Any], qualities: list[float]) -> list[dict[str, float]]:
    """Mean bits per pixel of whole files and mean PSNR at each quality, effort 0."""
    codec, rows = vqcodec.load(model), []
    for quality in qualities:
        bpp, decibels = rate_and_psnr(codec, [photo.pixels for photo in photos], quality)
        rows.append({"quality": quality, "bpp": bpp, "psnr": decibels})
    return rows


def best_rows(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows, by rate, that none beats in both rate and PSNR."""
    best: list[dict[str, float]] = []
    for row in sorted(rows, key=lambda one: one["bpp"]):
        if not best or row["psnr"] > best[-1]["psnr"]:
            best.append(row)
    return best


def bd_rate(anchor: list[dict[str, float]], tested: list[dict[str, float]]) -> float:
    """% of bytes that `tested` takes more than `anchor` at equal PSNR."""
    return metrics.bd_rate(*([row[key] for row in rows] for rows in (anchor, tested) for key in ("bpp", "psnr")))


def markdown(results: dict[str, Any]) -> str:
    """A row for each model and step; then what it comes to."""
    lines = [
        "| beta | step | bpp | PSNR, dB | active units | ELBO, bits/dim |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for found in results["models"]:
        for width, row in zip(WIDTHS, found["curve"], strict=True):
            cells = (f"{found['beta']:g}", f"{width:.2f}", f"{row['bpp']:.3f}", f"{row['psnr']:.2f}")
            last = (f"{found['active_units']} of {found['latents']}", f"{found['bits_per_dim']['ELBO']:.2f}")
            lines.append(f"| {' | '.join(cells + last)} |")
    return "\n".join(lines) + f"\n\nBytes at equal PSNR against `photo`: {results['bd_rate_to_photo']:+.1f} %\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train-photos, val-photos and kodak")
    parser.add_argument("--output", type=Path, default=Path("runs/beta"), help="folder of the model files")
    parser.add_argument("--betas", type=float, nargs="+", default=[16.0, 4.0, 64.0])
    parser.add_argument("--from", dest="source", default="photo", help="model to start from, or pca")
    parser.add_argument("--steps", type=int, default=300, help="of each beta")
    parser.add_argument("--rate", type=float, default=4e-4, help="learning rate at the start")
    parser.add_argument("--warmup-steps", type=int, default=0, help="over which beta grows")
    parser.add_argument("--free-nats", type=float, default=0.0, help="of a latent, which the KL does not charge")
    parser.add_argument("--results", type=Path, help="JSON; .md is written beside it")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    folders = (options.data / "train-photos", options.data / "val-photos")
    crops = Crops(*(CropSampler(load_folders([folder]), CROP, 32, 0) for folder in folders))
    kodak, fitted = load_photos(options.data / "kodak"), pictures(crops.train, 1 << 40, FITTED).float() / 255.0
    models = []
    for number, beta in enumerate(options.betas):
        torch.manual_seed(number)
        objective = Objective(beta, options.warmup_steps, options.free_nats)
        model, position = begin(options.source, beta, crops)
        vae = picture_vae(model, position, fitted, noise=NOISE, objective=objective)
        seconds = train(vae, crops, options.steps, options.rate, number)
        codec, path = as_codec(vae.eval(), fitted, WIDTHS), options.output / f"beta{beta:g}.safetensors"
        path.write_bytes(export_model(codec, name=f"beta-vae-{beta:g}", description=f"beta-VAE, beta {beta:g}"))
        found = {"beta": beta, "latents": vae.latents, "steps": options.steps, "train_seconds": round(seconds)}
        models.append(found | bounds(vae, crops) | {"curve": curve(path, kodak, [0.0, 50.0, 100.0])})
        print(json.dumps(models[-1]), flush=True)
    photo = curve("photo", kodak, [100.0 * level / 7 for level in range(8)])
    together = best_rows([row for found in models for row in found["curve"]])
    results = {"models": models, "photo": photo, "bd_rate_to_photo": bd_rate(photo, together)}
    print(markdown(results))
    if options.results:
        options.results.write_text(json.dumps(results, indent=1) + "\n")
        options.results.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
