"""Everything that can be packed, in order, and the same bytes whatever happens on the way."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROGRAM
from PIL import Image

from vqcodec import ArchiveReader, api, encode, errors, load, pack

FAST: dict[str, Any] = {"effort": 0, "threads": 2}


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), np.uint8)


def packed(path: Path) -> list[tuple[str | None, int | None, bytes]]:
    """Name, label and extra of each record."""
    with ArchiveReader(path) as reader:
        return [(record.name, record.label, record.extra) for record in reader]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, one of them empty, a nested folder, a hidden file and one that is no image."""
    root = tmp_path / "images"
    for number, image in enumerate(pictures(7)):
        place = root / ("cat", "dog/puppy", "owl")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    (root / "bat").mkdir()
    (root / "owl" / "notes.txt").write_text("not an image")
    return root


def test_a_folder_of_classes(folder: Path, tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    done = pack(folder, tmp_path / "a.vqa", **FAST)
    assert (done.total, done.done, done.records, done.skipped) == (7, 7, 7, [])
    listed = packed(tmp_path / "a.vqa")
    assert [name for name, _, _ in listed] == [
        "cat/0.png", "cat/3.png", "cat/6.png", "dog/puppy/1.png", "dog/puppy/4.png", "owl/2.png", "owl/5.png",
    ]  # fmt: skip
    theirs = torchvision.ImageFolder(folder, allow_empty=True)
    assert [label for _, label, _ in listed] == theirs.targets
    with ArchiveReader(tmp_path / "a.vqa") as reader:
        assert reader[3].data == load().encode(pictures(7)[1], effort=0)
        assert json.loads(reader.note)["vqcodec"] == {"effort": 0, "model": load().model_id, "quality": 50.0}


def test_a_flat_folder_has_no_labels(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(folder / "top.png")
    pack(folder, tmp_path / "a.vqa", **FAST)
    assert {label for _, label, _ in packed(tmp_path / "a.vqa")} == {None}
    with pytest.raises(errors.InvalidInputError, match="no image files"):
        pack(folder / "bat", tmp_path / "b.vqa")


def test_arrays_and_their_files(tmp_path: Path) -> None:
    images, labels = pictures(5), np.arange(5)[::-1]
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", x=images, y=labels)
    np.savez(tmp_path / "two.npz", x=images, z=images)
    for source, wanted in (
        (images, [None] * 5),
        (tmp_path / "a.npy", [None] * 5),
        (tmp_path / "a.npz", [4, 3, 2, 1, 0]),
    ):
        pack(source, tmp_path / "a.vqa", force=True, **FAST)
        assert [label for _, label, _ in packed(tmp_path / "a.vqa")] == wanted
        assert ArchiveReader(tmp_path / "a.vqa")[4].data == load().encode(images[4], effort=0)
    with pytest.raises(errors.InvalidInputError, match="x, z"):
        pack(tmp_path / "two.npz", tmp_path / "b.vqa")
    with pytest.raises(errors.InvalidInputError, match="float64"):
        pack(images / 255, tmp_path / "b.vqa")


def test_a_webdataset(tmp_path: Path) -> None:
    def png(image: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()

    members = {
        "a/1.png": png(pictures(2)[0]), "a/1.cls": b"3", "a/1.json": b'{"k": [1]}', "a/1.txt": b"hello",
        "a/1.bin": b"\xff",
        "a/2.seg.png": png(pictures(2)[1]),
        "a/3.cls": b"1",
        "a/4.png": b"broken",
        "a/5.png": png(pictures(2)[1]), "a/5.cls": b"x",
    }  # fmt: skip
    for name in ("a.tar", "a.tar.gz"):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as tar:
            for member, data in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        done = pack(tmp_path / name, tmp_path / "a.vqa", on_error="skip", force=True, **FAST)
        assert [why for why, _ in done.skipped] == ["a/3", "a/4.png", "a/5.png"]
        first, second = packed(tmp_path / "a.vqa")
        assert first[:2] == ("a/1.png", 3) and second == ("a/2.seg.png", None, b"")
        assert json.loads(first[2]) == {"json": {"k": [1]}, "txt": "hello", "bin": {"hex": "ff"}}


def test_data_sets_and_iterables(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    images = pictures(4)

    def samples() -> Iterator[Any]:
        yield Image.fromarray(images[0]), 3
        yield images[1], np.int64(2)
        yield {"image": Image.fromarray(images[2]), "label": 1}
        yield torch.from_numpy(images[3].transpose(2, 0, 1)), torch.tensor(0)

    for source in (list(samples()), samples()):
        pack(source, tmp_path / "a.vqa", force=True, **FAST)
        with ArchiveReader(tmp_path / "a.vqa") as reader:
            assert [record.label for record in reader] == [3, 2, 1, 0]
            assert [record.data for record in reader] == [load().encode(image, effort=0) for image in images]
    with pytest.raises(errors.InvalidInputError, match=r"input 0: the label 'cat' is not an integer"):
        pack([(images[0], "cat")], tmp_path / "b.vqa")
    with pytest.raises(errors.InvalidInputError, match="cannot pack a int"):
        pack(3, tmp_path / "b.vqa")


def test_lossless(folder: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 4000, (3, 12, 10), np.uint16)
    pack(deep, tmp_path / "deep.vqa", lossless=True)
    with ArchiveReader(tmp_path / "deep.vqa") as reader:
        assert all(np.array_equal(record.decode(), image) for record, image in zip(reader, deep, strict=True))
    pack(folder, tmp_path / "a.vqa", lossless=True)
    with ArchiveReader(tmp_path / "a.vqa") as reader:
        assert reader.note == b'{"vqcodec": {"lossless": true}}'
        order = [0, 3, 6, 1, 4, 2, 5]
        assert all(np.array_equal(record.decode(), pictures(7)[n]) for record, n in zip(reader, order, strict=True))
        fronts = [block.header(inner) for block, inner, _ in reader.fronts()]
        overhead = reader.bytes - sum(header.exact_bytes for header in fronts)
    pack(folder, tmp_path / "one.vqa", lossless=True, threads=1)
    assert (tmp_path / "one.vqa").read_bytes() == (tmp_path / "a.vqa").read_bytes()
    assert overhead < 300  # of which the names take most
    with pytest.raises(errors.UnsupportedImageError, match="uint16"):
        pack(deep, tmp_path / "b.vqa")


def test_files_that_are_encoded_already(tmp_path: Path) -> None:
    data = load().encode(pictures(1)[0], 90)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.vqc").write_bytes(data)
    pack(tmp_path / "f", tmp_path / "a.vqa", quality=10)
    pack([data, data], tmp_path / "b.vqa", quality=10)
    assert ArchiveReader(tmp_path / "a.vqa")[0].data == ArchiveReader(tmp_path / "b.vqa")[1].data == data
    (tmp_path / "f" / "b.vqc").write_bytes(data[:-1])
    with pytest.raises(errors.TruncatedError, match=r"b\.vqc"):
        pack(tmp_path / "f", tmp_path / "c.vqa")


def test_broken_pictures_stop_or_are_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(errors.UnsupportedImageError, match=r"cat/1\.png: "):
        pack(folder, tmp_path / "a.vqa", **FAST)
    assert not (tmp_path / "a.vqa").exists()
    done = pack(folder, tmp_path / "a.vqa", on_error="skip", **FAST)
    assert [name for name, _ in done.skipped] == ["cat/1.png"] and (done.done, done.records) == (8, 7)
    with pytest.raises(ZeroDivisionError):
        pack((1 / 0 for _ in range(3)), tmp_path / "b.vqa")


def test_stopped_anywhere_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Also with broken inputs around the ends of blocks, and another number of threads each time."""
    inputs: list[Any] = [(image, number) for number, image in enumerate(pictures(700))]
    for broken in (0, 255, 256, 257, 400, 515, 699):
        inputs[broken] = (np.zeros((0, 4), np.uint8), 0)
    whole = pack(inputs, tmp_path / "whole.vqa", effort=0, threads=1, on_error="skip")
    assert (whole.records, len(whole.skipped)) == (693, 7)

    for stop in (1, 255, 300, 516, 520, 699):

        def interrupt(state: Any, stop: int = stop) -> None:
            if state.done >= stop:
                raise KeyboardInterrupt

        path = tmp_path / f"{stop}.vqa"
        with pytest.raises(KeyboardInterrupt):
            pack(inputs, path, effort=0, threads=3, on_error="skip", progress=interrupt)
        assert not path.exists()
        done = pack(iter(inputs), path, effort=0, threads=2, on_error="skip")
        assert (done.resumed > 0) == (stop > 257)
        assert path.read_bytes() == (tmp_path / "whole.vqa").read_bytes()
        assert done.left_out == 7


def test_another_source_is_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for number, image in enumerate(pictures(300)):
        Image.fromarray(image).save(tmp_path / "f" / f"{number:03d}.png")

    def interrupt(state: Any) -> None:
        if state.done == 290:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "f", tmp_path / "a.vqa", progress=interrupt, **FAST)
    with pytest.raises(errors.InvalidInputError, match="other settings"):
        pack(tmp_path / "f", tmp_path / "a.vqa", quality=20, **FAST)
    (tmp_path / "f" / "000.png").unlink()
    with pytest.raises(errors.InvalidInputError, match="source has changed"):
        pack(tmp_path / "f", tmp_path / "a.vqa", **FAST)
    assert pack(tmp_path / "f", tmp_path / "a.vqa", force=True, **FAST).records == 299
    pack(tmp_path / "f", tmp_path / "b.vqa", **FAST)
    assert (tmp_path / "a.vqa").read_bytes() == (tmp_path / "b.vqa").read_bytes()


def test_killed_it_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(1500))
    command = [*PROGRAM, "pack", "a.npy", "a.vqa", "--effort", "0", "-j", "2", "--quiet"]
    pack(pictures(1500), tmp_path / "whole.vqa", effort=0)
    target, part = tmp_path / "a.vqa", tmp_path / "a.vqa.part"
    kills = 0
    for blocks in (1, 2, 4):  # killed when so many blocks are there
        running = subprocess.Popen(command, cwd=tmp_path)
        while running.poll() is None and (not part.exists() or part.stat().st_size < blocks * 20_000):
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
        assert target.exists() or part.exists()
    if not target.exists():
        subprocess.run(command, cwd=tmp_path, check=True)
    assert kills > 0
    assert target.read_bytes() == (tmp_path / "whole.vqa").read_bytes()


def test_lossless_records_come_back(folder: Path, tmp_path: Path) -> None:
    deep = Image.fromarray(pictures(1)[0, ..., 0].astype(np.uint16) * 99)
    deep.save(folder / "owl" / "deep.png")
    ran = subprocess.run([*PROGRAM, "pack", "--lossless", folder, tmp_path / "a.vqa"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    with ArchiveReader(tmp_path / "a.vqa") as reader:
        assert len(reader) == 8
        for record in reader:
            with Image.open(folder / str(record.name)) as image:
                assert np.array_equal(record.decode(), np.asarray(image))
    mixed = [pictures(1)[0], encode(pictures(1)[0], lossless=True)]
    pack(mixed, tmp_path / "b.vqa", **FAST)
    assert np.array_equal(api.decode_batch([r.data for r in ArchiveReader(tmp_path / "b.vqa")])[1], mixed[0])
    for archive in "ab":
        ran = subprocess.run([*PROGRAM, "verify", f"{tmp_path}/{archive}.vqa"], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    ran = subprocess.run([*PROGRAM, "unpack", tmp_path / "a.vqa", tmp_path / "out"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    with Image.open(tmp_path / "out/owl/deep.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(deep))
