"""Training: crops and steps are functions of the step number, so a killed run resumes on the same curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_models import ALL, SMALL

from vqcodec import checkpoint
from vqcodec.config import ModelConfig, TrainConfig
from vqcodec.errors import InvalidInputError
from vqcodec.photos import CropSampler, load_folders, load_torchvision
from vqcodec.train import learning_rate, resume, spread_levels, start

TRAIN = TrainConfig(steps=12, batch=2, crop=64, warmup_steps=2)


def test_crops_are_a_function_of_step_and_rank() -> None:
    photos = [np.random.default_rng(i).integers(0, 256, (80 + 9 * i, 90, 3), np.uint8) for i in range(3)]
    sampler = CropSampler(photos, 64, 32, seed=3)
    first = sampler.batch(5, 0, 4)
    assert first.shape == (4, 64, 64, 3)
    assert np.array_equal(first, CropSampler(photos, 64, 32, seed=3).batch(5, 0, 4))
    assert not np.array_equal(first, sampler.batch(5, 1, 4))
    assert not np.array_equal(first, sampler.batch(6, 0, 4))


def test_pictures_smaller_than_the_crop_are_left_out_aloud() -> None:
    photos = [np.zeros((side, 90, 3), np.uint8) for side in (40, 80, 90)]
    sampler = CropSampler(photos, 64, 32, seed=0)
    assert (sampler.crop, len(sampler.photos)) == (64, 2)
    assert sampler.notes == ["1 pictures smaller than 64 pixels left out"]
    sampler = CropSampler(photos, 192, 32, seed=0)
    assert (sampler.crop, len(sampler.photos)) == (64, 2)
    assert len(sampler.notes) == 2
    with pytest.raises(InvalidInputError, match="no picture is as large"):
        CropSampler([np.zeros((20, 90, 3), np.uint8)], 64, 32, seed=0)
    with pytest.raises(InvalidInputError, match="multiples of 32"):
        CropSampler(photos, 72, 32, seed=0)


def test_levels_are_stratified_over_the_processes() -> None:
    config = TrainConfig(batch=8)
    levels = torch.cat([spread_levels(3, rank, 4, config, 8) for rank in (0, 1)])
    assert sorted(levels.round().tolist()) == list(range(8))


def test_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    config = TrainConfig(steps=1000, warmup_steps=100, decay=0.25, peak_rate=1.0)
    rates = [learning_rate(config, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert set(rates[100:750]) == {1.0}
    assert rates[-1] == pytest.approx(1 / 250)
    assert learning_rate(config, 1001) == 0.0


@ALL
def test_killed_run_resumes_on_the_same_loss_curve(config: ModelConfig, photo: np.ndarray, tmp_path: Path) -> None:
    sampler = CropSampler([photo], TRAIN.crop, 2 * config.stride, seed=0)
    device = torch.device("cpu")

    def curve(trainer, until: int) -> list[float]:  # type: ignore[no-untyped-def]
        return [float(trainer.train_step(sampler.batch(s, 0, 2)).total.detach()) for s in range(trainer.step, until)]

    undisturbed = start(config, TRAIN, sampler, device)
    curve(undisturbed, 6)
    undisturbed.save(tmp_path)
    expected = curve(undisturbed, 12)
    resumed = resume(tmp_path / "step-00000006", device)
    assert resumed.step == 6
    assert curve(resumed, 12) == expected
    for a, b in zip(undisturbed.average, resumed.average, strict=True):
        assert torch.equal(a, b)
    assert expected[-1] != expected[0]


def test_training_lowers_the_loss(photo: np.ndarray) -> None:
    sampler = CropSampler([photo], 64, 32, seed=0)
    trainer = start(SMALL, TrainConfig(steps=60, batch=4, crop=64, warmup_steps=5), sampler, torch.device("cpu"))
    crops = sampler.batch(0, 0, 4)
    losses = [float(trainer.train_step(crops).total.detach()) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]


def test_checkpoints_are_sharded_and_only_the_newest_two_stay(tmp_path: Path) -> None:
    big = torch.zeros(checkpoint.SHARD_BYTES // 4 - 100)
    (tmp_path / "step-by-step").mkdir()
    (tmp_path / "step-00000000 of mine").mkdir()
    (tmp_path / ".writing-00000002").mkdir()
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"a": big, "b": big + step, "c": torch.ones(3)}, {"model": "{}"})
    names = ["step-00000000 of mine", "step-00000002", "step-00000003", "step-by-step"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert max(f.stat().st_size for f in newest.iterdir()) < 16 << 20
    step, tensors, texts = checkpoint.load(newest)
    assert (step, texts) == (3, {"model": "{}"})
    assert tensors["b"][0] == 3.0 and set(tensors) == {"a", "b", "c"}


def test_torchvision_datasets_are_read_by_class_name(photo: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    Image.fromarray(photo).save(tmp_path / "flowers" / "a.png")
    assert np.array_equal(load_torchvision("ImageFolder", tmp_path)[0], photo)
    with pytest.raises(InvalidInputError, match="NoSuchSet"):
        load_torchvision("NoSuchSet", tmp_path)


def test_folders_are_decoded_in_order(tmp_path: Path) -> None:
    for name, value in (("b.png", 2), ("a.png", 1)):
        Image.new("L", (40, 40), value).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [photo[0, 0, 0] for photo in load_folders([tmp_path])] == [1, 2]
    with pytest.raises(InvalidInputError, match="no pictures"):
        load_folders([tmp_path / "empty"])
