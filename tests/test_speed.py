"""scripts/speed.py on two small photos: all is measured, and what differs between kernels or threads is noticed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

for needed in ("bjontegaard", "matplotlib", "pytorch_msssim"):
    pytest.importorskip(needed, reason="needs the extra `bench`")

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of both photos, 192x176 and 170x200."""
    folder = tmp_path_factory.mktemp("photos")
    for name, box in {"flowers.png": (0, 0, 192, 176), "shore.jpg": (200, 100, 370, 300)}.items():
        with Image.open(Path(__file__).parent / "data" / name) as image:
            image.crop(box).save(folder / f"{Path(name).stem}.png")
    return folder


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("speed")


def test_everything_is_measured(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    options = ["--codecs", "vqcodec,jpeg", "--rounds", "1", "--sizes", "0.02,0.04", "--output", str(output)]
    command = [sys.executable, str(SCRIPTS / "speed.py"), str(folder), *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(output.read_text("utf-8"))
    processes = {(row["step"], row["name"]): row for row in results["processes"]}
    assert {("encode", "vqcodec"), ("decode", "vqcodec to PNG"), ("encode", "jpeg")} <= processes.keys()
    nothing = processes["yardstick", 'python -c "pass"']
    for row in processes.values():
        assert row["runs"] == 2 and 0 < row["fastest"] <= row["seconds"]
        assert nothing["peak_mib"] <= row["peak_mib"]
    assert nothing["peak_mib"] < 30  # of that process alone, not of the one that started it
    calls = [row for row in results["calls"] if row["name"] == "vqcodec"]
    kernels = {row["kernel"] for row in calls}
    assert "scalar" in kernels and kernels.isdisjoint(results["kernels_missing"])
    assert len(calls) == 2 * 2 * len(kernels)
    for row in calls:
        steps = ("analysis", "coding", "verification") if row["step"] == "encode" else ("prior_and_coder", "synthesis")
        assert 0 < sum(row[step] for step in steps) < 1.5 * row["seconds"]
    # 2 pictures, bytes and pixels: each kernel with 1 and all threads, each batch, a process (PPM and PNG)
    batches = len({row["jobs"] for row in results["batches"]})
    made = 2 * 2 * (2 * len(kernels) + batches + 2) + 2 * 2 * 2
    assert results["identity"] == {"things": 2 * 2 + 2 * 2, "comparisons": made - (2 * 2 + 2 * 2)}
    assert [row["megapixels"] for row in results["scaling"]] == [0.0199, 0.04]
    assert "| decode: vqcodec |" in ran.stdout and "speed-up" in ran.stdout
    assert output.with_suffix(".svg").exists() and output.with_suffix(".png").exists()


@pytest.mark.parametrize("changed", [None, "encode", "decode"])
def test_a_kernel_that_differs_is_noticed(speed: Any, changed: str | None) -> None:
    class Fake:
        def __init__(self, differs: bool) -> None:
            self.differs = differs

        def ask(self, step: str, threads: int, **_: Any) -> dict[str, Any]:
            digest = "other" if self.differs and step == changed and threads == 0 else "same"
            return {"seconds": 1.0, "data": "00", "digest": digest}

    class Coder:
        name = "vqcodec"

    workers, identity = {"scalar": Fake(False), "avx2": Fake(True)}, speed.Identity()
    arguments = (defaultdict(list), workers, [speed.Contestant(Coder(), 50)], [Path("a.png")], identity)
    if changed is None:
        speed.measure_calls(*arguments)
        assert identity.comparisons == 6
    else:
        thing = {"encode": "bytes", "decode": "pixels"}[changed]
        with pytest.raises(SystemExit, match=f"avx2 with all threads gives other {thing} of a"):
            speed.measure_calls(*arguments)


def test_files_that_differ_are_noticed(speed: Any, folder: Path, tmp_path: Path) -> None:
    identity, coded = speed.Identity(), tmp_path / "a.vqc"
    coded.write_bytes(b"same")
    identity.check_files(coded, folder / "flowers.png", "one")
    identity.check_files(coded, folder / "flowers.png", "another")
    with pytest.raises(SystemExit, match="a third gives other pixels of a"):
        identity.check_files(coded, folder / "shore.png", "a third")
    coded.write_bytes(b"other")
    with pytest.raises(SystemExit, match="a fourth gives other bytes of a"):
        identity.check_files(coded, folder / "flowers.png", "a fourth")


@pytest.mark.parametrize("options", [["--codecs", "gif"], ["--rounds", "0"], ["--images", "0"]])
def test_usage_errors(folder: Path, options: list[str]) -> None:
    command = [sys.executable, str(SCRIPTS / "speed.py"), str(folder), *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2 and "Traceback" not in ran.stderr
