"""scripts/plan.py: the table is that of the README, and its figures follow from the rates."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    return importlib.import_module("plan")


def test_the_table_of_the_readme() -> None:
    ran = subprocess.run([sys.executable, REPOSITORY / "scripts/plan.py"], capture_output=True, text=True, check=True)
    table = ran.stdout.partition("\n\n")[2]
    assert table.count("\n") > 9 and table in (REPOSITORY / "README.md").read_text()


def test_figures_follow_from_rates(plan: Any) -> None:
    row = {"pictures_of": "p", "settings": "s", "bytes": 2000.0, "core_seconds": 0.36, "join_seconds": 3.6e-5}
    line = plan.table({"rows": [row]}, 1e8, 500, 0.05, 0.02).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["p", "s", "2,000", "0.20 TB", "0.36", "10,000", "500", "20.0", "1.0", "4"]


def test_rates_are_measured(plan: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    row = plan.measured(images, 40, {"effort": 0}, tmp_path)
    assert row["bytes"] == (tmp_path / "a.vqa").stat().st_size / 40
    assert 0 < row["join_seconds"] < row["core_seconds"]
    assert json.loads(json.dumps(row)) == row
