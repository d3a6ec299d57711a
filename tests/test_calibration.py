"""Rounding by what a layer sees: its inputs are the runtime's, and its outputs change less."""

from __future__ import annotations

import pytest
import torch
from test_export import BOTH, random_model
from torch import Tensor

from vqcodec.calibration import _contexts, input_moments
from vqcodec.config import ModelConfig
from vqcodec.integer_prior import _context_weights, integer_prior, load_integer_prior
from vqcodec.integers import float_layer, integer_layer
from vqcodec.prior import PHASES, clip


def images(count: int, seed: int = 0) -> Tensor:
    """Smooth pictures (count, 3, 64, 64)."""
    torch.manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(count, 3, 8, 8), 64, mode="bilinear")


@BOTH
def test_layers_are_seen_with_their_own_inputs(config: ModelConfig) -> None:
    """The context layer in the runtime's order, of what `_contexts` gives, is what the float network computes."""
    model = random_model(config)
    arguments, hidden = {}, {}
    for number, block in enumerate(model.prior.blocks()):
        block.context_bias.data[:] = block.context_bias.data[:, :1]
        block.register_forward_pre_hook(lambda _, seen, n=number: arguments.update({n: seen}))
        block.hidden1.register_forward_pre_hook(lambda _, seen, n=number: hidden.update({n: seen[0].movedim(1, 3)}))
    level = torch.zeros(2)
    with torch.no_grad():
        model.code_bits(model.analyze(images(2), level), level)
        for number, block in enumerate(model.prior.blocks()):
            for step, inputs in enumerate(_contexts(block, *arguments[number])):
                outputs = clip(inputs @ _context_weights(block)[step].T + block.context_bias[step, 0])
                expected = torch.cat([one[_positions(number, step, one)] for one in hidden[number]])
                assert torch.allclose(outputs, expected, atol=1e-4)


def _positions(number: int, step: int, hidden: Tensor) -> Tensor:
    """Mask (h, w) of the positions of a step."""
    y, x = torch.arange(hidden.shape[0])[:, None], torch.arange(hidden.shape[1])
    return (y + x) % 2 == step if number else (y % 2 == PHASES[step][0]) & (x % 2 == PHASES[step][1])


@pytest.mark.parametrize("seed", range(5))
def test_outputs_change_less(seed: int) -> None:
    """Inputs that go together are what the second moments tell of."""
    torch.manual_seed(seed)
    inputs = (torch.randn(500, 6) @ torch.randn(6, 40) * 300 + 900 * torch.rand(40)).round().double()
    weight, bias = torch.randn(16, 40), torch.randn(16)
    known = torch.cat([inputs, torch.ones(500, 1)], 1)
    errors = []
    for moments in (None, known.T @ known):
        tensors = integer_layer("layer", weight, bias, 16_376, torch.int8, moments)
        assert int(tensors["layer.weight"].abs().amax()) <= 127
        rounded, offset = float_layer("layer", tensors)
        change = inputs @ (rounded.double() - weight).T + offset.double() - bias
        errors.append((float(change.square().mean()), float(change.mean(0).square().mean())))
    assert errors[1][0] < 0.3 * errors[0][0]
    assert errors[1][1] < 0.01 * errors[1][0]  # what is left is no shift of the mean


@BOTH
def test_a_calibrated_prior_says_almost_the_same(config: ModelConfig) -> None:
    """On the pictures of the moments the rounded prior is nearer to the float one than one rounded to nearest."""
    model = random_model(config)
    pictures, level = images(16), torch.zeros(16)
    seen: list[Tensor] = []
    with torch.no_grad():
        codes = model.analyze(pictures, level)
        for tensors in (None, integer_prior(model), integer_prior(model, input_moments(model, [pictures]))):
            if tensors is not None:
                load_integer_prior(model, tensors)
            seen.append(model.code_bits(codes, level)[0])
            if tensors is not None:
                model.load_state_dict(random_model(config).state_dict())
    nearest, calibrated = ((one - seen[0]).square().mean() for one in seen[1:])
    assert calibrated < 0.7 * nearest
