"""What the layers of a prior see of real photos, so that rounding their weights changes their outputs least (torch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.integers import second_moments
from vqcodec.models import VQVAE
from vqcodec.photos import CropSampler
from vqcodec.prior import PriorSlice, TapConv, checkerboard

Moments = dict[str, Tensor]
BATCHES, BATCH, SIDE = 16, 8, 256  # of crops: more do not help


def crops(photos: Sequence[np.ndarray], multiple: int) -> list[Tensor]:
    """Batches of crops (BATCH, 3, SIDE, SIDE) float in [0, 1] of uint8 photos, for `input_moments`."""
    sampler = CropSampler(photos, SIDE, multiple, seed=0)
    batches = (torch.from_numpy(sampler.batch(step, 0, BATCH)) for step in range(BATCHES))
    return [batch.permute(0, 3, 1, 2) / 255.0 for batch in batches]


@torch.no_grad()
def input_moments(model: VQVAE, images: Sequence[Tensor]) -> Moments:
    """Second moments (inputs + 1, inputs + 1) of the inputs and of 1, for each layer of a one-level prior.

    `images` are batches (B, 3, H, W) float in [0, 1]; their quality levels are spread over all there are.
    """
    moments: Moments = {}
    with ExitStack() as stack:
        for number, block in enumerate(model.prior.blocks()):
            stack.enter_context(_watched(block, f"prior.{number}", moments))
        for batch in images:
            level = torch.linspace(0.0, model.config.quality_levels - 1.0, len(batch))
            model.code_bits(model.analyze(batch, level), level)
    return moments


@contextmanager
def _watched(block: PriorSlice, name: str, moments: Moments) -> Iterator[None]:
    """Within, what the layers of a slice see is added to the moments."""

    def add(layer: str, inputs: Tensor) -> None:
        """Inputs (N, inputs), maybe of several calls."""
        moments[f"{name}.{layer}"] = moments.get(f"{name}.{layer}", 0.0) + second_moments(inputs)

    def watch_contexts(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        for step, inputs in enumerate(_contexts(block, *arguments)):
            add(f"{step}.context", inputs)

    handles = [block.register_forward_pre_hook(watch_contexts)]
    for layer in ("hidden1", "hidden2", "head"):
        conv = block.get_submodule(layer)
        handles.append(
            conv.register_forward_pre_hook(lambda _, seen, layer=layer: add(layer, seen[0].movedim(1, 3).flatten(0, 2)))
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _contexts(
    block: PriorSlice, earlier: Tensor, own: Tensor, _weights: Tensor, condition: Tensor | None
) -> Iterator[Tensor]:
    """The inputs (positions, taps * features) of each step's context layer, in the runtime's order."""
    assert condition is None  # of one level
    convs = [conv for conv in block.contexts if isinstance(conv, TapConv)]
    if block.first:
        anchor = own[:, :, ::2, ::2]
        for conv, source in zip(convs, (anchor, anchor, own, own), strict=True):
            yield _seen(conv, source).flatten(0, 1)
        return
    assert block.cross is not None
    odd = checkerboard(own).flatten().bool()
    around = _seen(block.cross, earlier)
    yield around[:, ~odd].flatten(0, 1)
    yield torch.cat([around, _seen(convs[0], own)], 2)[:, odd].flatten(0, 1)


def _seen(conv: TapConv, x: Tensor) -> Tensor:
    """What a convolution sees at its positions, (B, positions, taps * features)."""
    windows = F.unfold(F.pad(x, conv.pad), conv.kernel, stride=conv.stride)
    batch, _, positions = windows.shape
    taps = windows.view(batch, x.shape[1], -1, positions)[:, :, conv.index]
    return taps.permute(0, 3, 2, 1).flatten(2)
