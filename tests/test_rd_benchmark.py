"""scripts/rd_benchmark.py and rd_crops.py on two small photos: the rows are true, earlier rows are reused only where
they fit, published curves stand beside Kodak only."""

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


def script(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # torch's threads wait for each other on a busy machine
    environment = {**one_thread, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)


def benchmark(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return script("rd_benchmark.py", *arguments, **environment)


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
        scored = ("ssimulacra2",) * bool(entry["measured"]["ssimulacra2"])
        for point in entry["curve"]:
            rows = [row for row in entry["rows"] if row["quality"] == point["quality"]]
            assert [row["image"] for row in rows] == ["a.png", "b.png"]
            for key in ("bpp", "psnr", "ms_ssim", *scored):
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


def test_ssimulacra2_of_a_photo_falls_with_quality(scripts: Callable[[str], Any], folder: Path) -> None:
    rd_ssimulacra2 = scripts("rd_ssimulacra2")
    if rd_ssimulacra2.version() is None:
        pytest.skip(f"{rd_ssimulacra2.PROGRAM} is not installed")
    with Image.open(folder / "a.png") as image:
        pixels = np.asarray(image)
    jpeg = scripts("rd_coders").CLASSIC["jpeg"]()
    scores = [rd_ssimulacra2.score(pixels, jpeg.decode(jpeg.encode(pixels, quality))) for quality in (95, 70, 30, 5)]
    assert rd_ssimulacra2.score(pixels, pixels) == 100
    assert 100 > scores[0] > 85 > scores[1] > 65 > scores[2] > 30 > scores[3]


def test_ssimulacra2_is_left_out_without_its_program(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    ran = benchmark(folder, "--codecs", "jpeg", "--output", output, PATH=str(tmp_path))
    assert ran.returncode == 0 and "SSIMULACRA2 was not measured" in ran.stderr
    assert "SSIMULACRA2" not in ran.stdout
    entry = json.loads(output.read_text("utf-8"))["codecs"]["jpeg"]
    assert entry["measured"]["ssimulacra2"] is None and {row["ssimulacra2"] for row in entry["rows"]} == {None}


@pytest.fixture
def scored_by_blue(scripts: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], float]:
    """Stand in for SSIMULACRA2's program, which may be absent: the mean blue of the decoded picture."""

    def blue(decoded: np.ndarray) -> float:
        return round(float(decoded[..., 2].mean()), 4)

    rd_ssimulacra2 = scripts("rd_ssimulacra2")
    monkeypatch.setattr(rd_ssimulacra2, "version", lambda: "blue 1.0")
    monkeypatch.setattr(rd_ssimulacra2, "score", lambda reference, decoded: blue(decoded))
    return blue


def test_reused_rows_get_the_score_they_lack(
    folder: Path,
    classic: tuple[Path, dict[str, Any], str],
    scripts: Callable[[str], Any],
    scored_by_blue: Callable[[np.ndarray], float],
) -> None:
    rd_benchmark = scripts("rd_benchmark")
    coder, photos = rd_benchmark.make_coder("webp", "photo"), rd_benchmark.load_photos(folder)
    earlier = classic[1]["codecs"]["webp"]["rows"]
    found = rd_benchmark.reuse_all(classic[1], coder, photos)
    assert found["measured"]["ssimulacra2"] == "blue 1.0"
    pixels = {photo.name: photo.pixels for photo in photos}
    for row, before in zip(found["rows"], earlier, strict=True):
        decoded = coder.decode(coder.encode(pixels[row["image"]], row["quality"]))
        assert row == {**before, "ssimulacra2": scored_by_blue(decoded)}  # the seconds too: nothing else is measured


@pytest.mark.usefixtures("scored_by_blue")
def test_a_score_is_never_added_to_another_file(
    folder: Path, classic: tuple[Path, dict[str, Any], str], scripts: Callable[[str], Any]
) -> None:
    rd_benchmark = scripts("rd_benchmark")
    baseline = json.loads(classic[0].read_text("utf-8"))
    baseline["codecs"]["jpeg"]["rows"][3]["bytes"] += 1
    coder = rd_benchmark.make_coder("jpeg", "photo")
    with pytest.raises(RuntimeError, match="bytes"):
        rd_benchmark.reuse_all(baseline, coder, rd_benchmark.load_photos(folder))


def test_published_points_are_well_formed() -> None:
    published = json.loads((SCRIPTS / "published_kodak.json").read_text("utf-8"))
    curves, singles, sources = published["curves"], published["single_images"], published["sources"]
    assert len(curves) >= 6 and {entry["source"] for entry in (*curves, *singles)} == sources.keys()
    for source in sources.values():
        assert source["url"].startswith("https://") and source["measured"] and source["rate"]
    for curve in curves:
        assert len(curve["points"]) >= 4  # as a BD-rate needs
        for key, low, high in (("bpp", 0.02, 2), ("psnr", 20, 40), ("ms_ssim", 0.7, 1)):
            values = [point[key] for point in curve["points"]]
            assert values == sorted(set(values)) and low < values[0] < values[-1] < high
    for point in singles:
        assert 0.02 < point["bpp"] < 2 and 20 < point["psnr"] < 40 and 5 < point["ms_ssim_db"] < 25


def test_published_curves_stand_beside_kodak_only(scripts: Callable[[str], Any]) -> None:
    classic = json.loads((SCRIPTS / "results" / "kodak_classic.json").read_text("utf-8"))
    hashes = [image["sha256"] for image in classic["images"]]
    avif_as_ours = {"vqcodec": classic["codecs"]["avif"]}
    beside = scripts("rd_published").beside
    assert beside(avif_as_ours, hashes[1:]) is None
    published = beside(avif_as_ours, hashes[::-1])
    deltas = {curve["label"]: curve["bd_rate"]["psnr"]["percent"] for curve in published["curves"]}
    assert deltas["VTM"] > deltas["mbt2018"] > 0 > deltas["bmshj2018-factorized"]
    hyperprior = next(curve for curve in published["curves"] if curve["label"] == "bmshj2018-hyperprior")
    assert hyperprior["at_bpp"]["psnr"]["0.3"] == pytest.approx(30.7, abs=0.02)


def test_a_published_picture_is_met_at_its_own_rate(scripts: Callable[[str], Any]) -> None:
    classic = json.loads((SCRIPTS / "results" / "kodak_classic.json").read_text("utf-8"))
    ours = classic["codecs"]["avif"]
    for row in ours["rows"]:
        row["bpp"] /= 2  # AVIF's own files of kodim24 are larger than those published
    published = scripts("rd_published").beside({"vqcodec": ours}, [image["sha256"] for image in classic["images"]])
    for point in published["single_images"]:
        rows = [row for row in ours["rows"] if row["image"] == point["image"]]
        rates, decibels = np.array(sorted((row["bpp"], row["psnr"]) for row in rows)).T
        assert rates[0] < point["bpp"] < rates[-1]
        expected = np.interp(np.log(point["bpp"]), np.log(rates), decibels)
        assert point["ours"]["psnr"] == pytest.approx(expected, abs=1e-4)


def test_published_curves_are_drawn_and_tabled(scripts: Callable[[str], Any], tmp_path: Path) -> None:
    results = json.loads((SCRIPTS / "results" / "kodak_classic.json").read_text("utf-8"))
    hashes = [image["sha256"] for image in results["images"]]
    for published in (None, scripts("rd_published").beside(results["codecs"], hashes)):
        results["published"] = published
        scripts("rd_plot").plot(results, [tmp_path / "plot.svg"])
        for text in ((tmp_path / "plot.svg").read_text("utf-8"), scripts("rd_summary").markdown(results)):
            assert ("mbt2018-mean" in text) == (published is not None)


def test_page_of_crops(folder: Path, scripts: Callable[[str], Any]) -> None:
    rd_crops = scripts("rd_crops")
    coders = [scripts("rd_coders").CLASSIC[name]() for name in ("webp", "jpeg")]
    page = np.asarray(rd_crops.page(folder, [("a.png", 20, 10), ("b.png", 5, 40)], coders, [0.6, 1.0]))
    side, gap, line = rd_crops.SIDE, rd_crops.GAP, rd_crops.LINE
    assert page.shape[1] == 3 * (side + gap) + gap
    with Image.open(folder / "b.png") as image:
        original = np.asarray(image)[40 : 40 + side, 5 : 5 + side]
    top = line + 3 * (side + line + gap)  # the fourth row: b.png at 1 bpp
    shown = [page[top : top + side, left : left + side] for left in range(gap, 3 * (side + gap), side + gap)]
    assert np.array_equal(shown[0], original)
    for one in shown[1:]:
        assert 20 < metrics.psnr(original, one) < 45


def test_crops_are_of_files_of_the_wanted_rate(folder: Path, scripts: Callable[[str], Any]) -> None:
    rd_crops = scripts("rd_crops")
    with Image.open(folder / "a.png") as image:
        pixels = np.asarray(image)
    jpeg = scripts("rd_coders").CLASSIC["jpeg"]()
    rates = [8 * len(jpeg.encode(pixels, quality)) / (192 * 176) for quality in rd_crops.QUALITIES["jpeg"]]
    for target in (0.05, 1.0, 2.0, 99.0):
        found = rd_crops.sample(jpeg, rd_crops.QUALITIES["jpeg"], pixels, target)
        assert found.bpp == min(rates, key=lambda rate: abs(rate - target))
        assert found.smallest == (target == 0.05)
        decoded = jpeg.decode(jpeg.encode(pixels, rd_crops.QUALITIES["jpeg"][rates.index(found.bpp)]))
        assert np.array_equal(found.pixels, decoded) and found.psnr == metrics.psnr(pixels, decoded)


def test_crops_name_the_pictures_they_miss(folder: Path) -> None:
    ran = script("rd_crops.py", folder)
    assert ran.returncode == 2 and "kodim04.png" in ran.stderr and "Traceback" not in ran.stderr
