"""scripts/rd_benchmark.py on two small photos: the rows are true, earlier rows are reused only where they fit."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vqcodec import metrics

for needed in ("bjontegaard", "matplotlib", "pytorch_msssim"):
    pytest.importorskip(needed, reason="needs the extra `bench`")

SCRIPTS = Path(__file__).parents[1] / "scripts"


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "rd_benchmark.py"), *map(str, arguments)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # torch's threads wait for each other on a busy machine
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=one_thread)


def finished(*arguments: object) -> tuple[dict[str, Any], str]:
    """The JSON and the Markdown of a run that went well."""
    ran = benchmark(*arguments)
    assert ran.returncode == 0, ran.stderr
    return json.loads(Path(str(arguments[-1])).read_text("utf-8")), ran.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crops of a real photo, 192x176 and 170x200."""
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(Path(__file__).parent / "data" / "flowers.png") as image:
        image.crop((0, 0, 192, 176)).save(folder / "a.png")
        image.crop((200, 100, 370, 300)).save(folder / "b.png")
    return folder


@pytest.fixture(scope="module")
def classic(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """JSON path, JSON and Markdown of a run of JPEG and WebP."""
    output = tmp_path_factory.mktemp("results") / "classic.json"
    return output, *finished(folder, "--codecs", "jpeg,webp", "--output", output)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import one of the scripts as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def test_rows_are_what_the_codec_gives(folder: Path, classic: tuple[Path, dict[str, Any], str]) -> None:
    _, results, _ = classic
    with Image.open(folder / "b.png") as image:
        pixels = np.asarray(image)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=20, method=6)
    with Image.open(stream) as image:
        decoded = np.asarray(image.convert("RGB"))
    rows = results["codecs"]["webp"]["rows"]
    (row,) = [row for row in rows if row["image"] == "b.png" and row["quality"] == 20]
    assert row["bytes"] == len(stream.getvalue())
    assert row["bpp"] == pytest.approx(8 * row["bytes"] / (170 * 200), abs=1e-6)
    assert row["psnr"] == pytest.approx(metrics.psnr(pixels, decoded), abs=1e-4)
    assert row["ms_ssim"] == pytest.approx(metrics.ms_ssim(pixels, decoded), abs=1e-5)


def test_curve_is_the_mean_over_images(classic: tuple[Path, dict[str, Any], str]) -> None:
    _, results, _ = classic
    for entry in results["codecs"].values():
        for point in entry["curve"]:
            rows = [row for row in entry["rows"] if row["quality"] == point["quality"]]
            assert [row["image"] for row in rows] == ["a.png", "b.png"]
            for key in ("bpp", "psnr", "ms_ssim"):
                assert point[key] == pytest.approx(np.mean([row[key] for row in rows]), abs=1e-6)
        rates = [point["bpp"] for point in entry["curve"]]
        assert rates == sorted(rates) and len(rates) >= 8


def test_plots_and_table_are_written(classic: tuple[Path, dict[str, Any], str]) -> None:
    output, _, markdown = classic
    with Image.open(output.with_suffix(".png")) as image:
        assert min(image.size) > 400
    drawing = output.with_suffix(".svg").read_text("utf-8")
    assert drawing.index("WebP") < drawing.index("JPEG")  # the legend has the better codec first
    assert "| JPEG |" in markdown and "| WebP |" in markdown and "0.15 bpp" in markdown


