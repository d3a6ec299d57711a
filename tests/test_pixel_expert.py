"""The learned expert of lossless photos: what it is trained by, its integers, and what it saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TESTS, Run
from PIL import Image

import vqcodec
from vqcodec import _core, weights
from vqcodec.errors import InvalidInputError, InvalidModelError, ModelMismatchError
from vqcodec.pixel_expert import (
    CLASSES,
    COLOURS,
    GREY,
    LAYERS,
    MEAN_ERROR,
    OFFSET_UNIT,
    ExpertConfig,
    PixelExpert,
    export_pixel_expert,
)

LEARNED_VERSION = 6


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A part of a real photo, (90, 120, 3)."""
    with Image.open(TESTS / "data" / "shore.jpg") as image:
        return np.ascontiguousarray(np.array(image.convert("RGB"))[200:290, 300:420])


def random_expert(seed: int = 0) -> PixelExpert:
    torch.manual_seed(seed)
    model = PixelExpert(ExpertConfig(hidden=24))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("head"):
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def runtime(model: PixelExpert) -> _core.PixelModel:
    return _core.PixelModel(export_pixel_expert(model, name="random", description="random", provenance={}))


def test_lessons_say_what_was_around(picture: np.ndarray) -> None:
    for colour, rows in enumerate(_core.lessons(picture)):
        channel = picture[..., (1, 0, 2)[colour]].astype(np.int16)
        assert rows.shape == (channel.size, 36 + 30 * colour) and rows.dtype == np.int16
        missed = rows[:, -1].reshape(channel.shape)
        left = rows[:, 23].reshape(channel.shape)
        assert np.array_equal((missed - left)[:, 1:], 16 * np.diff(channel, axis=1))
    with pytest.raises(InvalidInputError):
        _core.lessons(picture[..., :2])


def test_the_integers_are_the_float_networks(picture: np.ndarray) -> None:
    """Of layers as FORMAT.md has them: predictions within 1/16 or 1 %, errors within 1/16 octave."""
    model, tensors = random_expert(), random_expert().integers()
    for colour, rows in enumerate(_core.lessons(picture)):
        exact = rows[::7, :-1].astype(np.int64)
        x = torch.from_numpy(rows[::7, :-1]).float() / 128.0
        for name in LAYERS:
            layer = model.get_submodule(f"{name}{colour}")
            x = layer(x) if name == "head" else torch.nn.functional.hardtanh(layer(x), 0.0, 127.0)
            weight, bias, shift = (
                tensors[f"expert.{colour}.{name}.{part}"].numpy() for part in ("weight", "bias", "shift")
            )
            sums = exact @ weight.T.astype(np.int64) + bias + ((1 << shift.astype(np.int64)) >> 1)
            assert np.abs(sums).max() < 2**31
            exact = sums >> shift.astype(np.int64)
            exact = exact if name == "head" else exact.clip(0, 32767)
        offset, log2_scale = x.detach().double().numpy().T
        assert np.all(np.abs(exact[:, 0] - offset * OFFSET_UNIT * GREY) < 1.0 + 0.01 * np.abs(exact[:, 0]))
        assert np.all(np.abs(exact[:, 1] - CLASSES * (log2_scale + np.log2(MEAN_ERROR))) < 1.0)


def test_training_on_lessons_makes_files_smaller(picture: np.ndarray) -> None:
    """That the runtime's inputs are those of training: a network that learned a picture by heart codes it well."""
    torch.manual_seed(1)
    picture = np.ascontiguousarray(picture[30:, 40:])
    model = PixelExpert(ExpertConfig(hidden=32))
    lessons = [torch.from_numpy(rows).float() for rows in _core.lessons(picture)]
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        loss = torch.stack([model(lessons[colour], colour).mean() for colour in range(COLOURS)]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expert = runtime(model)
    data = _core.write_exact(picture, 8, pixels=expert)
    assert len(data) < 0.95 * len(_core.write_exact(picture, 8))
    (samples, _), _ = _core.read_exact(data, model=expert)
    assert samples == picture.tobytes()


def test_the_right_model_or_an_error(picture: np.ndarray, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        data = export_pixel_expert(random_expert(seed), name=name, description="random", provenance={})
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    model, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    data = vqcodec.encode(picture, lossless=True, model=model)
    header = vqcodec.read_header(data)
    assert (header.version, header.needs_pixel_model) == (LEARNED_VERSION, True)
    assert np.array_equal(vqcodec.decode(data, model=model), picture)
    with pytest.raises(ModelMismatchError, match=weights.resolve(model).model_id):
        vqcodec.decode(data, model=other)
    with pytest.raises(InvalidModelError, match="model of pixels"):
        vqcodec.load(model)
    with pytest.raises(InvalidInputError, match="no distribution of its own"):
        weights.resolve(model).pixels.cross_entropy(picture)


def test_the_built_in_model(picture: np.ndarray) -> None:
    """It takes a part of a real photo in fewer bytes."""
    data, plain = (vqcodec.encode(picture, lossless=True, model=model) for model in (weights.EXPERT, None))
    assert len(data) < 0.985 * len(plain)
    assert vqcodec.read_header(data).model_id == weights.resolve(weights.EXPERT).model_id
    assert np.array_equal(vqcodec.decode(data), picture)


def test_effort_of_the_program(picture: np.ndarray, run: Run, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    expected = {
        effort: vqcodec.encode(picture, lossless=True, model=weights.EXPERT if effort else None) for effort in (0, 2)
    }
    for effort, data in expected.items():
        ran = run("encode", "--lossless", "--effort", effort, "a.png", "-f", cwd=tmp_path)
        assert ran.status == 0, ran.errors
        assert (tmp_path / "a.vqc").read_bytes() == data
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "photos" / "a.png")
    ran = run("pack", "--lossless", "--effort", 2, "photos", "a.vqa", cwd=tmp_path)
    assert ran.status == 0, ran.errors
    with vqcodec.ArchiveReader(tmp_path / "a.vqa") as reader:
        assert [record.data for record in reader] == [expected[2]]
    ran = run("encode", "--lossless", "--preview", "--effort", 2, "photos/a.png", cwd=tmp_path)
    assert ran.status == 2 and "--preview" in ran.errors
