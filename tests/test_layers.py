"""Imports point one way, and what needs no torch does not load it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec

PACKAGE = Path(vqcodec.__file__).parent
LAYERS = [
    {"errors", "config"},
    {"architecture", "_core", "files", "modes", "checkpoint", "target", "limits", "formats", "hub", "model_file"},
    {"pixels"},
    {"nets", "quantize", "photos", "integers", "distortion", "likelihoods"},
    {"prior", "beta_vae"},
    {"pixel_prior", "pixel_expert"},
    {"coarse"},
    {"models"},
    {"calibration", "growth"},
    {"integer_prior", "integer_transform", "bounds", "vae_codec", "successors", "refine", "integer_pixels"},
    {"export", "weights", "transform", "progress"},
    {"exact_pixels"},
    {"exact"},
    {"codec"},
    {"api"},
    {"metrics", "train", "facts", "archive", "sources", "pillow"},
    {"archive_writer", "unpacking", "dataset", "pillow_plugin"},
    {"packing_encoder"},
    {"packing_loop"},
    {"cluster"},
    {"packing"},
    {"__init__"},
    {"messages"},
    {"cli_shared"},
    {"cli_train", "cli_archive", "cli_encode"},
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
    return loads("torch", program, *arguments, cwd=cwd)


def loads(module: str, program: str, *arguments: object, cwd: Path) -> bool:
    """Whether a module is loaded after a small program that must succeed."""
    program += f"\nimport sys; print({module!r} in sys.modules)"
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


def test_coding_does_not_load_torch(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    for command in (("encode", "a.png"), ("info", "a.vqc"), ("info", "--json", "a.vqc"), ("verify", "a.vqc")):
        assert not loads_torch(COMMAND, *command, cwd=tmp_path)
    assert not loads_torch(COMMAND, "decode", "a.vqc", "-o", "b.png", cwd=tmp_path)


def test_decoding_does_not_load_numpy(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    assert loads("numpy", COMMAND, "encode", "a.png", cwd=tmp_path)
    assert not loads("numpy", COMMAND, "decode", "a.vqc", "-o", "b.png", cwd=tmp_path)


LIBRARY = """
import numpy, pathlib, vqcodec
image = numpy.asarray(numpy.random.default_rng(0).integers(0, 256, (40, 50, 3)), numpy.uint8)
codec = vqcodec.load()
data = codec.encode(image)
assert codec.decode(data).shape == vqcodec.decode(data).shape == image.shape
assert vqcodec.codes(data)[0].shape == (256, 3, 4)
assert vqcodec.verify(data).width == 50
exact = vqcodec.encode(image, lossless=True, model="tiny")
assert (vqcodec.decode(exact) == image).all()
"""


def test_everything_but_training_works_without_torch(tmp_path: Path) -> None:
    """As on a machine that has only what `pip install vqcodec` brings."""
    for package in ("torch", "torchvision", "safetensors", "tensorboard"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('not here', name={package!r})")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert run("-c", "import torch").returncode == 1
    for arguments in (
        ("-c", LIBRARY),
        ("-m", "vqcodec", "encode", "a.png"),
        ("-m", "vqcodec", "decode", "a.vqc", "-o", "b.png"),
        ("-m", "vqcodec", "info", "a.vqc"),
        ("-m", "vqcodec", "verify", "a.vqc"),
        ("-m", "vqcodec", "models"),
    ):
        ended = run(*arguments)
        assert ended.returncode == 0, ended.stderr
    encode = ("encode", "a.png", "-o", "c.vqc")
    for arguments in (("train", tmp_path, "-o", "run"), (*encode, "--device", "cuda"), (*encode, "--effort", 3)):
        ended = run("-m", "vqcodec", *arguments)
        assert ended.returncode == 1
        assert "pip install 'vqcodec[train]'" in ended.stderr and "Traceback" not in ended.stderr
