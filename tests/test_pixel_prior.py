"""The float model of pixels: what it sees, what its bits mean, and that the integers that code say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_pixels import drawn, random_prior

from vqcodec import _core
from vqcodec.integer_pixels import export_pixel_prior, integer_pixel_prior, load_integer_pixel_prior
from vqcodec.pixel_prior import CODED, INPUTS, PixelConfig, PixelPrior, following_bits, mixture_bits, neighbourhoods


def seen(picture: np.ndarray, y: int, x: int) -> tuple[list[int], list[int]]:
    """Inputs and guesses of a pixel of (H, W, 3) in the order of coding, as FORMAT.md has them."""
    height, width, _ = picture.shape
    left = picture[y, x - 1].tolist() if x else None
    above = picture[y - 1, x].tolist() if y else None
    guess = [128] * 3
    if left and above:
        guess = [(a + b + 1) >> 1 for a, b in zip(left, above, strict=True)]
    elif left or above:
        guess = left or above or guess
    inputs = []
    for row in (y - 3, y - 2, y - 1, y):
        for column in range(x - 3, x if row == y else x + 4):
            inside = 0 <= row < height and 0 <= column < width
            inputs += [int(picture[row, column, c]) - guess[c] if inside else 0 for c in range(3)]
    inputs += [int(picture[y, x, c]) - guess[c] for c in range(2)]
    inputs += [value - 128 for value in guess]
    inputs += [64 * min(distance, 3) for distance in (y, x, width - 1 - x)]
    return inputs, guess


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 4), (8, 11)])
def test_neighbourhoods_are_those_of_the_format(shape: tuple[int, int]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    inputs, guesses = neighbourhoods(torch.from_numpy(pictures))
    assert inputs.shape == (2, *shape, INPUTS) and inputs.dtype == guesses.dtype == torch.int16
    for number, y, x in np.ndindex(2, *shape):
        expected = seen(pictures[number], y, x)
        assert (inputs[number, y, x].tolist(), guesses[number, y, x].tolist()) == expected


def test_bits_depend_on_nothing_later() -> None:
    model = random_prior()
    pictures = torch.from_numpy(drawn(1, 7, 9)[..., CODED])
    before = model(pictures)[0]
    for y, x, colour in np.ndindex(7, 9, 3):
        changed = pictures.clone()
        changed[0, y, x, colour] ^= 77
        moved = {tuple(place) for place in ((model(changed)[0] - before).abs() > 1e-4).nonzero().tolist()}
        assert (y, x, colour) in moved and min(moved) == (y, x, colour)


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_the_mixture_is_a_distribution(spread: float) -> None:
    torch.manual_seed(1)
    middle = torch.tensor([0.0, 0.0, 0.0, 0.0, 4.0, -90.0, 2.0, -3.0, 5.0])
    outputs = middle + spread * torch.randn(50, 1, 9)
    guesses = torch.randint(0, 256, (50, 1))
    bits = mixture_bits(torch.arange(256).expand(50, -1), guesses.expand(-1, 256), outputs.expand(-1, 256, -1))
    total = torch.exp2(-bits.double()).sum(1)  # the least probability of each is added
    assert torch.allclose(total, torch.ones_like(total), atol=1e-4)


@pytest.mark.parametrize("config", [PixelConfig(24, 3), PixelConfig(9, 2), PixelConfig(40, 5)])
def test_files_have_the_bits_of_the_float_model(config: PixelConfig) -> None:
    model = random_prior(config)
    runtime = _core.PixelModel(export_pixel_prior(model, name="random", description="", provenance={}))
    pictures = drawn(6, 16, 15)
    load_integer_pixel_prior(model, integer_pixel_prior(model))
    samples = torch.from_numpy(pictures[..., CODED])
    with torch.no_grad():
        seen = (samples, *model.outputs(samples))
    order = sorted(np.ndindex(16, 15), key=lambda place: (place[1] + 4 * place[0], place[0]))
    coded = [torch.stack([part[:, y, x] for y, x in order], 1) for part in seen]
    bits = following_bits(*coded).sum((1, 2))
    assert not torch.allclose(bits, model(samples).sum((1, 2, 3)), rtol=0.002)
    for picture, expected in zip(pictures, bits.tolist(), strict=True):
        data = _core.write_exact(picture, 8, pixels=runtime)
        header = _core.read_header(data)
        assert header.needs_pixel_model and header.model_id == runtime.id
        (samples, _), _ = _core.read_exact(data, model=runtime)
        assert samples == picture.tobytes()
        payload = header.exact_bytes - 1  # behind the byte that says how the tile is coded
        assert abs(payload - expected / 8) < 0.002 * expected / 8 + 1.5


def test_export_is_a_fixed_point() -> None:
    model = random_prior()
    tensors = integer_pixel_prior(model)
    other = PixelPrior(model.config)
    load_integer_pixel_prior(other, tensors)
    again = integer_pixel_prior(other)
    assert tensors.keys() == again.keys() and all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_integers_by_pictures_are_nearer_to_the_float_model() -> None:
    model = random_prior(PixelConfig(40, 5))
    pictures = torch.from_numpy(drawn(8, 16, 16)[..., CODED])
    with torch.no_grad():
        wanted = model(pictures)
        errors = []
        for tensors in (integer_pixel_prior(model), integer_pixel_prior(model, pictures)):
            other = PixelPrior(model.config)
            load_integer_pixel_prior(other, tensors)
            errors.append(float((other(pictures) - wanted).square().mean()))
    assert errors[1] < 0.7 * errors[0]


def test_training_learns() -> None:
    torch.manual_seed(0)
    model = PixelPrior(PixelConfig(16, 2))
    pictures = torch.from_numpy(np.repeat(drawn(4, 12, 12)[:, :1], 12, axis=1))  # every row is the first one
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = model(pictures).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
