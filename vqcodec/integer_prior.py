"""The bridge for the prior: the float context prior to the runtime's integers, and back (torch).

Units of the integers (see rust/core/FORMAT.md): weights int8 with a power-of-two scale per output,
biases int32, activations int16 with 8 fractional bits, context features with 3 (codes) or 8
(embeddings), means and logits in 1/256, scale classes in 1/16 octave above 2^-6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.calibration import Moments
from vqcodec.coarse import CoarseLevel
from vqcodec.integers import float_layer, integer_layer
from vqcodec.models import VQVAE
from vqcodec.prior import FEATURE_LIMIT, MIN_LOG2_SCALE, PriorSlice, TapConv

ACTIVATION_BITS = 8
CODE_BITS = 3
EMBEDDING_BITS = 8
OUTPUT_BITS = 8  # means and logits
CLASS_BITS = 4  # scale classes: 1/16 octave
ACTIVATION_MAX = 32_767
WEIGHT_MAX = 127


@torch.no_grad()
def integer_prior(model: VQVAE, moments: Moments | None = None) -> dict[str, Tensor]:
    """Integer tensors of the priors of all levels under the runtime's names, rounded by `input_moments` if given."""
    tensors: dict[str, Tensor] = {}
    for prefix, level in _levels(model):
        if model.config.quantizer == "codebook":
            scaled = (level.embedding * 2**EMBEDDING_BITS).round().clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
            tensors[f"{prefix}.embedding"] = scaled.to(torch.int16)
        for number, block in enumerate(level.prior.blocks()):
            tensors |= _integer_slice(block, f"{prefix}.{number}", _feature_bits(model), moments or {})
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def load_integer_prior(model: VQVAE, tensors: dict[str, Tensor]) -> None:
    """Mirror of `integer_prior`: the priors' float parameters; KeyError, RuntimeError for a misfit."""
    for prefix, level in _levels(model):
        if model.config.quantizer == "codebook":
            level.embedding.copy_(tensors[f"{prefix}.embedding"] / 2**EMBEDDING_BITS)
        for number, block in enumerate(level.prior.blocks()):
            _load_slice(block, f"{prefix}.{number}", _feature_bits(model), tensors)


def _levels(model: VQVAE) -> list[tuple[str, VQVAE | CoarseLevel]]:
    """What holds the prior and the embedding of each level, and the names of their tensors."""
    coarse = [] if model.coarse is None else [("coarse.prior", model.coarse)]
    return [*coarse, ("prior", model)]


def _feature_bits(model: VQVAE) -> int:
    return CODE_BITS if model.config.quantizer == "grid" else EMBEDDING_BITS


def _integer_slice(block: PriorSlice, prefix: str, feature_bits: int, moments: Moments) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    largest = int(FEATURE_LIMIT) << CODE_BITS
    contexts = _context_weights(block)
    divisor = _divisors(contexts, WEIGHT_MAX / 2.0 ** (ACTIVATION_BITS - feature_bits))
    for step, weight in enumerate(contexts):
        name, bias = f"{prefix}.{step}.context", block.context_bias[step] / divisor
        seen = _scaled(moments.get(name), 2.0**feature_bits)
        tensors |= _to_integers(name, weight / divisor[:, None], bias, feature_bits, ACTIVATION_BITS, largest, seen)
    for layer, conv, gain in (("hidden1", block.hidden1, divisor), ("hidden2", block.hidden2, torch.ones(1))):
        assert conv.bias is not None
        name, weight = f"{prefix}.{layer}", conv.weight.flatten(1) * gain
        seen = _scaled(moments.get(name), 2.0**ACTIVATION_BITS / gain)
        tensors |= _to_integers(name, weight, conv.bias, ACTIVATION_BITS, ACTIVATION_BITS, ACTIVATION_MAX, seen)
    output_bits, offset = _head_units(block, feature_bits == CODE_BITS)
    name, weight, bias = f"{prefix}.head", block.head.weight.flatten(1), block.head_bias - offset
    seen = _scaled(moments.get(name), 2.0**ACTIVATION_BITS)
    return tensors | _to_integers(name, weight, bias, ACTIVATION_BITS, output_bits, ACTIVATION_MAX, seen)


def _scaled(moments: Tensor | None, unit: float | Tensor) -> Tensor | None:
    """Moments of inputs, of which 1 is `unit` to the layer, as the layer sees them; its last input is 1 as it is."""
    if moments is None:
        return None
    units = torch.ones(len(moments), dtype=torch.double)
    units[:-1] *= unit
    return moments * units * units[:, None]


