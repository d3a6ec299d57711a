"""The bridge: a training checkpoint becomes one model file of exact integer networks (torch)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vqcodec import architecture, checkpoint, model_file
from vqcodec.calibration import crops, input_moments
from vqcodec.config import ModelConfig, from_json, to_json
from vqcodec.errors import InvalidInputError, InvalidModelError
from vqcodec.integer_prior import integer_prior
from vqcodec.integer_transform import integer_transform
from vqcodec.models import VQVAE
from vqcodec.photos import load_folders


def export_checkpoint(folder: Path, *, name: str, description: str, photos: Path | None = None) -> bytes:
    """Model file (safetensors bytes) of a checkpoint's averaged weights, maybe rounded by a folder of photos.

    InvalidModelError when there is none.
    """
    model, provenance = load_checkpoint(folder)
    images = crops(load_folders([photos]), model.config.multiple) if photos else ()
    return export_model(model, name=name, description=description, provenance=provenance, images=images)


def load_checkpoint(folder: Path) -> tuple[VQVAE, dict[str, Any]]:
    """The float model of a checkpoint's averaged weights, in evaluation mode, and how it was trained."""
    found = checkpoint.latest(folder)
    if found is None:
        raise InvalidModelError(f"no checkpoint in {folder}")
    step, tensors, texts = checkpoint.load(found)
    state = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(("average.", "buffer."))}
    try:
        model = VQVAE(from_json(ModelConfig, texts["model"])).eval()
        model.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InvalidModelError(f"{found} does not fit this version: {error}") from error
    return model, {"step": step, "train": json.loads(texts["train"])}


def export_model(
    model: VQVAE,
    *,
    name: str,
    description: str,
    provenance: dict[str, Any] | None = None,
    images: Sequence[Tensor] = (),
) -> bytes:
    """Model file (safetensors bytes) of a float model: integer transform and prior, config as metadata.

    Batches of `images` (B, 3, H, W) float in [0, 1] let the prior be rounded by what it sees of them.
    """
    if images and model.coarse is not None:
        raise InvalidInputError("a model of two levels cannot be rounded by photos")
    moments = input_moments(model, images) if images else None
    tensors = integer_transform(model) | integer_prior(model, moments)
    config = {
        "name": name,
        "description": description,
        "model": json.loads(to_json(model.config)),
        "runtime": architecture.runtime(model.config),
        "provenance": provenance or {},
    }
    return model_file.save({name: tensor.numpy() for name, tensor in tensors.items()}, config)
