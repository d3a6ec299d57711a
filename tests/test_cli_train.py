"""From a folder of photos to an own codec with three commands, and the same training again to resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from PIL import Image

import vqcodec
from vqcodec import checkpoint
from vqcodec.config import TrainConfig, from_json


@pytest.mark.parametrize("preset", ["plain", "codebook"])
def test_train_resume_export_encode(run: Run, photo: np.ndarray, tmp_path: Path, preset: str) -> None:
    photos, out, model = tmp_path / "photos", tmp_path / "run", tmp_path / "own.safetensors"
    photos.mkdir()
    Image.fromarray(photo).save(photos / "a.png")
    train = ("train", photos, "-o", out, "--preset", preset, "--batch", 2, "--crop", 64, "--checkpoint-steps", 2)
    for steps in (2, 4):
        ended = run(*train, "--steps", steps, "--validation", photos)
        assert ended.status == 0, ended.errors
        assert f"step {steps} bpp_0" in ended.errors
    assert sorted(path.name for path in out.glob("step-*")) == ["step-00000002", "step-00000004"]
    assert list(out.glob("events.out.tfevents.*"))

    ended = run("export", out, model, "--name", "own", "--photos", photos)
    assert ended.status == 0, ended.errors
    assert run("export", out, model).status == 1  # exists
    tune = ("train", photos, "-o", tmp_path / "tuned", "--from", model, "--batch", 2, "--crop", 64, "--steps", 1)
    ended = run(*tune, "--preset", "photo")
    assert (ended.status, ended.errors) == (1, f"vqcodec: model {model} is not of preset photo\n")
    ended = run(*tune, "--preset", preset, "--rate", "1e-4", "--decay", 1)
    assert ended.status == 0, ended.errors
    found = checkpoint.latest(tmp_path / "tuned")
    assert found is not None
    config = from_json(TrainConfig, checkpoint.load(found)[2]["train"])
    assert (config.steps, config.peak_rate, config.decay) == (1, 1e-4, 1.0)
    encoded, decoded = tmp_path / "a.vqc", tmp_path / "b.png"
    ended = run("encode", photos / "a.png", "--model", model, "-o", encoded)
    assert ended.status == 0, ended.errors
    assert run("decode", encoded, "-o", decoded).status == 1  # the model is not built in
    assert run("decode", encoded, "-o", decoded, "--model", model).status == 0
    codes = vqcodec.load(model).codes(encoded.read_bytes())[0]
    assert codes.min() >= 0
    with Image.open(decoded) as image:
        assert image.size == (photo.shape[1], photo.shape[0])


def test_photos_are_resized_on_request(run: Run, photo: np.ndarray, tmp_path: Path) -> None:
    photos = tmp_path / "photos@0.5"  # its own name, not a request
    photos.mkdir()
    Image.fromarray(photo).save(photos / "a.png")
    train = ("train", "--preset", "plain", "--batch", 1, "--steps", 1)
    largest = max(size for size in range(16, 400, 16) if size <= min(photo.shape[:2]))
    for source, crop in ((photos, largest), (f"{photos}@0.5", largest // 32 * 16)):
        ended = run(*train, source, "-o", tmp_path / f"run{crop}", "--crop", largest + 16)
        assert ended.status == 0, ended.errors
        assert f"crops of {crop} instead" in ended.errors
    ended = run(*train, f"{tmp_path / 'none'}@0.5", "-o", tmp_path / "run")
    assert ended.status == 1 and "no pictures in" in ended.errors


def test_unusable_input_is_one_line_and_no_traceback(run: Run, tmp_path: Path) -> None:
    for arguments in (
        ("train", tmp_path, "-o", tmp_path / "run"),
        ("train", "torchvision:NoSuchSet:here", "-o", tmp_path / "run"),
        ("export", tmp_path, tmp_path / "model.safetensors"),
    ):
        ended = run(*arguments)
        assert ended.status == 1
        assert ended.errors.startswith("vqcodec: ") and ended.errors.count("\n") == 1, ended.errors
    assert run("train", tmp_path, "-o", tmp_path / "run", "--preset", "none").status == 2
    ended = run("train", tmp_path, "-o", tmp_path / "run", "--preset", "vq")
    assert ended.status == 2 and "--from photo" in ended.errors
    assert not (tmp_path / "run").exists()
