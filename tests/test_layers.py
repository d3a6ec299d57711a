"""Imports point one way, and what needs no torch does not load it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vqcodec

PACKAGE = Path(vqcodec.__file__).parent
LAYERS = [
    {"errors", "config"},
    {"architecture", "_core", "files", "modes", "checkpoint"},
    {"pixels"},
    {"nets", "quantize", "photos", "integers"},
    {"prior"},
    {"models"},
    {"integer_transform"},
    {"export", "weights", "transform", "progress"},
    {"codec"},
    {"metrics", "train", "facts"},
    {"__init__"},
    {"messages"},
    {"cli_train"},
    {"cli"},
    {"__main__"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imported(module: str) -> set[str]:
    """The package's modules that a module imports anywhere in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vqcodec":
            inner = (node.module or "").partition(".")[2]
            names = [alias.name for alias in node.names]
            found |= {inner.partition(".")[0]} if inner else {n if n in RANK else "__init__" for n in names}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "vqcodec"]
            found |= {name.partition(".")[2] or "__init__" for name in names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module}: relative import"
    return found


def test_every_module_has_a_layer() -> None:
    assert set(MODULES) | {"_core"} == set(RANK)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upwards = {other for other in imported(module) if RANK[other] >= RANK[module]}
    assert not upwards, f"{module} imports {', '.join(sorted(upwards))}"


@pytest.mark.parametrize("module", ["errors", "config"])
def test_the_lowest_layer_is_standard_library_only(module: str) -> None:
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert all(name.split(".")[0] in sys.stdlib_module_names for name in names)


def loads_torch(program: str, *arguments: object, cwd: Path) -> bool:
    """Whether torch is loaded after a small program that must succeed."""
    program += "\nimport sys; print('torch' in sys.modules)"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()[-1] == "True"


COMMAND = """
from vqcodec.cli import app
assert app(standalone_mode=False) in (None, 0)
"""


def test_the_package_does_not_load_torch(tmp_path: Path) -> None:
    assert not loads_torch("import vqcodec, vqcodec.cli; vqcodec.list_models()", cwd=tmp_path)
    assert not loads_torch(COMMAND, "models", cwd=tmp_path)
    assert not loads_torch("import vqcodec; vqcodec.load('photo')", cwd=tmp_path)


def test_looking_at_a_file_does_not_load_torch(tmp_path: Path) -> None:
    data = vqcodec.encode(np.zeros((20, 30, 3), np.uint8), quality=20)
    (tmp_path / "a.vqc").write_bytes(data)
    for command in (("info", "a.vqc"), ("info", "--json", "a.vqc"), ("verify", "a.vqc")):
        assert not loads_torch(COMMAND, *command, cwd=tmp_path)
    codes = "import vqcodec, pathlib; vqcodec.codes(pathlib.Path('a.vqc').read_bytes())"
    assert not loads_torch(codes, cwd=tmp_path)
