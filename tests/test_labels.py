"""Models that know the class of a picture: a label in place of the quality, from training to the file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Run
from PIL import Image
from test_models import SMALL

import vqcodec
from vqcodec.config import PRESETS, ModelConfig, TrainConfig
from vqcodec.errors import InvalidInputError
from vqcodec.export import export_model
from vqcodec.models import VQVAE
from vqcodec.photos import CropSampler, load_classes
from vqcodec.successors import go_on_as
from vqcodec.train import start

CLASSES = 3
NOISE = (2, 25, 70)
LABELLED = SMALL.with_labels(CLASSES, 60.0)


@pytest.fixture(scope="module")
def classes() -> tuple[list[np.ndarray], list[int]]:
    """Grey pictures whose class is how strong their noise is, and their labels."""
    random = np.random.default_rng(0)
    labels = [number % CLASSES for number in range(12)]
    noisy = [128 + random.normal(0, NOISE[label], (64, 64, 3)) for label in labels]
    return [picture.clip(0, 255).astype(np.uint8) for picture in noisy], labels


def class_of(picture: np.ndarray) -> int:
    """The label, as it can be seen."""
    return int(np.searchsorted((10, 45), picture.std()))


@pytest.fixture(scope="module")
def model(classes: tuple[list[np.ndarray], list[int]]) -> VQVAE:
    """A small model that has seen them."""
    pictures, labels = classes
    sampler = CropSampler(pictures, 32, 32, seed=0, labels=labels)
    config = TrainConfig(steps=60, batch=6, crop=32, peak_rate=0.02, warmup_steps=5)
    trainer = start(LABELLED, config, sampler, torch.device("cpu"))
    for step in range(config.steps):
        trainer.train_step(sampler.batch(step, 0, 6), sampler.labels(step, 0, 6))
    return trainer.model.eval()


@pytest.fixture(scope="module")
def codec(model: VQVAE, tmp_path_factory: pytest.TempPathFactory) -> vqcodec.Codec:
    path = tmp_path_factory.mktemp("labels") / "labels.safetensors"
    path.write_bytes(export_model(model, name="labels", description="for tests"))
    return vqcodec.load(path)


def test_labels_take_the_place_of_qualities() -> None:
    assert (LABELLED.labels, LABELLED.quality_levels) == (CLASSES, CLASSES)
    assert LABELLED.lambda_at(0) == LABELLED.lambda_at(2) == pytest.approx(SMALL.lambda_at(4.2))
    for wrong in ({"labels": 2}, {"lambda_max": 0.1}, {"labels": True}, {"labels": 17, "quality_levels": 17}):
        with pytest.raises(ValueError, match="labels"):
            dataclasses.replace(LABELLED, **wrong)


def test_crops_come_with_the_labels_of_their_pictures(classes: tuple[list[np.ndarray], list[int]]) -> None:
    pictures, labels = classes
    small = [np.zeros((16, 16, 3), np.uint8), *pictures]  # left out, and its label with it
    sampler = CropSampler(small, 32, 32, seed=1, labels=[2, *labels])
    crops, known = sampler.batch(4, 1, 32), sampler.labels(4, 1, 32)
    assert known is not None and set(known) == set(range(CLASSES))
    assert [class_of(crop) for crop in crops] == known.tolist()
    assert CropSampler(pictures, 32, 32, seed=1).labels(4, 1, 8) is None


def test_folders_are_classes(classes: tuple[list[np.ndarray], list[int]], tmp_path: Path) -> None:
    save_classes(classes, tmp_path)
    pictures, labels = load_classes(tmp_path)
    assert [class_of(picture) for picture in pictures] == labels == sorted(classes[1])
    with pytest.raises(InvalidInputError, match="one for each class"):
        load_classes(tmp_path / "c0")


def test_a_label_is_worth_bits(model: VQVAE, classes: tuple[list[np.ndarray], list[int]]) -> None:
    pictures, labels = classes
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255.0
    own = torch.tensor(labels).float()

    def bits(level: torch.Tensor) -> float:
        with torch.no_grad():
            return float(model.code_bits(model.analyze(images, level), level)[0].sum())

    assert bits(own) < 0.8 * min(bits((own + 1) % CLASSES), bits((own + 2) % CLASSES))


def test_files_name_the_label(codec: vqcodec.Codec, classes: tuple[list[np.ndarray], list[int]]) -> None:
    assert codec.info.labels == CLASSES
    own, other = 0, 0
    for picture, label in zip(*classes, strict=True):
        data, report = codec.encode_report(picture, label=label)
        assert (report.label, report.quality) == (label, None)
        assert f"label {label}" in report.summary
        own, other = own + len(data), other + len(codec.encode(picture, label=(label + 1) % CLASSES))
        assert np.std(codec.decode(data).astype(int) - picture) < 1.2 * NOISE[label] + 2
    assert own < 0.9 * other
    drawn = [codec.sample(64, 64, label=label, seed=3).std() for label in range(CLASSES)]
    assert drawn[2] > 1.5 * max(drawn[:2])
    with pytest.raises(InvalidInputError, match="needs a picture's label, 0 to 2"):
        codec.encode(picture)
    with pytest.raises(InvalidInputError, match="has no label 3: it has 3"):
        codec.encode(picture, label=3)
    with pytest.raises(InvalidInputError, match="no file size can be aimed at"):
        codec.encode(picture, label=0, target_bytes=500)
    with pytest.raises(InvalidInputError, match="model photo has no label 0: it has none"):
        vqcodec.load().sample(16, 16, label=0)


def test_archives_take_the_labels_of_records(
    codec: vqcodec.Codec, classes: tuple[list[np.ndarray], list[int]], tmp_path: Path
) -> None:
    vqcodec.pack(list(zip(*classes, strict=True)), tmp_path / "a.vqa", model=codec.info.path, effort=0)
    with vqcodec.ArchiveReader(tmp_path / "a.vqa") as reader:
        for record, picture, label in zip(reader, *classes, strict=True):
            assert record.data == codec.encode(picture, label=label, effort=0)
    with pytest.raises(InvalidInputError, match="label"):
        vqcodec.pack([classes[0][0]], tmp_path / "b.vqa", model=codec.info.path)


def test_a_labelled_model_begins_as_the_one_without(photo: np.ndarray) -> None:
    torch.manual_seed(0)
    plain = VQVAE(SMALL).eval()
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    labelled = go_on_as(plain, LABELLED, torch.empty(0)).eval()
    images = torch.from_numpy(photo[:64, :64].copy()).permute(2, 0, 1)[None].float() / 255.0
    level = torch.tensor([SMALL.level_at(LABELLED.lambda_min)])
    with torch.no_grad():
        expected = plain.analyze(images, level)
        for label in torch.arange(CLASSES).float()[:, None]:
            assert torch.equal(labelled.analyze(images, label)[0], expected[0])
            assert torch.allclose(labelled.synthesize(expected, label), plain.synthesize(expected, level), atol=1e-5)
            bits = [model.code_bits(expected, at)[0] for model, at in ((labelled, label), (plain, level))]
            assert torch.allclose(*bits, atol=1e-3)
    with pytest.raises(ValueError, match="more than the labels"):
        go_on_as(plain, dataclasses.replace(LABELLED, prior_hidden=8), torch.empty(0))


def test_on_the_command_line(
    run: Run, codec: vqcodec.Codec, classes: tuple[list[np.ndarray], list[int]], tmp_path: Path
) -> None:
    folder, out, model = tmp_path / "classes", tmp_path / "run", tmp_path / "own.safetensors"
    save_classes(classes, folder)
    train = ("train", folder, "-o", out, "--labels", "--preset", "codebook", "--batch", 2, "--crop", 64)
    for steps in (1, 2):
        ended = run(*train, "--steps", steps)
        assert ended.status == 0, ended.errors
    assert run(*train[:4], "--preset", "codebook", "--batch", 2, "--crop", 64).status == 1  # another number of labels
    assert run("export", out, model, "--name", "own").status == 0
    picture, encoded = folder / "c1" / "1.png", tmp_path / "a.vqc"
    assert run("encode", picture, "--model", model, "--label", 1, "-o", encoded).status == 0
    assert vqcodec.decode(encoded.read_bytes(), model=model).shape == (64, 64, 3)
    for arguments in ((), ("--label", 3), ("-q", 50), ("--label", 1, "-q", 50)):
        ended = run("encode", picture, "--model", model, *arguments, "-o", tmp_path / "b.vqc")
        assert ended.status == 2 and "label" in ended.errors and not (tmp_path / "b.vqc").exists()
    drawn = [tmp_path / f"{label}.png" for label in range(2)]
    for label, path in enumerate(drawn):
        assert run("sample", codec.info.path, "--label", label, "-n", 1, "--side", 64, "-o", path).status == 0
    assert drawn[0].read_bytes() != drawn[1].read_bytes()
    assert run("sample", model, "-o", tmp_path / "c.png").status == 2
    assert run("train", tmp_path / "nothing", "-o", out, "--labels").status == 1
    facts = json.loads(run("info", "--json", encoded).output)
    assert (facts["label"], facts["quality_position"]) == (None, 16)  # the model is not built in


def save_classes(classes: tuple[list[np.ndarray], list[int]], folder: Path) -> None:
    """One folder for each class."""
    for number, (picture, label) in enumerate(zip(*classes, strict=True)):
        path = folder / f"c{label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def test_stored_configs_without_labels_still_load() -> None:
    assert ModelConfig().labels == 0 and PRESETS["photo"].labels == 0
    assert vqcodec.load("photo").info.labels == 0
