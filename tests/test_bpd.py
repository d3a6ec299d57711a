"""scripts/bpd_*.py: figures are those of real files that come back, and published ones stand apart from ours."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqcodec

for needed in ("bjontegaard", "matplotlib", "pillow_jxl", "pytorch_msssim"):
    pytest.importorskip(needed, reason="needs the extra `bench`")

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "scripts" / "results"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import one of the scripts as a module."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    return importlib.import_module


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """Two rows of three pictures of 32x32, from a real photo."""
    with Image.open(REPOSITORY / "tests" / "data" / "flowers.png") as image:
        image.convert("RGB").crop((64, 64, 160, 128)).save(tmp_path / "test.webp", lossless=True)
    return tmp_path / "test.webp"


def results(name: str) -> dict[str, Any]:
    folders: dict[str, Any] = json.loads((RESULTS / f"bpd_{name}.json").read_text("utf-8"))["folders"]
    return folders


def test_small_pictures_as_files_and_archives(scripts: Callable[[str], Any], mosaic: Path) -> None:
    photos = scripts("bpd_archives").cifar_test(mosaic)
    with Image.open(mosaic) as image:
        assert np.array_equal(photos[4].pixels, np.asarray(image)[32:64, 32:64]) and len(photos) == 6
    coders = scripts("bpd_benchmark").cifar_results(photos)["coders"]
    samples = 6 * 32 * 32 * 3
    ours = coders["vqcodec --lossless"]
    assert ours["bytes"] == sum(len(vqcodec.encode(photo.pixels, lossless=True)) for photo in photos)
    small = coders["vqcodec --lossless --model tiny"]
    assert small["bound"] < small["archive"]["bits_per_dim"] < small["bits_per_dim"]
    for label, coder in coders.items():
        assert coder["bits_per_dim"] == pytest.approx(8 * coder["bytes"] / samples, abs=1e-4)
        assert coder["archive"]["bits_per_dim"] == pytest.approx(8 * coder["archive"]["bytes"] / samples, abs=1e-4)
        if label.startswith("vqcodec"):
            assert coder["archive"]["form"] == ".vqa" and coder["archive"]["bytes"] < coder["bytes"]
        else:
            assert (coder["archive"]["form"], coder["archive"]["bytes"] % 512) == (".tar", 0)


def test_a_tar_has_all_bytes_and_its_headers(scripts: Callable[[str], Any]) -> None:
    files = {"a": b"x" * 20_000, "b": b"y"}
    found = scripts("bpd_archives").tarred(files, samples=1000)
    assert found["bytes"] == 30_720  # 512 + 40 * 512 + 512 + 512 + two empty blocks, in records of 10,240
    assert found["bits_per_dim"] == 245.76


def test_a_coder_that_loses_something_is_refused(scripts: Callable[[str], Any], mosaic: Path) -> None:
    photos = scripts("bpd_archives").cifar_test(mosaic)
    png = scripts("bpd_coders").pillow("PNG", "PNG", "Pillow")
    lossy = dataclasses.replace(png, decode=lambda data: png.decode(data) ^ 1)
    scripts("bpd_benchmark").measure(png, photos)
    with pytest.raises(SystemExit, match="00000 does not come back"):
        scripts("bpd_benchmark").measure(lossy, photos)


def test_published_figures_have_sources() -> None:
    published = json.loads((REPOSITORY / "scripts" / "published_bpd.json").read_text("utf-8"))
    rows = [row for rows in published["figures"].values() for row in rows]
    assert {row["source"] for row in rows} == published["sources"].keys()
    for source in published["sources"].values():
        assert source["url"].startswith("https://") and source["place"] and source["rate"]
    for row in rows:
        bits = {row[key] for key in ("files", "archive", "bound") if key in row}
        assert bits and all(2 < figure < 5 for figure in bits)
        assert ("bound" in row) != ("files" in row or "archive" in row)  # a bound is no file


def test_published_figures_stand_beside_all_of_kodak_only(scripts: Callable[[str], Any]) -> None:
    report, kodak = scripts("bpd_report"), results("kodak")
    assert "EMMA*" in report.tables(kodak)
    kodak["kodak"]["images"].pop()
    assert "EMMA*" not in report.tables(kodak)


def test_picture_and_readme_tell_the_measured_figures(scripts: Callable[[str], Any], tmp_path: Path) -> None:
    report = scripts("bpd_report")
    folders = results("cifar") | results("kodak") | results("val")
    report.plot(folders, tmp_path / "bpd.svg")
    drawn = (tmp_path / "bpd.svg").read_text("utf-8")
    assert all(label in drawn for label in ("IDF++*, single files", "JPEG XL e9, one archive", "validation photos"))
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    for row in report.rows_of("cifar10", folders["cifar10"]):
        if not row["published"]:
            cells = (row["files"], row["archive"], row["encode_mpixel_s"], row["decode_mpixel_s"])
            bound = f"{row['bound']:.3f} " if "bound" in row else ""
            assert "| {:.3f} | {:.3f} | {}| {:.2f} | {:.2f} |".format(*cells[:2], bound, *cells[2:]) in readme
