"""`vqcodec pack`, `unpack`, `ls` and `verify` of archives, as users run them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from PIL import Image

from vqcodec import ArchiveReader, ArchiveWriter, load
from vqcodec.unpacking import safe_path

PICTURES = np.random.default_rng(1).integers(0, 256, (6, 18, 22, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, image in enumerate(PICTURES):
        place = tmp_path / "images" / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.bmp")
    return tmp_path / "images"


@pytest.fixture
def archive(folder: Path, tmp_path: Path, run: Run) -> Path:
    assert run("pack", folder, tmp_path / "a.vqa", "--effort", 0, "-q", 80).status == 0
    return tmp_path / "a.vqa"


def test_pack_and_list(folder: Path, tmp_path: Path, run: Run) -> None:
    target = tmp_path / "a.vqa"
    ended = run("pack", folder, target, "--effort", 0, "-q", 80, "-j", 2)
    assert ended.status == 0 and not ended.output
    assert f"-> {target}: 6 pictures, {target.stat().st_size} bytes" in ended.errors
    ended = run("ls", target)
    lines = ended.output.decode().splitlines()
    assert ended.status == 0 and lines[3].split()[1] == "22x18" and lines[3].split()[3:] == ["1", "dog/1.bmp"]
    assert lines[-1].startswith(f"6 records in 1 blocks, {target.stat().st_size} bytes")
    facts = [json.loads(line) for line in run("ls", target, "--json").output.splitlines()]
    assert facts[3] | {"bytes": 0} == {
        "number": 3, "name": "dog/1.bmp", "label": 1, "width": 22, "height": 18, "bytes": 0,
        "model_id": load().model_id, "extra": "",
    }  # fmt: skip
    ended = run("pack", folder, target)
    assert ended.status == 1 and "--force" in ended.errors
    assert run("pack", folder, target, "--force", "--quiet", "--effort", 0).errors == ""


def test_broken_pictures(folder: Path, tmp_path: Path, run: Run) -> None:
    (folder / "cat" / "bad.png").write_bytes(b"x")
    ended = run("pack", folder, tmp_path / "a.vqa", "--effort", 0)
    assert ended.status == 1 and "cat/bad.png: not an image" in ended.errors
    assert not (tmp_path / "a.vqa").exists()
    ended = run("pack", folder, tmp_path / "a.vqa", "--effort", 0, "--on-error", "skip")
    assert ended.status == 1 and "cat/bad.png: left out: not an image" in ended.errors
    assert "6 pictures, 1 left out" in ended.errors
    assert run("verify", tmp_path / "a.vqa").status == 0


def test_wrong_requests(folder: Path, tmp_path: Path, run: Run) -> None:
    assert run("pack", folder, tmp_path / "a.vqa", "-q", 101).status == 2
    assert run("pack", folder, tmp_path / "a.vqa", "--model", "nobody").status == 2
    assert run("pack", folder, tmp_path / "a.vqa", "--on-error", "ignore").status == 2
    for source in (tmp_path / "nowhere", Path(__file__)):
        ended = run("pack", source, tmp_path / "a.vqa")
        assert ended.status == 1 and "Traceback" not in ended.errors and len(ended.errors.splitlines()) == 1
    assert run("unpack", folder / "cat" / "0.bmp", tmp_path / "out").status == 1
    assert run("unpack", tmp_path / "a.vqa", tmp_path / "out", "--format", "doc").status == 2
    assert "not a vqcodec archive" in run("ls", folder / "cat" / "0.bmp").errors
    assert not (tmp_path / "a.vqa").exists() and not (tmp_path / "out").exists()


def test_unpack(archive: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    assert run("unpack", archive, out).status == 0
    with ArchiveReader(archive) as reader:
        for record in reader:
            assert record.name is not None
            with Image.open(out / Path(record.name).with_suffix(".png")) as image:
                assert np.array_equal(np.asarray(image), record.decode())
    assert len(list(out.rglob("*.*"))) == 6
    (out / "cat" / "0.png").write_bytes(b"mine")
    ended = run("unpack", archive, out)
    assert ended.status == 1 and "6 of 6 files failed" in ended.errors
    assert (out / "cat" / "0.png").read_bytes() == b"mine"
    assert run("unpack", archive, out, "--force").status == 0
    assert (out / "cat" / "0.png").read_bytes() != b"mine"
    assert run("unpack", archive, tmp_path / "raw", "--format", "vqc").status == 0
    assert (tmp_path / "raw" / "dog" / "1.vqc").read_bytes() == ArchiveReader(archive)[3].data


HOSTILE = [
    "../up.png", "a/../../up.png", "/etc/up.png", "C:/up.png", "C:up.png", "..\\up.png", "a\\..\\up.png",
    "\\\\host\\up.png", "a\x00b.png", "a\nb.png", ".", "..", "a//b.png", "a/./b.png", "con.png", "a/NUL",
    "com1.txt.png", "lpt¹.png", "a/b.", "a /b.png", "n" * 300,
]  # fmt: skip


def test_hostile_names(tmp_path: Path, run: Run) -> None:
    data = load().encode(PICTURES[0], effort=0)
    with ArchiveWriter(tmp_path / "in" / ".." / "a.vqa") as writer:
        for name in [*HOSTILE, "good/a.png", "good/a.jpg", "GOOD/A.PNG", "good/a.jpg"]:
            writer.add(data, name)
        writer.add(data)
        writer.add(data, None, 3)
    deep = tmp_path / "deep"
    ended = run("unpack", tmp_path / "a.vqa", deep / "out", "--format", "vqc")
    assert ended.status == 0 and ended.errors.count("is not safe") == len(HOSTILE)
    found = {path.relative_to(deep).as_posix() for path in deep.rglob("*") if path.is_file()}
    count = len(HOSTILE)
    assert found == {
        *(f"out/{number:08d}.vqc" for number in range(count)),
        "out/good/a.vqc", "out/good/a.jpg.vqc", "out/GOOD/A.PNG.vqc", f"out/{count + 3:08d}.vqc",
        f"out/{count + 4:08d}.vqc", f"out/3/{count + 5:08d}.vqc",
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"a.vqa", "deep"}
    assert all(safe_path(name) is None for name in HOSTILE)
    assert str(safe_path("a b/ü/c.d.png")) == "a b/ü/c.d.png"


def test_links_do_not_lead_out(tmp_path: Path, run: Run) -> None:
    with ArchiveWriter(tmp_path / "a.vqa") as writer:
        writer.add(load().encode(PICTURES[0], effort=0), "link/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    ended = run("unpack", tmp_path / "a.vqa", tmp_path / "out")
    assert ended.status == 1 and "outside" in ended.errors
    assert not list((tmp_path / "elsewhere").iterdir())


def test_verify_and_recover(archive: Path, tmp_path: Path, run: Run) -> None:
    ended = run("verify", archive)
    assert (ended.status, ended.output.decode()) == (0, f"{archive}: ok, 6 records, {archive.stat().st_size} bytes\n")
    data = archive.read_bytes()
    with ArchiveReader(archive) as reader, ArchiveWriter(tmp_path / "b.vqa") as writer:
        for number in (0, 0):
            writer.add_block(reader.placed(number))
    whole = (tmp_path / "b.vqa").read_bytes()
    damaged = bytearray(whole)
    damaged[len(data) // 2] ^= 4
    (tmp_path / "b.vqa").write_bytes(damaged)
    ended = run("verify", tmp_path / "b.vqa")
    assert ended.status == 1 and "records 0 to 5" in ended.errors and "--recover" in ended.errors
    ended = run("verify", "--recover", tmp_path / "b.vqa")
    assert ended.status == 0 and b"recovered 6 records in 1 blocks" in ended.output
    assert b"6 of 12 records are lost" in ended.output
    assert len(ArchiveReader(tmp_path / "b.recovered.vqa")) == 6
    assert (tmp_path / "b.vqa").read_bytes() == damaged
    (tmp_path / "c.vqa.part").write_bytes(whole[:-10])
    ended = run("verify", tmp_path / "c.vqa.part")
    assert ended.status == 1 and "not sealed" in ended.errors
    ended = run("verify", "--recover", tmp_path / "c.vqa.part", tmp_path / "b.vqa")
    assert ended.status == 1 and b"recovered 12 records in 2 blocks" in ended.output  # the second one exists
    assert (tmp_path / "c.recovered.vqa").exists()
