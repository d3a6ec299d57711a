"""Training loop: rate-distortion training of a VQ-VAE on CUDA or CPU, alone or under torchrun.

Everything a step depends on is a function of (seed, step, rank), and the optimiser's state is in the
checkpoint, so a killed run resumes on the same loss curve.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vqcodec import checkpoint
from vqcodec.config import ModelConfig, TrainConfig, from_json, to_json
from vqcodec.distortion import distortion
from vqcodec.errors import InvalidInputError, InvalidModelError
from vqcodec.models import VQVAE, Losses, start_from_pca
from vqcodec.nets import fast_bf16
from vqcodec.photos import CropSampler, centre_crops
from vqcodec.progress import TrainingLog

SKIP_RATE = 0.1  # the linear skips learn slowly: their entries are small and already good
VALIDATION_PHOTOS = 8


def learning_rate(config: TrainConfig, step: int) -> float:
    """Warm-up, plateau, then a linear fall to zero over the last `decay` share of the steps."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    left = max(config.steps - step, 0) / max(config.steps * config.decay, 1.0)
    return config.peak_rate * min(warm, left, 1.0)


def spread_levels(step: int, rank: int, count: int, config: TrainConfig, levels: int) -> Tensor:
    """Quality positions (count,) of one process's images: stratified, so every step sees all levels."""
    if config.level is not None:
        return torch.full((count,), config.level)
    rng = np.random.default_rng([config.seed, step, rank, 1])
    index = rank + config.batch // count * np.arange(count)  # every process sees low and high levels
    position = (index + rng.random(count)) / config.batch * levels - 0.5
    return torch.from_numpy(position.clip(0, levels - 1).astype(np.float32))


