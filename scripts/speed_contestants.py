"""The codecs that speed.py measures: their qualities, processes and workers, and what must come out the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rd_coders import Coder

WORKER = Path(__file__).with_name("speed_worker.py")
TARGET_BPP = 0.5
THREAD_SETTINGS = {"avif": "max_threads", "jxl": "num_threads"}  # Pillow's other codecs know one thread only
VQCODEC = [sys.executable, "-m", "vqcodec"]
OPEN = "import sys, json; from PIL import Image; image = Image.open(sys.argv[1]).convert('RGB'); "
SAVE = "image.save(sys.argv[2], **json.loads(sys.argv[3]))"


class Worker:
    """A process of speed_worker.py; `missing` says why it cannot work here, if so."""

    def __init__(self, kind: str, *arguments: str, folder: Path, kernel: str | None = None) -> None:
        alone = ["-I", "-S"] if kind == "processes" else []
        command = [sys.executable, *alone, str(WORKER), kind, *arguments]
        environment = os.environ if kernel is None else {**os.environ, "VQCODEC_KERNEL": kernel}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
        self.missing = self._read().get("missing")

    def ask(self, **request: Any) -> dict[str, Any]:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("speed: a worker ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, *command: object) -> dict[str, Any]:
        """Seconds and peak memory of a process."""
        answer = self.ask(command=[str(part) for part in command])
        if "failed" in answer:
            raise SystemExit(f"speed: status {answer['failed']} of: {' '.join(map(str, command))}")
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


@dataclass(frozen=True)
class Contestant:
    """A codec at the quality that comes nearest to TARGET_BPP."""

    coder: Coder
    quality: int

    def setup(self, threads: int) -> dict[str, Any]:
        """What a worker must know besides picture and quality; no threads (0) means all cores."""
        if self.coder.name == "vqcodec":
            return {"threads": threads}
        return {"name": self.coder.name, "threads": threads, "settings": settings(self.coder, threads)}


def settings(coder: Coder, threads: int) -> dict[str, Any]:
    """A codec's settings as in rd_coders, except for threads and for AVIF's default speed: 4 takes seconds."""
    changed = {"speed": 6} if coder.name == "avif" else {}
    if coder.name in THREAD_SETTINGS:
        changed[THREAD_SETTINGS[coder.name]] = threads or os.cpu_count()
    return {**coder.settings, **changed}


def choose_quality(coder: Coder, worker: Worker, pictures: list[Path]) -> Contestant:
    """Search the quality, a whole number within those of rd_coders, whose mean rate is nearest to TARGET_BPP."""

    def distance(quality: int) -> float:
        request = {"step": "encode", "quality": quality, **Contestant(coder, quality).setup(0)}
        answers = [worker.ask(picture=str(picture), **request) for picture in pictures]
        return float(np.mean([4 * len(answer["data"]) / answer["pixels"] for answer in answers])) - TARGET_BPP

    low, high = int(coder.qualities[0]), int(coder.qualities[-1])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if distance(middle) < 0 else (low, middle)
    return Contestant(coder, min(low, high, key=lambda quality: abs(distance(quality))))


def commands(contestant: Contestant, picture: Path) -> dict[tuple[str, str], list[object]]:
    """The processes that encode a picture and decode it again, into PPM where they can, by (step, name)."""
    coder, quality, name = contestant.coder, contestant.quality, contestant.coder.name
    coded, shown, png = (picture.with_suffix(suffix) for suffix in (f".{name}", f".{name}.ppm", f".{name}.png"))
    if name == "vqcodec":
        coded = picture.with_suffix(".vqc")
        decode = [*VQCODEC, "decode", coded, "--quiet", "-f", "-o"]
        return {
            ("encode", name): [*VQCODEC, "encode", picture, "--quiet", "-f", "--effort", 0, "-q", quality, "-o", coded],
            ("decode", name): [*decode, shown],
            ("decode", f"{name} to PNG"): [*decode, png],
        }
    python = [sys.executable, "-c", ("import pillow_jxl; " if name == "jxl" else "") + OPEN + SAVE]
    options = {"format": coder.format, "quality": quality, **settings(coder, 0)}
    found: dict[tuple[str, str], list[object]] = {
        ("encode", name): [*python, picture, coded, json.dumps(options)],
        ("decode", name): [*python, coded, shown, "{}"],
    }
    if name == "jxl":
        effort = coder.settings["effort"]
        found["encode", "cjxl"] = [
            "cjxl",
            picture,
            picture.with_suffix(".cjxl.jxl"),
            "-q",
            quality,
            "-e",
            effort,
            "--quiet",
        ]
        found["decode", "djxl"] = ["djxl", coded, shown, "--quiet"]
    elif name == "avif":
        found["decode", "avifdec to PNG"] = ["avifdec", "--png-compress", 0, coded, png]  # it writes no PPM
    return {key: command for key, command in found.items() if shutil.which(str(command[0]))}


def tool_versions() -> dict[str, str]:
    """What the programs at hand that are not Python say of themselves."""
    found = {}
    for tool in ("cjxl", "djxl", "avifdec"):
        if path := shutil.which(tool):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            found[tool] = said.partition("\n")[0]
    return found


def describe(contestant: Contestant, pictures: list[Path]) -> dict[str, Any]:
    """What the JSON says of one codec; the rate is that of the files which its process wrote."""
    coder = contestant.coder
    suffix = ".vqc" if coder.name == "vqcodec" else f".{coder.name}"
    rates = []
    for picture in pictures:
        with Image.open(picture) as image:
            rates.append(8 * picture.with_suffix(suffix).stat().st_size / (image.width * image.height))
    described = {"label": coder.label, "quality": contestant.quality, "bpp": round(float(np.mean(rates)), 4)}
    return described | {"settings": settings(coder, 0), "versions": coder.versions}


@dataclass
class Identity:
    """What has to come out the same however it is made: SHA-256 of each thing, and how often it was compared."""

    known: dict[str, str] = field(default_factory=dict)
    comparisons: int = 0

    def check(self, thing: str, digest: str, by: str) -> None:
        if thing in self.known:
            self.comparisons += 1
        if self.known.setdefault(thing, digest) != digest:
            raise SystemExit(f"speed: {by} gives other {thing} than before")

    def check_files(self, coded: Path, shown: Path, by: str) -> None:
        """Check a .vqc file and the picture decoded from it, which has its name."""
        self.check(f"bytes of {coded.stem}", sha256(coded.read_bytes()).hexdigest(), by)
        with Image.open(shown) as image:
            self.check(f"pixels of {coded.stem}", sha256(np.array(image)).hexdigest(), by)
