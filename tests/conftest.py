"""Fixtures: two real photos, the shared data where it is at hand, the installed program as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("unhurried", deadline=None)  # machines that run tests are often busy
settings.load_profile("unhurried")

TESTS = Path(__file__).parent
PROGRAM = [sys.executable, "-m", "vqcodec"]


@dataclass(frozen=True)
class Ran:
    """How a run of the program ended: exit status, bytes on standard output, text on standard error."""

    status: int
    output: bytes
    errors: str


Run = Callable[..., Ran]


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work in an empty folder: in the repository, Python processes would import the unbuilt sources."""
    folder = tmp_path_factory.mktemp("elsewhere")
    os.chdir(folder)
    return folder


@pytest.fixture
def photo_path() -> Path:
    """A PNG photo, 512x384, RGB."""
    return TESTS / "data" / "flowers.png"


@pytest.fixture
def jpeg_path() -> Path:
    """A JPEG photo, 576x576, RGB."""
    return TESTS / "data" / "shore.jpg"


@pytest.fixture
def photo(photo_path: Path) -> np.ndarray:
    """The PNG photo as an array (384, 512, 3) uint8."""
    with Image.open(photo_path) as image:
        return np.asarray(image)


@pytest.fixture
def shared_data() -> Path:
    """The folder of test sets (Kodak and others) that is too large for the repository."""
    folder = Path(os.environ.get("VQCODEC_SHARED", TESTS.parents[1] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder} (VQCODEC_SHARED names another place)")
    return folder


@pytest.fixture(scope="session")
def run(elsewhere: Path) -> Run:
    """Run the installed program from an empty folder: `run("info", path)`; `input` is its standard input."""

    def run(*arguments: object, input: bytes = b"", cwd: Path = elsewhere) -> Ran:
        command = [*PROGRAM, *map(str, arguments)]
        ended = subprocess.run(command, input=input, capture_output=True, cwd=cwd, check=False, timeout=300)
        return Ran(ended.returncode, ended.stdout, ended.stderr.decode())

    return run
