"""Layers of float networks as integers with power-of-two scales, and back (torch).

A layer of the runtime computes `(W x + b + half) >> shift` with one shift for every output; it is exact
as long as `sum |W| max |x| + |b| + half` stays below 2^31 (Nagel et al. 2021, with scales that are shifts).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqcodec.errors import InvalidModelError

ACCUMULATOR_LIMIT = 2**31 - 1
MAX_SHIFT = 30
DAMPING = 0.01  # of the second moments, relative to their mean: what was seen is not all there is
LARGEST = {torch.int8: 127, torch.int16: 32767}


def integer_layer(
    name: str, weight: Tensor, bias: Tensor, largest: int, dtype: torch.dtype, moments: Tensor | None = None
) -> dict[str, Tensor]:
    """Tensors `name.weight`, `.bias` and `.shift` of the affine map from integers to integers that rounds least.

    `weight` (outputs, inputs) and `bias` (outputs,) or (levels, outputs) are in units of the output; no
    input exceeds `largest`. With the second `moments` (inputs + 1, inputs + 1) of the inputs and of 1, the outputs
    change least, else the weights. InvalidModelError where even a shift of 0 could overflow.
    """
    weight, bias = weight.detach().double(), bias.detach().double()
    outputs = weight.shape[0]
    peak = weight.abs().amax(1).clamp(min=1e-12)
    shift = torch.floor(torch.log2((LARGEST[dtype] + 0.49) / peak)).clamp(max=MAX_SHIFT)
    for _ in range(2 * MAX_SHIFT):
        rows, change = _rounded(weight * 2.0 ** shift[:, None], LARGEST[dtype], moments)
        offsets = (bias * 2.0**shift + change).round()
        half = torch.floor(2.0 ** (shift - 1))
        bound = rows.abs().sum(1) * largest + offsets.abs().reshape(-1, outputs).amax(0) + half
        over = (bound >= ACCUMULATOR_LIMIT) & (shift > 0)
        if not bool(over.any()):
            break
        shift = shift - over.double()
    if not bool(((shift >= 0) & (bound < ACCUMULATOR_LIMIT)).all()):  # false for NaN, too
        raise InvalidModelError(
            f"{name}: weights are too large for the integer runtime (largest {float(peak.max()):.2f})"
        )
    return {
        f"{name}.weight": rows.to(dtype),
        f"{name}.bias": offsets.to(torch.int32),
        f"{name}.shift": shift.to(torch.uint8),
    }


def second_moments(inputs: Tensor) -> Tensor:
    """Sums (inputs + 1, inputs + 1) of the products of inputs (N, inputs), and of 1, over the N."""
    known = torch.cat([inputs.double(), torch.ones(len(inputs), 1, dtype=torch.double)], 1)
    return known.T @ known


def _rounded(weight: Tensor, limit: int, moments: Tensor | None) -> tuple[Tensor, Tensor]:
    """Integers within +-limit for weights (outputs, inputs), and what to add to the bias (outputs,).

    With moments, inputs are rounded one after the other, and the error of each is made up for by those still to be
    rounded: Frantar et al. 2023, "GPTQ".
    """
    outputs, inputs = weight.shape
    if moments is None:
        return weight.round().clamp(-limit, limit), weight.new_zeros(outputs)
    damping = torch.full((inputs + 1,), DAMPING * float(moments.diagonal()[:-1].mean()), dtype=torch.double)
    damping[-1] = 0.0  # the last input is 1, whatever is seen: its weight is the bias
    spread = torch.linalg.cholesky(torch.linalg.inv(moments + damping.diag()), upper=True)
    rest = torch.cat([weight, weight.new_zeros(outputs, 1)], 1)
    for column in range(inputs):
        error = rest[:, column] - rest[:, column].round().clamp(-limit, limit)
        rest[:, column:] -= error[:, None] * (spread[column, column:] / spread[column, column])
    return rest[:, :inputs].round(), rest[:, inputs]


def float_layer(name: str, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mirror of `integer_layer`: float32 weight and bias in units of the output."""
    weight, bias, shift = (tensors[f"{name}.{part}"].double() for part in ("weight", "bias", "shift"))
    return (weight / 2.0 ** shift[:, None]).float(), (bias / 2.0**shift).float()