class Trainer:
    """Model, optimiser and weight average of one run, on one process."""

    def __init__(self, model: VQVAE, config: TrainConfig, device: torch.device) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.config = config
        self.device = device
        self.step = 0
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if config.batch % self.world:
            raise InvalidInputError(f"a batch of {config.batch} does not divide over {self.world} processes")
        self.bf16 = fast_bf16(device)
        self.average = [p.detach().clone() for p in model.parameters()]
        skips = [p for name, p in model.named_parameters() if "skip" in name]
        rest = [p for name, p in model.named_parameters() if "skip" not in name]
        groups = [{"params": group, "scale": scale} for group, scale in ((rest, 1.0), (skips, SKIP_RATE)) if group]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98), fused=True)
        self.parallel = self._parallel()

    def train_step(self, crops: np.ndarray, labels: np.ndarray | None = None) -> Losses:
        """One optimiser step on crops (B, S, S, 3) uint8 of this process; labels (B,) for a model that has some."""
        config, step = self.config, self.step
        self.model.train()
        torch.manual_seed(config.seed * 1_000_003 + step * 64 + self.rank)
        images = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255.0
        if self.model.config.labels:
            assert labels is not None
            level = torch.from_numpy(labels).float()
        else:
            level = spread_levels(step, self.rank, len(crops), config, self.model.config.quality_levels)
        level = level.to(self.device)
        self._settle()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step) * group["scale"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses: Losses = self.parallel(images, level, config.rate_exponent)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        keep = min(config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], 1.0 - keep)
        losses.log["gradient/norm"] = float(norm)
        return losses

    def _parallel(self) -> nn.Module:
        """The model, with gradients averaged over all processes."""
        return DistributedDataParallel(self.model, gradient_as_bucket_view=True) if self.world > 1 else self.model

    def _settle(self) -> None:
        """Near the end of a run of centred codes: the analysis stays what it is on average, scales fit the codes."""
        first = round(self.config.steps * (1.0 - self.config.settle))
        if not self.model.config.centred or self.step < first:
            return
        if self.step == first:
            with torch.no_grad():
                self._put(self.average)
        if not self.model.settled:
            self.model.settled = True
            self.model.analysis.requires_grad_(False)
            self.model.analysis_gain.requires_grad_(False)
            self.parallel = self._parallel()

    def save(self, folder: Path) -> None:
        """Round the moments as the checkpoint does, on every process; the first one writes."""
        tensors: dict[str, Tensor] = {}
        for (name, parameter), average in zip(self.model.named_parameters(), self.average, strict=True):
            tensors[f"weight.{name}"] = parameter.detach()
            tensors[f"average.{name}"] = average
            state = self.optimizer.state.get(parameter, {})
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in state:
                    tensors[f"{moment}.{name}"] = checkpoint.rounded(state[moment])
                    state[moment].copy_(tensors[f"{moment}.{name}"])
        tensors |= {f"buffer.{name}": buffer for name, buffer in self._buffers().items()}
        texts = {"model": to_json(self.model.config), "train": to_json(self.config)}
        if self.rank == 0:
            checkpoint.save(folder, self.step, {k: v.cpu() for k, v in tensors.items()}, texts)

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Mirror of `save`."""
        self.step = step
        with torch.no_grad():
            for (name, parameter), average in zip(self.model.named_parameters(), self.average, strict=True):
                parameter.copy_(tensors[f"weight.{name}"])
                average.copy_(tensors[f"average.{name}"])
                if f"exp_avg.{name}" in tensors:
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(step), device=self.device),
                        "exp_avg": torch.empty_like(parameter).copy_(tensors[f"exp_avg.{name}"]),
                        "exp_avg_sq": torch.empty_like(parameter).copy_(tensors[f"exp_avg_sq.{name}"]),
                    }
            for name, buffer in self._buffers().items():
                buffer.copy_(tensors[f"buffer.{name}"])

    def _buffers(self) -> dict[str, Tensor]:
        """What the model's state holds besides its parameters."""
        parameters = dict(self.model.named_parameters())
        return {name: value for name, value in self.model.state_dict().items() if name not in parameters}

    @torch.no_grad()
    def validate(self, photos: Sequence[np.ndarray]) -> dict[str, float]:
        """Rate, PSNR and log2 J of the averaged weights over whole photos and every other level."""
        live = [p.detach().clone() for p in self.model.parameters()]
        self._put(self.average)
        self.model.eval()
        config = self.model.config
        log: dict[str, float] = {}
        cost = []
        for position in range(0, config.quality_levels, 2):
            level = torch.full((1,), float(position), device=self.device)
            bpp, mse, lacking = [], [], []
            for photo in centre_crops(photos, config.multiple, VALIDATION_PHOTOS):
                image = torch.from_numpy(photo.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255.0
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    codes = self.model.analyze(image, level)
                    decoded = self.model.synthesize(codes, level)
                    bits = sum(float(one.sum()) for one in self.model.code_bits(codes, level))
                    bpp.append(bits / (photo.shape[0] * photo.shape[1]))
                mse.append(float((decoded - image).square().mean()))
                lacking.append(float(distortion(config, decoded, image)))
            log[f"validation/bpp_{position}"] = float(np.mean(bpp))
            log[f"validation/psnr_{position}"] = float(np.mean(-10.0 * np.log10(mse)))
            cost.append(np.log2(np.mean(bpp) + config.lambda_at(position) * np.mean(lacking)))
        log["validation/log2_cost"] = float(np.mean(cost))
        self._put(live)
        return log

    @torch.no_grad()
    def _put(self, weights: list[Tensor]) -> None:
        for parameter, value in zip(self.model.parameters(), weights, strict=True):
            parameter.copy_(value)


def start(model_config: ModelConfig, config: TrainConfig, sampler: CropSampler, device: torch.device) -> Trainer:
    """A fresh run, PCA-initialised where the transform has a linear skip."""
    torch.manual_seed(config.seed)
    model = VQVAE(model_config)
    if model_config.transform == "residual":
        patches = torch.from_numpy(sampler.patches(100_000, 16)).permute(0, 3, 1, 2).float() / 255.0 - 0.5
        start_from_pca(model, nn.functional.pixel_unshuffle(patches, 16).flatten(1))
    return Trainer(model, config, device)


def resume(folder: Path, device: torch.device, **changes: object) -> Trainer:
    """Continue a checkpoint; `changes` replace fields of its TrainConfig (for instance `steps`)."""
    step, tensors, texts = checkpoint.load(folder)
    try:
        config = replace(from_json(TrainConfig, texts["train"]), **changes)  # type: ignore[arg-type]
        trainer = Trainer(VQVAE(from_json(ModelConfig, texts["model"])), config, device)
        trainer.restore(step, tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InvalidModelError(f"{folder} does not fit this version: {error}") from error
    return trainer


def connect() -> torch.device:
    """Device of this process; joins the process group when started by torchrun."""
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    if cuda:
        torch.cuda.set_device(local)
    return torch.device("cuda", local) if cuda else torch.device("cpu")


def disconnect() -> None:
    """Mirror of `connect`."""
    if dist.is_initialized():
        dist.destroy_process_group()


def run(
    trainer: Trainer,
    sampler: CropSampler,
    validation: Sequence[np.ndarray],
    output: Path,
    log: TrainingLog,
    until: int,
    checkpoint_steps: int = 500,
) -> None:
    """Train to step `until`, saving and validating every `checkpoint_steps`; crops are prepared one step ahead."""
    config = trainer.config
    share = config.batch // trainer.world
    with ThreadPoolExecutor(1) as loader:
        ahead = loader.submit(sampler.batch, trainer.step, trainer.rank, share)
        while trainer.step < until:
            crops = ahead.result()
            ahead = loader.submit(sampler.batch, trainer.step + 1, trainer.rank, share)
            losses = trainer.train_step(crops, sampler.labels(trainer.step, trainer.rank, share))
            log.step(trainer.step, losses, crops.shape[1] ** 2 * config.batch)
            if trainer.step % checkpoint_steps == 0 or trainer.step == until:
                trainer.save(output)
                if validation and trainer.rank == 0:
                    log.validation(trainer.step, trainer.validate(validation))
