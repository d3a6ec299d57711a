"""Pillow opens and saves .vqc files, and so do those that build on it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec import load, read_header, register_pillow

register_pillow()
SHAPES = {"L": (20, 30), "LA": (20, 30, 2), "RGB": (20, 30, 3), "RGBA": (20, 30, 4)}


def picture(mode: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPES[mode], np.uint8)


@pytest.mark.parametrize("mode", SHAPES)
def test_save_and_open(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(picture(mode))
    assert image.mode == mode
    image.save(tmp_path / "a.vqc", quality=70, effort=0)
    data = (tmp_path / "a.vqc").read_bytes()
    assert data == load().encode(picture(mode), 70, effort=0)
    with Image.open(tmp_path / "a.vqc") as opened:
        assert (opened.format, opened.mode, opened.size) == ("VQC", mode, (30, 20))
        assert opened.get_format_mimetype() == "image/x-vqc"
        assert opened.info["model_id"] == load().model_id
        assert np.array_equal(np.asarray(opened), load().decode(data))
        opened.load()
        assert np.array_equal(np.asarray(opened.copy()), load().decode(data))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), load().decode(data))


def test_opening_reads_the_header_alone(tmp_path: Path) -> None:
    data = load().encode(picture("RGB"))
    header_bytes = read_header(data).header_bytes
    with Image.open(io.BytesIO(data[: header_bytes + 5])) as opened:
        assert opened.size == (30, 20)
        with pytest.raises(OSError, match="truncated"):
            opened.load()
    for length in (4, 20):
        with pytest.raises(OSError):
            Image.open(io.BytesIO(data[:length]))
    damaged = data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    with pytest.raises(OSError, match="checksum"):
        Image.open(io.BytesIO(damaged)).load()
    with pytest.raises(OSError, match="checksum"):
        Image.open(io.BytesIO(damaged)).verify()
    Image.open(io.BytesIO(data)).verify()


def test_pillows_own_limit_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load().encode(picture("RGB"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_other_files_stay_pillows(tmp_path: Path) -> None:
    Image.fromarray(picture("RGB")).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").format == "PNG"
    with pytest.raises(OSError, match="quality 101"):
        Image.new("RGB", (3, 3)).save(tmp_path / "a.vqc", quality=101)


def test_importing_the_plugin_registers(tmp_path: Path) -> None:
    (tmp_path / "a.vqc").write_bytes(load().encode(picture("RGB"), effort=0))
    program = "from PIL import Image; {}; print(Image.open('a.vqc').size)"
    for line, status in (("import vqcodec.pillow_plugin", 0), ("import vqcodec", 1)):
        command = [sys.executable, "-c", program.format(line)]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == status


def test_torchvision_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(picture("RGB")).save(tmp_path / name / "a.vqc")
    found = datasets.ImageFolder(tmp_path, is_valid_file=lambda path: path.endswith(".vqc"))
    assert [label for _, label in found] == [0, 1]
    assert np.array_equal(np.asarray(found[1][0]), load().decode((tmp_path / "dog" / "a.vqc").read_bytes()))
    by_suffix = datasets.DatasetFolder(tmp_path, loader=Image.open, extensions=(".vqc",))
    assert len(by_suffix) == 2 and by_suffix[0][0].size == (30, 20)


def test_hugging_face_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = load().encode(picture("RGB"), effort=0)
    (tmp_path / "a.vqc").write_bytes(data)
    feature = datasets.Image()
    images = [feature.encode_example(str(tmp_path / "a.vqc")), {"bytes": data, "path": None}]
    schema = datasets.Features({"image": feature}).arrow_schema
    table = pytest.importorskip("pyarrow").table({"image": images}, schema=schema)
    # A fingerprint of its own: that of `from_dict` fails with some versions of pyarrow and dill, for any image.
    found = datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="vqcodec")
    for sample in found:
        assert np.array_equal(np.asarray(sample["image"]), load().decode(data))
    assert len(found) == 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_lossless_files_come_back(mode: str, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 256, 30 * 20 * max(len(mode), 2), np.uint8)
    size = 2 if mode == "I;16" else len(mode)
    image = Image.frombytes(mode, (30, 20), samples[: 600 * size].tobytes())
    image.save(tmp_path / "a.vqc", lossless=True)
    with Image.open(tmp_path / "a.vqc") as back:
        assert (back.mode, back.size) == (mode, (30, 20))
        assert back.tobytes() == image.tobytes()
