"""The bridge: a training checkpoint becomes one model file of exact integer networks (torch).

Integers of the prior (see rust/core/FORMAT.md): weights int8 with a power-of-two scale per output,
biases int32, activations int16 with 8 fractional bits, context features with 3 (codes) or 8
(embeddings), means and logits in 1/256, scale classes in 1/16 octave above 2^-6.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from vqcodec import architecture, checkpoint
from vqcodec.config import ModelConfig, from_json, to_json
from vqcodec.errors import InvalidModelError
from vqcodec.integer_transform import integer_transform
from vqcodec.integers import integer_layer
from vqcodec.models import VQVAE
from vqcodec.prior import FEATURE_LIMIT, MIN_LOG2_SCALE, PriorSlice, TapConv

ACTIVATION_BITS = 8
CODE_BITS = 3
EMBEDDING_BITS = 8
OUTPUT_BITS = 8  # means and logits
CLASS_BITS = 4  # scale classes: 1/16 octave
ACTIVATION_MAX = 32_767
WEIGHT_MAX = 127


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


@torch.no_grad()
def integer_prior(model: VQVAE) -> dict[str, Tensor]:
    """Integer tensors of the prior under the runtime's names."""
    grid = model.config.quantizer == "grid"
    tensors: dict[str, Tensor] = {}
    if not grid:
        scaled = (model.embedding * 2**EMBEDDING_BITS).round().clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        tensors["prior.embedding"] = scaled.to(torch.int16)
    for number, block in enumerate(model.prior.blocks()):
        tensors |= _integer_slice(block, f"prior.{number}", grid)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _integer_slice(block: PriorSlice, prefix: str, grid: bool) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    bits = CODE_BITS if grid else EMBEDDING_BITS
    largest = int(FEATURE_LIMIT) << CODE_BITS
    contexts = _context_weights(block)
    divisor = _divisors(contexts, WEIGHT_MAX / 2.0 ** (ACTIVATION_BITS - bits))
    for step, weight in enumerate(contexts):
        weight, bias = weight / divisor[:, None], block.context_bias[step] / divisor
        tensors |= _prior_layer(f"{prefix}.{step}.context", weight, bias, bits, ACTIVATION_BITS, largest)
    hidden = {"hidden1": block.hidden1.weight.flatten(1) * divisor, "hidden2": block.hidden2.weight.flatten(1)}
    for layer, weight in hidden.items():
        bias = getattr(block, layer).bias
        tensors |= _prior_layer(f"{prefix}.{layer}", weight, bias, ACTIVATION_BITS, ACTIVATION_BITS, ACTIVATION_MAX)
    weight, bias = block.head.weight.flatten(1), block.head_bias.clone()
    output_bits = torch.full((weight.shape[0],), OUTPUT_BITS)
    if grid:  # first the means, then the scale classes, counted from the smallest scale
        output_bits[weight.shape[0] // 2 :] = CLASS_BITS
        bias[:, weight.shape[0] // 2 :] -= MIN_LOG2_SCALE
    return tensors | _prior_layer(f"{prefix}.head", weight, bias, ACTIVATION_BITS, output_bits, ACTIVATION_MAX)


def _context_weights(block: PriorSlice) -> list[Tensor]:
    """Weights (hidden, taps * features) of each step's context layer, in the runtime's order."""
    own = [conv.weight.flatten(1) for conv in block.contexts if isinstance(conv, TapConv)]
    if block.first:
        return own
    cross = block.cross.weight.flatten(1)
    return [cross, torch.cat([cross, own[0]], 1)]


def _divisors(weights: list[Tensor], limit: float) -> Tensor:
    """Power of two per hidden unit that brings its context weights below `limit`.

    A clipped ReLU lets a scale through, so the next layer takes it back exactly (cross-layer
    equalisation, Nagel et al. 2019); the unit's activations lose that many fractional bits.
    """
    peak = torch.stack([weight.abs().amax(1) for weight in weights]).amax(0)
    return torch.exp2(torch.ceil(torch.log2(peak / limit)).clamp(min=0.0))


def _prior_layer(
    name: str, weight: Tensor, bias: Tensor, input_bits: int, output_bits: int | Tensor, largest: int
) -> dict[str, Tensor]:
    """A layer whose inputs and outputs (maybe one by one) have these fractional bits, with int8 weights."""
    output_bits = torch.as_tensor(output_bits).expand(weight.shape[0])
    scaled = weight * torch.exp2(output_bits - input_bits)[:, None]
    return integer_layer(name, scaled, bias * torch.exp2(output_bits), largest, torch.int8)