def _load_slice(block: PriorSlice, prefix: str, feature_bits: int, tensors: dict[str, Tensor]) -> None:
    """Mirror of `_integer_slice`; the divisors stay in the weights."""
    contexts = []
    for step in range(len(block.context_bias)):
        name = f"{prefix}.{step}.context"
        weight, bias = _from_integers(name, tensors, feature_bits, ACTIVATION_BITS)
        contexts.append(weight)
        block.context_bias[step].copy_(bias)
    _set_context_weights(block, contexts)
    for layer in ("hidden1", "hidden2"):
        weight, bias = _from_integers(f"{prefix}.{layer}", tensors, ACTIVATION_BITS, ACTIVATION_BITS)
        block.get_parameter(f"{layer}.weight").copy_(weight[..., None, None])
        block.get_parameter(f"{layer}.bias").copy_(bias)
    output_bits, offset = _head_units(block, feature_bits == CODE_BITS)
    weight, bias = _from_integers(f"{prefix}.head", tensors, ACTIVATION_BITS, output_bits)
    block.head.weight.copy_(weight[..., None, None])
    block.head_bias.copy_(bias + offset)


def _context_weights(block: PriorSlice) -> list[Tensor]:
    """Weights (hidden, taps * features) of each step's context layer, in the runtime's order."""
    own = [conv.weight.flatten(1) for conv in block.contexts if isinstance(conv, TapConv)]
    earlier: list[Tensor] = [part.weight for part in (block.condition, block.cross) if part is not None]
    if not earlier:
        return own
    seen = torch.cat(earlier, 2).flatten(1)
    if block.first:
        return [torch.cat([seen, weight], 1) for weight in own]
    return [seen, torch.cat([seen, own[0]], 1)]


def _set_context_weights(block: PriorSlice, weights: list[Tensor]) -> None:
    """Mirror of `_context_weights`."""
    earlier = [part for part in (block.condition, block.cross) if part is not None]
    if earlier:
        taps = earlier[0].weight.shape[1]
        widths = [part.weight.shape[2] for part in earlier]
        width = sum(widths)
        seen = weights[0][:, : taps * width].reshape(len(weights[0]), taps, width)
        for part, weight in zip(earlier, torch.split(seen, widths, 2), strict=True):
            part.weight.copy_(weight)
        weights = [weight[:, taps * width :] for weight in weights if weight.shape[1] > taps * width]
    for conv, weight in zip(block.contexts, weights, strict=True):
        assert isinstance(conv, TapConv)
        conv.weight.copy_(weight.reshape(conv.weight.shape))


def _head_units(block: PriorSlice, grid: bool) -> tuple[Tensor, Tensor]:
    """Fractional bits of each output, and what its integers are counted from."""
    outputs = block.head.out_channels
    scales = torch.arange(outputs) >= outputs // 2 if grid else torch.zeros(outputs, dtype=torch.bool)
    return torch.where(scales, CLASS_BITS, OUTPUT_BITS), torch.where(scales, MIN_LOG2_SCALE, 0.0)


def _divisors(weights: list[Tensor], limit: float) -> Tensor:
    """Power of two per hidden unit that brings its context weights below `limit`.

    A clipped ReLU lets a scale through, so the next layer takes it back exactly (cross-layer
    equalisation, Nagel et al. 2019); the unit's activations lose that many fractional bits.
    """
    peak = torch.stack([weight.abs().amax(1) for weight in weights]).amax(0)
    return torch.exp2(torch.ceil(torch.log2(peak / limit)).clamp(min=0.0))


def _to_integers(
    name: str,
    weight: Tensor,
    bias: Tensor,
    input_bits: int,
    output_bits: int | Tensor,
    largest: int,
    moments: Tensor | None,
) -> dict[str, Tensor]:
    """A layer whose inputs and outputs (maybe one by one) have these fractional bits, with int8 weights."""
    output_bits = torch.as_tensor(output_bits).expand(weight.shape[0])
    scaled = weight * torch.exp2(output_bits - input_bits)[:, None]
    return integer_layer(name, scaled, bias * torch.exp2(output_bits), largest, torch.int8, moments)


def _from_integers(
    name: str, tensors: dict[str, Tensor], input_bits: int, output_bits: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Mirror of `_to_integers`: weight and bias."""
    weight, bias = float_layer(name, tensors)
    output_bits = torch.as_tensor(output_bits).expand(weight.shape[0])
    return weight / torch.exp2(output_bits - input_bits)[:, None], bias / torch.exp2(output_bits)
