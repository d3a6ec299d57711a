"""Codes that count from the prior's means: what they are, that files hold them, and how they are trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_export import GRID, oracle, random_model

import vqcodec
from vqcodec import _core
from vqcodec.config import VALUE_UNIT, ModelConfig, TrainConfig
from vqcodec.export import export_model
from vqcodec.integer_prior import load_integer_prior
from vqcodec.model_file import load
from vqcodec.models import VQVAE
from vqcodec.photos import CropSampler
from vqcodec.prior import PHASES
from vqcodec.successors import go_on_as
from vqcodec.train import resume, start
from vqcodec.transform import Transform

CENTRED = dataclasses.replace(GRID, centred=True)
DEVICE = torch.device("cpu")


def numbers(height: int, width: int) -> np.ndarray:
    """Values in 1/256, as an analysis gives them."""
    values = np.random.default_rng(1).laplace(0, 1.5 * VALUE_UNIT, (sum(CENTRED.slices), height, width))
    return np.rint(values).astype(np.int32)


@pytest.mark.parametrize("quality", [0, 21, 112])
def test_they_are_whole_steps_from_the_means_of_the_definition(quality: int) -> None:
    data = export_model(random_model(CENTRED), name="tiny", description="")
    model, tensors, given = _core.Model(data), load(data), numbers(9, 14)
    (codes,) = _core.settle(model, quality, [given])
    assert np.abs(codes - given).max() == VALUE_UNIT // 2
    first = 0
    for number, variables in enumerate(CENTRED.slices):
        for step in range(4 if number == 0 else 2):
            outputs = oracle(tensors, CENTRED, codes, number, step, quality)
            assert np.array_equal(_core.head_outputs(model, quality, codes, number, step), outputs)
            rows, columns = np.indices(codes.shape[1:])
            lattice = (rows % 2 == PHASES[step][0]) & (columns % 2 == PHASES[step][1])
            coded = lattice if number == 0 else (rows + columns) % 2 == step
            above = codes[first : first + variables][:, coded].T - outputs[:, :variables]
            assert not (above % VALUE_UNIT).any(), (number, step)
        first += variables


def test_files_hold_them(tmp_path: Path, photo: np.ndarray) -> None:
    path = tmp_path / "centred.safetensors"
    path.write_bytes(export_model(random_model(CENTRED), name="centred", description=""))
    codec = vqcodec.load(path)
    assert codec.code_unit == VALUE_UNIT and codec.searches
    for effort in (0, 1):
        data = codec.encode(photo, 50, effort=effort)
        (codes,) = codec.codes(data)
        (again,) = _core.settle(codec._model, codec.position(50), [codes])
        assert np.array_equal(again, codes)
        shape, filter = photo.shape[:2], _core.read_header(data).filter
        shown = _core.synthesize(codec._model, [codes], *shape, codec.position(50), filter=filter)
        assert np.array_equal(shown, codec.decode(data))


def test_torch_finds_nearly_the_same(photo: np.ndarray) -> None:
    network = random_model(CENTRED)
    model, transform = _core.Model(export_model(network, name="tiny", description="")), Transform(network)
    crop = np.ascontiguousarray(photo[:320, :480])
    (exact,) = _core.analyze(model, crop, 21)
    (found,) = _core.settle(model, 21, transform.analyze(crop, 21 / 16))
    assert np.mean(np.abs(found - exact)) < 0.1 * VALUE_UNIT
    with torch.inference_mode():
        level = torch.tensor([21 / 16])
        values = torch.from_numpy(exact)[None] / VALUE_UNIT
        bits = float(network.code_bits([values], level)[0].sum())
        settled = network.analyze(torch.from_numpy(crop).permute(2, 0, 1)[None] / 255.0, level)
        alike = float(network.code_bits(settled, level)[0].sum())
    assert _core.cross_entropy(model, 21, [exact], adaptive=False) == pytest.approx(bits, rel=0.01)
    assert alike == pytest.approx(bits, rel=0.01)
    assert np.mean(np.abs(settled[0][0].numpy() * VALUE_UNIT - exact)) < 0.1 * VALUE_UNIT


def test_only_numbers_of_one_level_are_centred() -> None:
    for wrong in ({"quantizer": "codebook"}, {"coarse_slices": (4,)}, {"centred": 1}):
        with pytest.raises(ValueError, match="centred"):
            dataclasses.replace(CENTRED, **wrong)  # type: ignore[arg-type]


def test_any_grid_model_can_go_on_with_centred_codes() -> None:
    grid = random_model(GRID)
    centred = go_on_as(grid, CENTRED, torch.empty(0))
    assert centred.config == CENTRED
    assert all(torch.equal(value, grid.state_dict()[name]) for name, value in centred.state_dict().items())


def test_the_end_of_a_run_settles(photo: np.ndarray, tmp_path: Path) -> None:
    """The analysis stays as it was on average, the rest learns on, and a run that is killed then resumes the same."""
    config: ModelConfig = dataclasses.replace(CENTRED, prior_hidden=16)
    settings = TrainConfig(steps=12, batch=2, crop=64, warmup_steps=1, settle=0.5)
    sampler = CropSampler([photo], settings.crop, 2 * config.stride, seed=0)

    def curve(trainer, until: int) -> list[float]:  # type: ignore[no-untyped-def]
        return [float(trainer.train_step(sampler.batch(s, 0, 2)).total.detach()) for s in range(trainer.step, until)]

    trainer = start(config, settings, sampler, DEVICE)
    curve(trainer, 6)
    assert not trainer.model.settled
    averages = dict(zip((name for name, _ in trainer.model.named_parameters()), trainer.average, strict=True))
    before = {name: value.clone() for name, value in averages.items()}
    curve(trainer, 9)
    assert trainer.model.settled
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith(("analysis.", "analysis_gain.")), name
    trainer.save(tmp_path)
    expected = curve(trainer, 12)
    assert curve(resume(tmp_path / "step-00000009", DEVICE), 12) == expected


def test_the_loss_of_settled_codes_is_their_length(photo: np.ndarray) -> None:
    model: VQVAE = random_model(CENTRED)
    model.settled = True
    images = torch.from_numpy(photo[None, :128, :128].copy()).permute(0, 3, 1, 2) / 255.0
    level = torch.tensor([3.0])
    with torch.no_grad():
        bpp = float(model(images, level, 0.0).bpp)
        bits = float(model.code_bits(model.analyze(images, level), level)[0].sum()) / (128 * 128)
    assert bpp == pytest.approx(bits, rel=0.05)


def test_integers_come_back_as_the_prior_they_were() -> None:
    network = random_model(CENTRED)
    tensors = {
        name: torch.from_numpy(value) for name, value in load(export_model(network, name="", description="")).items()
    }
    again = VQVAE(CENTRED).eval()
    load_integer_prior(again, tensors)
    values = torch.from_numpy(numbers(8, 8))[None] / VALUE_UNIT
    with torch.no_grad():
        one, other = (float(m.code_bits([values], torch.tensor([2.0]))[0].sum()) for m in (network, again))
    assert one == pytest.approx(other, rel=0.01)
