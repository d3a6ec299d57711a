"""Lossless files that need a model of pixels, as programs and people make and read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import TESTS, Run
from PIL import Image
from tiny_pixels import drawn, random_prior

import vqcodec
from vqcodec import api, weights
from vqcodec.archive import ArchiveReader
from vqcodec.errors import InvalidInputError, InvalidModelError, ModelMismatchError, ModelMissingError
from vqcodec.exact import decode_exact
from vqcodec.integer_pixels import export_pixel_prior
from vqcodec.packing import pack
from vqcodec.packing_loop import Packed
from vqcodec.pillow import register_pillow
from vqcodec.unpacking import unpack

PICTURE = drawn(1, 16, 15, seed=5)[0]


def write_model(path: Path, seed: int = 0) -> Path:
    path.write_bytes(export_pixel_prior(random_prior(seed=seed), name="random", description="random", provenance={}))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "random.safetensors")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "other.safetensors", seed=1)


def lossless(model: Path | None, picture: np.ndarray = PICTURE) -> bytes:
    return vqcodec.encode(picture, model=model, lossless=True)


# Python


def test_pictures_come_back_in_fewer_bytes(model: Path) -> None:
    data, plain = lossless(model), lossless(None)
    assert len(data) < 0.9 * len(plain)
    header = vqcodec.read_header(data)
    assert (header.version, header.model_id) == (8, weights.resolve(model).model_id)
    assert header.needs_pixel_model and not vqcodec.read_header(plain).needs_pixel_model
    assert np.array_equal(vqcodec.decode(data, model=model), PICTURE)
    assert vqcodec.decode_image(data, model=model).tobytes() == PICTURE.tobytes()
    assert api.verify(data, model).model_id == header.model_id
    assert np.array_equal(vqcodec.decode(plain, model=model), PICTURE)


def test_the_right_model_or_an_error(model: Path, other: Path) -> None:
    data, model_id = lossless(model), weights.resolve(model).model_id
    with pytest.raises(ModelMissingError, match=model_id):
        vqcodec.decode(data)
    with pytest.raises(ModelMissingError, match=model_id):
        api.verify(data)
    with pytest.raises(ModelMismatchError, match=model_id):
        vqcodec.decode(data, model=other)
    with pytest.raises(ModelMissingError, match=model_id):
        vqcodec.decode(data, model="photo")  # of codes: looked for among the built-in ones instead
    with pytest.raises(InvalidModelError, match="model of codes"):
        vqcodec.encode(PICTURE, model="photo", lossless=True)
    for work in (
        lambda: vqcodec.encode(PICTURE, model=model),
        lambda: vqcodec.encode(PICTURE, model=model, lossless=True, preview=True),
        lambda: vqcodec.load(model),
    ):
        with pytest.raises(InvalidModelError, match="model of pixels"):
            work()
    with pytest.raises(InvalidInputError, match="no 1 levels"):
        vqcodec.decode(data, model=model, levels=1)
    with pytest.raises(InvalidInputError, match="no codes"):
        vqcodec.codes(data)


@pytest.mark.parametrize(
    "picture", [PICTURE[..., 0], PICTURE[..., :2], PICTURE.astype(np.uint16) * 100], ids=["gray", "alpha", "16 bits"]
)
def test_other_pictures_need_no_model(picture: np.ndarray, model: Path) -> None:
    data = lossless(model, picture)
    assert data == lossless(None, picture)
    assert np.array_equal(decode_exact(data).to_array(), picture)


def test_damage_is_noticed(model: Path) -> None:
    data, pixels = lossless(model), weights.resolve(model).pixels
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(vqcodec.VqcodecError):
            decode_exact(bytes(damaged), model=pixels)


def test_the_built_in_model() -> None:
    """It is small, and takes a thumbnail of a real photo in fewer bytes."""
    known = {info.name: info for info in weights.list_models()}
    assert known["tiny"].kind == "pixels" and {info.kind for info in known.values()} == {"pixels", "codes"}
    assert sum(info.bytes for info in known.values()) < 24 << 20  # what the project allows itself
    with Image.open(TESTS / "data" / "shore.jpg") as image:
        thumbnail = np.array(image.convert("RGB").resize((32, 32), Image.Resampling.BOX))
    data = lossless(Path("tiny"), thumbnail)
    assert len(data) < 0.96 * len(lossless(None, thumbnail))
    assert vqcodec.read_header(data).model_id == known["tiny"].model_id
    assert np.array_equal(vqcodec.decode(data), thumbnail)
    assert np.array_equal(vqcodec.decode(data, model="photo"), thumbnail)


def test_many_at_once(model: Path) -> None:
    """Files of all kinds in one batch, whatever the number of threads; a model is used where it is needed."""
    pictures = [*drawn(3, 12, 13), PICTURE[..., 0], PICTURE[..., :1].repeat(4, 2), PICTURE.astype(np.uint16) * 257]
    files = [lossless(model, picture) for picture in pictures]
    files += [vqcodec.encode(PICTURE), lossless(Path("tiny")), lossless(None)]
    pictures += [vqcodec.decode(files[-3]), PICTURE, PICTURE]
    with pytest.raises(ModelMismatchError):  # two models of pixels, of which one is given
        api.decode_batch(files, model=model)
    del files[-2], pictures[-2]
    for threads in (1, 2, 64):
        for back, picture in zip(api.decode_batch(files, model=model, threads=threads), pictures, strict=True):
            assert np.array_equal(back, picture) and back.dtype == picture.dtype
    assert api.decode_batch([]) == []
    for number, file in enumerate(files):
        damaged = file[:-6] + bytes([file[-6] ^ 1]) + file[-5:]
        with pytest.raises(vqcodec.VqcodecError):
            api.decode_batch([*files[:number], damaged, *files[number + 1 :]], model=model)
    api.verify_batch(files, model=model)
    with pytest.raises(ModelMissingError):
        api.decode_batch(files)
    with pytest.raises(ModelMissingError):
        api.verify_batch(files)


def test_pillow(model: Path, tmp_path: Path) -> None:
    register_pillow()
    image = Image.fromarray(PICTURE)
    image.save(tmp_path / "a.vqc", lossless=True, model=model)
    data = (tmp_path / "a.vqc").read_bytes()
    assert data == lossless(model)
    with Image.open(tmp_path / "a.vqc") as opened:
        assert (opened.mode, opened.size) == ("RGB", (15, 16))
        with pytest.raises(ModelMissingError):
            opened.load()
    with pytest.raises(OSError, match="model of codes"):
        image.save(tmp_path / "b.vqc", lossless=True, model="photo")
    with pytest.raises(OSError, match="model of pixels"):
        image.save(tmp_path / "b.vqc", model=model)


# archives


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small colour pictures and a gray one."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(drawn(5, 12, 14)):
        Image.fromarray(picture).save(folder / f"{number}.png")
    Image.fromarray(PICTURE[..., 0]).save(folder / "gray.png")
    return folder


def samples(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_archives(run: Run, folder: Path, model: Path, other: Path, tmp_path: Path) -> None:
    ran = run("pack", "--lossless", "--model", model, folder, tmp_path / "a.vqa")
    assert ran.status == 0, ran.errors
    expected = [samples(folder / name) for name in [*(f"{number}.png" for number in range(5)), "gray.png"]]
    with ArchiveReader(tmp_path / "a.vqa") as reader:
        files = [record.data for record in reader]
        note = json.loads(reader.note)
    assert note == {"vqcodec": {"lossless": True, "model": weights.resolve(model).model_id}}
    assert [vqcodec.read_header(data).needs_pixel_model for data in files] == 5 * [True] + [False]
    for back, picture in zip(api.decode_batch(files, model=model), expected, strict=True):
        assert np.array_equal(back, picture)
    ran = run("verify", tmp_path / "a.vqa", "--model", model)
    assert ran.status == 0, ran.errors
    ran = run("unpack", tmp_path / "a.vqa", tmp_path / "back", "--model", model)
    assert ran.status == 0, ran.errors
    assert np.array_equal(samples(tmp_path / "back/3.png"), expected[3])
    for options in ([], ["--model", other]):
        ran = run("verify", tmp_path / "a.vqa", *options)
        assert ran.status == 1 and weights.resolve(model).model_id in ran.errors and "Traceback" not in ran.errors
        ran = run("unpack", tmp_path / "a.vqa", tmp_path / "none", *options)
        assert ran.status == 1 and weights.resolve(model).model_id in ran.errors and "Traceback" not in ran.errors


def test_a_stopped_run_is_taken_up(model: Path, other: Path, tmp_path: Path) -> None:
    pictures, path = list(drawn(300, 7, 6)), tmp_path / "a.vqa"
    pack(pictures, tmp_path / "whole.vqa", lossless=True, model=str(model), threads=1)

    def stop(packed: Packed) -> None:
        if packed.done == 290:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(pictures, path, lossless=True, model=str(model), progress=stop)
    with pytest.raises(InvalidInputError, match="other settings"):
        pack(pictures, path, lossless=True, model=str(other))
    with pytest.raises(InvalidInputError, match="other settings"):
        pack(pictures, path, lossless=True)
    assert pack(pictures, path, lossless=True, model=str(model)).resumed > 0
    assert path.read_bytes() == (tmp_path / "whole.vqa").read_bytes()
    with ArchiveReader(path) as reader:
        back = api.decode_batch([record.data for record in reader], model=model)
    assert np.array_equal(back, pictures)


def test_unpacking(folder: Path, model: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "a.vqa", lossless=True, model=str(model))
    records = list(unpack(tmp_path / "a.vqa", tmp_path / "back", model=str(model)))
    assert [record.error for record in records] == 6 * [None]
    for path in folder.iterdir():
        assert np.array_equal(samples(tmp_path / "back" / path.name), samples(path))


# the program


def test_the_program(run: Run, model: Path, other: Path, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    model_id = weights.resolve(model).model_id
    ran = run("encode", "--lossless", "--model", model, "a.png", cwd=tmp_path)
    assert ran.status == 0 and "lossless" in ran.errors, ran.errors
    assert (tmp_path / "a.vqc").read_bytes() == lossless(model)
    ran = run("decode", "a.vqc", "-o", "b.png", "--model", model, cwd=tmp_path)
    assert ran.status == 0, ran.errors
    assert np.array_equal(samples(tmp_path / "b.png"), PICTURE)
    assert run("verify", "a.vqc", "--model", model, cwd=tmp_path).status == 0
    for command in (["decode", "a.vqc", "-o", "c.png"], ["verify", "a.vqc"]):
        for options in ([], ["--model", other]):
            ran = run(*command, *options, cwd=tmp_path)
            assert ran.status == 1 and model_id in ran.errors and ran.errors.startswith("vqcodec: ")
            assert len(ran.errors.splitlines()) == 1 and not (tmp_path / "c.png").exists(), ran.errors
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "gray.png")
    ran = run("encode", "--lossless", "--model", model, "gray.png", cwd=tmp_path)
    assert ran.status == 0 and "makes it no smaller: the file needs none" in ran.errors
    assert run("verify", "gray.vqc", cwd=tmp_path).status == 0
    shown = run("info", "a.vqc", cwd=tmp_path)
    assert shown.status == 0 and model_id in shown.output.decode() and "version 8" in shown.output.decode()
    facts = json.loads(run("info", "--json", "a.vqc", cwd=tmp_path).output)
    assert (facts["lossless"], facts["model"], facts["model_id"], facts["levels"]) == (True, None, model_id, [])
    assert (facts["quality"], facts["quality_position"], facts["format_version"]) == (None, None, 8)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--model", "MODEL"], "model of pixels"),
        (["--model", "MODEL", "--lossless", "--preview"], "model of pixels"),
        (["--model", "photo", "--lossless"], "model of codes"),
        (["--model", "none.safetensors", "--lossless"], "none.safetensors"),
    ],
)
def test_what_does_not_go_together(options: list[str], cause: str, run: Run, model: Path, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    given = [str(model) if option == "MODEL" else option for option in options]
    commands = [["encode", "a.png", *given]]
    if "--preview" not in given:
        commands.append(["pack", ".", "a.vqa", *given])
    for command in commands:
        ran = run(*command, cwd=tmp_path)
        assert ran.status == 2 and cause in ran.errors and "--model" in ran.errors, ran.errors
        assert "Traceback" not in ran.errors and [path.name for path in tmp_path.iterdir()] == ["a.png"]