def test_baseline_is_reused_where_nothing_changed(
    folder: Path, classic: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    path, results, _ = classic
    again, _ = finished(folder, "--codecs", "jpeg,webp", "--baseline", path, "--output", tmp_path / "again.json")
    for name, entry in results["codecs"].items():
        assert again["codecs"][name]["rows"] == entry["rows"]  # the seconds too: nothing was measured
        assert again["codecs"][name]["measured"] == {**entry["measured"], "reused": True}


@pytest.mark.parametrize("changed", ["nothing", "versions", "settings", "image", "quality"])
def test_baseline_is_reused_only_where_all_matches(
    folder: Path, classic: tuple[Path, dict[str, Any], str], scripts: Callable[[str], Any], changed: str
) -> None:
    rd_benchmark = scripts("rd_benchmark")
    baseline = json.loads(classic[0].read_text("utf-8"))
    entry = baseline["codecs"]["jpeg"]
    if changed == "versions":
        entry["versions"]["libjpeg_turbo"] = "0.0"
    elif changed == "settings":
        entry["settings"]["subsampling"] = "4:4:4"
    elif changed == "image":
        baseline["images"][1]["sha256"] = "0" * 64
    elif changed == "quality":
        entry["rows"] = [row for row in entry["rows"] if row["quality"] != 50]
    coder = rd_benchmark.make_coder("jpeg", "photo")
    found = rd_benchmark.reuse_all(baseline, coder, rd_benchmark.load_photos(folder))
    assert (found is not None) == (changed == "nothing")


def test_a_subset_is_reused_under_new_names(
    folder: Path, classic: tuple[Path, dict[str, Any], str], scripts: Callable[[str], Any], tmp_path: Path
) -> None:
    rd_benchmark = scripts("rd_benchmark")
    (tmp_path / "renamed.png").write_bytes((folder / "b.png").read_bytes())
    coder = rd_benchmark.make_coder("webp", "photo")
    found = rd_benchmark.reuse_all(classic[1], coder, rd_benchmark.load_photos(tmp_path))
    expected = [row for row in classic[1]["codecs"]["webp"]["rows"] if row["image"] == "b.png"]
    assert found["rows"] == [{**row, "image": "renamed.png"} for row in expected]


def test_vqcodec_beside_a_classic_codec(folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from vqcodec.config import ModelConfig
    from vqcodec.export import export_model
    from vqcodec.models import VQVAE

    torch.manual_seed(0)
    widths = {"analysis_width": 16, "analysis_coarse_width": 16, "synthesis_width": 16, "prior_hidden": 16}
    model = VQVAE(ModelConfig(channels=24, slices=(4, 8, 12), **widths)).eval()
    torch.nn.init.normal_(model.prior.slices[0].head_bias, std=0.5)
    (tmp_path / "tiny.safetensors").write_bytes(export_model(model, name="tiny", description="untrained"))
    arguments = ("--codecs", "vqcodec,jpeg", "--model", tmp_path / "tiny.safetensors")
    results, markdown = finished(folder, *arguments, "--output", tmp_path / "out.json")
    entry = results["codecs"]["vqcodec"]
    sizes = {(row["image"], row["quality"]): row["bytes"] for row in entry["rows"]}
    assert sizes == {(row["image"], row["quality"]): row["file_bytes"] for row in entry["prior_rows"]}
    assert len(sizes) == 2 * 8
    for row in entry["prior_rows"]:
        # a payload may be a bit shorter than its entropy: its length, in the header, says something too
        assert -1 < row["payload_bytes"] - row["entropy_bytes"] <= 4 + 0.001 * row["entropy_bytes"]
        assert row["static_file_bytes"] > row["file_bytes"] - row["payload_bytes"] > 0
    adapted, unadapted = (
        sum(row[f"{kind}_bytes"] for row in entry["prior_rows"] if row["quality"] == 100.0)
        for kind in ("entropy", "unadapted")
    )
    assert 0 < adapted < unadapted  # nothing fits these photos less than an untrained prior
    assert entry["prior"][-1]["adaptation_saved_percent"] == pytest.approx(100 * (1 - adapted / unadapted), abs=0.01)
    assert results["bd_rate"].keys() == {"jpeg"}
    assert "saved by the prior" in markdown


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "jxl"])
def test_classic_coders(scripts: Callable[[str], Any], folder: Path, name: str) -> None:
    try:
        coder = scripts("rd_coders").CLASSIC[name]()
    except ImportError as error:
        pytest.skip(str(error))
    with Image.open(folder / "a.png") as image:
        pixels = np.asarray(image)
    data = [coder.encode(pixels, quality) for quality in (coder.qualities[0], coder.qualities[-1])]
    worst, best = (metrics.psnr(pixels, coder.decode(one)) for one in data)
    assert 18 < worst < best - 3 and len(data[0]) < len(data[1])
    assert all(coder.versions.values()) and json.loads(json.dumps(coder.settings)) == coder.settings


def test_quality_at_equal_rate(scripts: Callable[[str], Any]) -> None:
    curve = [{"bpp": rate, "psnr": decibels} for rate, decibels in [(0.15, 26.0), (0.6, 30.0)]]
    found = scripts("rd_summary").at_rates(curve, "psnr")
    assert found["0.3"] == pytest.approx(28.0) and found["0.15"] == 26.0
    assert found["0.1"] is None and found["0.8"] is None


@pytest.mark.parametrize(
    "arguments",
    [["{folder}/nowhere"], ["{folder}", "--codecs", "jpeg,gif"], ["{folder}", "--baseline", "no.json"]],
)
def test_usage_errors(folder: Path, arguments: list[str]) -> None:
    ran = benchmark(*(argument.format(folder=folder) for argument in arguments))
    assert ran.returncode == 2 and "Traceback" not in ran.stderr
