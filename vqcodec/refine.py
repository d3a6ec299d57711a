"""Gradient refinement of an image's latents before they are rounded (torch): the highest effort of encoding.

Stochastic Gumbel annealing (Yang, Bamler & Mandt 2020, section 3.2): each latent is drawn towards one of the two
codes around it by a relaxed random choice, whose temperature falls until it is one. Any codes are valid, so only
the encoder takes the time. Codes count from the prior's means, as they were a step before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vqcodec.config import VALUE_UNIT
from vqcodec.models import VQVAE
from vqcodec.nets import fast_bf16
from vqcodec.pixels import pad_to_multiple, windows
from vqcodec.prior import logistic_bits

STEPS = 200
RATE = 0.005  # Adam's learning rate, in quantiser steps
WARM = 0.3  # share of the steps at the highest temperature
HOT, COLD = 0.5, 0.05  # temperatures
INSIDE = 0.45  # how far a latent begins from its code, at most
CORE, MARGIN = 64, 8  # codes along a window's side, and around it


def refine(model: VQVAE, pixels: np.ndarray, level: float, codes: np.ndarray) -> np.ndarray:
    """Numbers (N, h, w) int32 in 1/256, to be settled as codes of fewer `bits + lambda * squared error` than the given.

    `pixels` (H, W, 3) uint8; for models of centred codes. The networks run where the model is, over
    windows of bounded memory, each with the codes around it as they are by then.
    """
    stride = model.config.stride
    padded = pad_to_multiple(pixels, stride)
    found: np.ndarray = codes.copy()
    _, rows, columns = codes.shape
    for window in windows(rows, columns, CORE, MARGIN):
        (top, bottom), (left, right) = ((cells.start, cells.stop) for cells in window.region)
        shown = np.ascontiguousarray(padded[top * stride : bottom * stride, left * stride : right * stride])
        counted = (pixels.shape[0] - top * stride, pixels.shape[1] - left * stride)
        everything = slice(None)
        region, core, inner = ((everything, *cells) for cells in (window.region, window.core, window.inner))
        found[core] = _refined(model, shown, counted, level, np.ascontiguousarray(found[region]))[inner]
    return found


def _refined(model: VQVAE, pixels: np.ndarray, counted: tuple[int, int], level: float, codes: np.ndarray) -> np.ndarray:
    """The same in one window, of whose pixels the first `counted` rows and columns are the picture's."""
    device = next(model.parameters()).device
    target = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float() / 255.0 - 0.5
    position = torch.full((1,), level, device=device)
    given = torch.from_numpy(codes).to(device)[None].float() / VALUE_UNIT
    worth = 65025.0 * model.config.lambda_at(level) / 3.0  # bits, of a squared error of pixels in 0..1

    def cost(values: Tensor) -> tuple[Tensor, Tensor]:
        """Bits and error together, and the means."""
        shown = model.synthesis(values * model.synthesis_gain(position), position)
        error = (shown - target)[..., : counted[0], : counted[1]].square().sum()
        parameters = model.prior(values, position)
        both: Tensor = logistic_bits(values, parameters).sum() + worth * error
        return both, parameters[:, :, 0].detach()

    with torch.no_grad():
        unrounded = model.latents(target + 0.5, position)
        start = given + (unrounded - given).clamp(-INSIDE, INSIDE)
    with torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device)):
        latents = _annealed(cost, start)
    numbers: np.ndarray = (latents[0] * VALUE_UNIT).round().to(torch.int32).cpu().numpy()
    return numbers


def _annealed(cost: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor) -> Tensor:
    """Latents near codes, of low cost once they are these."""
    latents = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=RATE)
    generator = torch.Generator(start.device).manual_seed(0)
    with torch.no_grad():
        _, means = cost(start)
    for step in range(STEPS):
        cooled = max((step / STEPS - WARM) / (1.0 - WARM), 0.0)
        chosen = means + _between(latents - means, HOT * (COLD / HOT) ** cooled, generator)
        total, means = cost(chosen)
        (latents.grad,) = torch.autograd.grad(total, latents)
        optimizer.step()
    return latents.detach()


def _between(latents: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Values between the two integers around each latent: near one of them, by a relaxed draw."""
    floor = latents.detach().floor()
    above = (latents - floor).clamp(1e-4, 1.0 - 1e-4)
    upper = (torch.atanh(above) - torch.atanh(1.0 - above)) / temperature  # log odds of the upper integer
    uniform = torch.rand(latents.shape, generator=generator, device=latents.device).clamp(1e-6, 1.0 - 1e-6)
    return floor + torch.sigmoid((upper + torch.logit(uniform)) / temperature)
