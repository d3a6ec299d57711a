"""The bridge: a training checkpoint becomes one model file of exact integer networks (torch)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors

from vqcodec import architecture, checkpoint
from vqcodec.config import ModelConfig, from_json, to_json
from vqcodec.errors import InvalidModelError
from vqcodec.integer_prior import integer_prior
from vqcodec.integer_transform import integer_transform
from vqcodec.models import VQVAE


def export_checkpoint(folder: Path, *, name: str, description: str) -> bytes:
    """Model file (safetensors bytes) of a checkpoint's averaged weights; InvalidModelError when there is none."""
    model, provenance = load_checkpoint(folder)
    return export_model(model, name=name, description=description, provenance=provenance)


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


def export_model(model: VQVAE, *, name: str, description: str, provenance: dict[str, Any] | None = None) -> bytes:
    """Model file (safetensors bytes) of a float model: integer transform and prior, config as metadata."""
    tensors = integer_transform(model) | integer_prior(model)
    config = {
        "name": name,
        "description": description,
        "model": json.loads(to_json(model.config)),
        "runtime": architecture.runtime(model.config),
        "provenance": provenance or {},
    }
    return save_tensors(tensors, {"config": json.dumps(config, sort_keys=True)})
