"""The program as users run it: a subprocess of the installed package, files in and files out."""

from __future__ import annotations

import dataclasses
import errno
import importlib.metadata
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import PROGRAM, Ran, Run
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import vqcodec
from vqcodec import cli_encode, weights
from vqcodec.cli import app

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals, pipes and terminals")


def crop(photo: np.ndarray, height: int = 40, width: int = 56) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(photo[100 : 100 + height, 200 : 200 + width]))


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def check_lines(ran: Ran, *causes: str) -> None:
    """Every line on standard error is one of ours, in order, and none is a traceback."""
    lines = ran.errors.splitlines()
    assert len(lines) == len(causes), ran.errors
    for line, cause in zip(lines, causes, strict=True):
        assert line.startswith("vqcodec: ") and cause in line, ran.errors


@pytest.fixture(scope="module")
def encoded(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with in/a.png, in/b/gray.png, in/b/alpha.png and their encoded mirror out/."""
    folder = tmp_path_factory.mktemp("encoded")
    with Image.open(Path(__file__).parent / "data" / "flowers.png") as image:
        photo = np.asarray(image)
    (folder / "in/b").mkdir(parents=True)
    crop(photo).save(folder / "in/a.png")
    crop(photo, 17, 33).convert("L").save(folder / "in/b/gray.png")
    with_alpha = crop(photo, 64, 64)
    with_alpha.putalpha(crop(photo, 64, 64).getchannel("R"))
    with_alpha.save(folder / "in/b/alpha.png")
    ran = run("encode", "-r", "in", "--output-dir", "out", "-q", 40, cwd=folder)
    assert ran.status == 0 and ran.output == b"", ran.errors
    check_lines(ran, "in/a.png -> out/a.vqc: 56x40, ", "in/b/alpha.png -> ", "in/b/gray.png -> ")
    return folder


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model with another description: a model file with another id."""
    source, target = weights.resolve("photo").path, tmp_path_factory.mktemp("model") / "other.safetensors"
    with safe_open(source, "numpy") as file:
        config = json.loads(file.metadata()["config"])
    config |= {"name": "other", "description": "for the tests"}
    save_file(load_file(source), target, {"config": json.dumps(config)})
    return target


def test_folders_are_decoded_as_they_were_encoded(run: Run, encoded: Path, tmp_path: Path) -> None:
    ran = run("decode", "-r", "out", "--output-dir", tmp_path / "back", cwd=encoded)
    assert ran.status == 0, ran.errors
    names = sorted(path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*.png"))
    assert names == ["a.png", "b/alpha.png", "b/gray.png"]
    (tmp_path / "empty").mkdir()
    ran = run("decode", "-r", tmp_path / "empty", "--output-dir", tmp_path / "none")
    assert ran.status == 2 and "no .vqc files" in ran.errors


# requests


def test_version_and_help(run: Run) -> None:
    assert run("--version").output.decode() == f"vqcodec {vqcodec.__version__}\n"
    shown = run("--help")
    assert shown.status == 0
    for command in ("encode", "decode", "info", "verify", "models", "train", "export"):
        assert command in shown.output.decode()


def test_the_installed_script_is_the_same_program() -> None:
    script = shutil.which("vqcodec", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("the package is installed without scripts")
    ended = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert vqcodec.__version__ in ended.stdout


def test_the_version_is_the_one_that_was_installed() -> None:
    assert importlib.metadata.version("vqcodec") == vqcodec.__version__


@pytest.mark.parametrize("arguments", ["", "encode a.png -o b.png --stdout", "encode a.png -q 101", "decode --fast"])
def test_usage_errors_end_with_status_2(run: Run, arguments: str) -> None:
    ran = run(*arguments.split())
    assert ran.status == 2 and "Traceback" not in ran.errors


@pytest.mark.parametrize(
    "arguments",
    [
        "encode",
        "encode a.png --target-rate 0.3",
        "encode a.png --effort 4",
        "encode a.png --device tpu",
        "encode a.png -j -1",
        "encode a.png -j 257",
        "encode a.png -q 100.1",
        "encode a.png -q -1",
        "encode a.png -q nan",
        "encode a.png -q best",
        "encode a.png --model nowhere",
        "encode a.png --model a.png",
        "encode a.png b.png -o c.vqc",
        "encode a.png b.png -c",
        "encode a.png -o c.vqc -c",
        "encode a.png -o c.vqc --output-dir out",
        "encode a.png -c --json",
        "encode a.png folder/a.png --output-dir out",
        "encode a.png a.png",
        "encode a.png -o a.png",
        "encode a.png -o folder",
        "encode folder",
        "encode - --output-dir out",
        "encode -r empty",
        "decode a.vqc --levels 5",
        "decode a.vqc -o a.txt",
        "decode a.vqc -o a",
        "decode a.vqc --format gif",
        "decode a.vqc --format png -o a.jpg",
        "decode a.vqc --format pgm -o a.ppm",
        "decode a.vqc b.vqc -o a.png",
        "decode a.vqc --model nowhere",
        "decode folder",
        "info",
        "info a.vqc b.vqc",
        "verify",
        "transmogrify a.png",
    ],
)
def test_usage_errors_come_before_any_work(
    tmp_path: Path, photo_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "folder/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photo_path, tmp_path / name)
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    ran = CliRunner().invoke(app, arguments.split())
    assert ran.exit_code == 2 and ran.stdout == "" and ran.stderr
    assert tree(tmp_path) == before


# encode, decode


def test_folders_are_mirrored(encoded: Path) -> None:
    assert tree(encoded / "out") == {"a.vqc", "b/gray.vqc", "b/alpha.vqc"}


def test_files_decode_as_in_python(run: Run, encoded: Path, tmp_path: Path) -> None:
    names = [encoded / "out" / name for name in ("a.vqc", "b/gray.vqc", "b/alpha.vqc")]
    ran = run("decode", *names, "--output-dir", tmp_path)
    assert ran.status == 0 and ran.output == b""
    check_lines(ran, "a.png: 56x40", "gray.png: 33x17", "alpha.png: 64x64")
    for name, mode in (("a", "RGB"), ("gray", "L"), ("alpha", "RGBA")):
        source = next(path for path in names if path.stem == name)
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.mode == mode
            assert np.array_equal(np.asarray(image), vqcodec.decode(source.read_bytes()))
    with Image.open(encoded / "in/b/alpha.png") as before, Image.open(tmp_path / "alpha.png") as after:
        assert before.getchannel("A").tobytes() == after.getchannel("A").tobytes()


def test_standard_input_and_output(run: Run, encoded: Path, tmp_path: Path) -> None:
    given = (encoded / "in/a.png").read_bytes()
    piped = run("encode", "-", "-q", 40, "-j", 1, "--quiet", input=given, cwd=tmp_path)
    assert (piped.status, piped.errors) == (0, "")
    assert piped.output == (encoded / "out/a.vqc").read_bytes()  # and the number of threads changes no byte
    shown = run("decode", "-", "--format", "ppm", input=piped.output, cwd=tmp_path)
    assert shown.status == 0
    with Image.open(io.BytesIO(shown.output)) as image:
        assert image.format == "PPM" and np.array_equal(np.asarray(image), vqcodec.decode(piped.output))
    assert tree(tmp_path) == set()


def test_existing_files_are_kept_without_force(run: Run, encoded: Path, tmp_path: Path) -> None:
    shutil.copy(encoded / "in/a.png", tmp_path / "a.png")
    (tmp_path / "a.vqc").write_bytes(b"old")
    ran = run("encode", "a.png", cwd=tmp_path)
    assert ran.status == 1 and (tmp_path / "a.vqc").read_bytes() == b"old"
    check_lines(ran, "a.png: a.vqc exists (use --force to replace it)")
    assert run("encode", "a.png", "-f", "-q", 40, cwd=tmp_path).status == 0
    assert (tmp_path / "a.vqc").read_bytes() == (encoded / "out/a.vqc").read_bytes()
    assert tree(tmp_path) == {"a.png", "a.vqc"}


def test_one_bad_file_does_not_stop_the_others(run: Run, encoded: Path, tmp_path: Path) -> None:
    shutil.copy(encoded / "in/a.png", tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((encoded / "in/a.png").read_bytes()[:-300])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "line\nbreak\x1b[31m.png").write_bytes(b"")
    names = sorted(path.name for path in tmp_path.iterdir())
    ran = run("encode", "missing.png", *names, "--json", cwd=tmp_path)
    assert ran.status == 1
    bad = ["missing.png: No such file", "cut.png: ", "line?break?[31m.png: not an image", "text.png: not"]
    check_lines(ran, *bad, "4 of 5 files failed")
    records = [json.loads(line) for line in ran.output.splitlines()]
    errors = {Path(record["input"]).stem: record["error"] for record in records if "error" in record}
    assert errors["missing"] == "FileNotFoundError" and errors["cut"] == "UnsupportedImageError"
    (done,) = [record for record in records if "error" not in record]
    size = (tmp_path / "good.vqc").stat().st_size
    assert (done["width"], done["height"], done["file_bytes"]) == (56, 40, size)
    assert done["bpp"] == pytest.approx(8 * size / (56 * 40)) and 0 < done["model_bits"] < 8 * size
    assert tree(tmp_path) == {*names, "good.vqc"}


def test_what_cannot_be_kept_is_said(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 30_000, np.uint16)).save(tmp_path / "deep.png")
    ran = run("encode", "deep.png", cwd=tmp_path)
    check_lines(ran, "deep.png: note: 16-bit samples reduced to 8 bits", "deep.png -> deep.vqc")
    assert run("encode", "deep.png", "-f", "--quiet", cwd=tmp_path).errors == ""


def test_a_quality_that_is_ignored_is_said(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    one_quality = vqcodec.Codec(dataclasses.replace(weights.resolve("photo"), quality_levels=1))
    monkeypatch.setattr(cli_encode, "load_codec", lambda *_: one_quality)
    crop(photo).save(tmp_path / "a.png")
    note = "vqcodec: note: model photo has one quality: -q is ignored\n"
    for options, said in (("-q 50", True), ("", False), ("-q 50 --quiet", False)):
        ran = CliRunner().invoke(app, ["encode", str(tmp_path / "a.png"), "-f", *options.split()])
        assert ran.exit_code == 0 and (note in ran.stderr) == said


def test_an_effort_that_is_ignored_is_said(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    crop(photo).save(tmp_path / "a.png")
    note = "vqcodec: note: model photo is not searched: --effort is ignored\n"
    for searches, options, said in ((True, "--effort 1", False), (False, "", False), (False, "--effort 1", True)):
        monkeypatch.setattr(vqcodec.Codec, "searches", searches)
        ran = CliRunner().invoke(app, ["encode", str(tmp_path / "a.png"), "-f", *options.split()])
        assert ran.exit_code == 0 and (note in ran.stderr) == said
    assert CliRunner().invoke(app, ["encode", str(tmp_path / "a.png"), "--effort", "4"]).exit_code == 2


def test_formats_that_cannot_hold_the_picture(run: Run, encoded: Path, tmp_path: Path) -> None:
    ran = run("decode", encoded / "out/b/alpha.vqc", "-o", tmp_path / "a.jpg")
    assert ran.status == 1 and tree(tmp_path) == set()
    check_lines(ran, "JPEG cannot hold transparency")
    ran = run("decode", encoded / "out/a.vqc", encoded / "out/b/gray.vqc", "--format", "pgm", "--output-dir", tmp_path)
    assert ran.status == 1 and tree(tmp_path) == {"gray.pgm"}
    check_lines(ran, "PGM cannot hold colour", "gray.pgm: 33x17", "1 of 2 files failed")
    assert (tmp_path / "gray.pgm").read_bytes().startswith(b"P5")


def test_a_missing_output_folder_is_named(run: Run, encoded: Path, tmp_path: Path) -> None:
    ran = run("encode", encoded / "in/a.png", "-o", tmp_path / "no/where.vqc")
    assert ran.status == 1
    check_lines(ran, "no/where.vqc: No such file or directory")


@posix
def test_a_folder_that_may_not_be_written_is_named(run: Run, encoded: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    tmp_path.chmod(0o500)
    ran = run("encode", encoded / "in/a.png", "-o", tmp_path / "a.vqc")
    assert ran.status == 1
    check_lines(ran, "a.vqc: Permission denied")


def test_models_are_found_by_id(run: Run, encoded: Path, other_model: Path, tmp_path: Path) -> None:
    source, target = encoded / "in/a.png", tmp_path / "a.vqc"
    assert run("encode", source, "-o", target, "--model", other_model).status == 0
    needed = weights.resolve(other_model).model_id
    for command in (["decode", target], ["verify", target], ["decode", target, "--model", "photo"]):
        ran = run(*command)
        assert ran.status == 1
        check_lines(ran, needed)
    assert json.loads(run("info", "--json", target).output)["model"] is None
    assert run("verify", target, "--model", other_model).status == 0
    assert run("decode", target, "--model", other_model).status == 0
    assert tree(tmp_path) == {"a.vqc", "a.png"}


# damage


def test_damaged_files_are_named_and_never_decoded(run: Run, encoded: Path, tmp_path: Path) -> None:
    whole = (encoded / "out/a.vqc").read_bytes()
    places = range(1, len(whole), max(len(whole) // 24, 1))
    damaged = {"empty": b"", "text": b"no picture at all", "longer": whole + b"\0"}
    damaged |= {"version": whole[:4] + b"c" + whole[5:]}
    damaged |= {f"cut{place:04}": whole[:place] for place in places}
    for place in (0, *places, len(whole) - 1):
        flipped = bytes([whole[place] ^ 1 << place % 8])
        damaged[f"flip{place:04}"] = whole[:place] + flipped + whole[place + 1 :]
    for name, data in damaged.items():
        (tmp_path / f"{name}.vqc").write_bytes(data)
    names = [f"{name}.vqc" for name in damaged]
    for command in (["verify"], ["decode", "--output-dir", "out"]):
        ran = run(*command, *names, cwd=tmp_path)
        assert ran.status == 1 and ran.output == b""
        check_lines(ran, *(f"{name}: " for name in names), f"{len(names)} of {len(names)} files failed")
        assert "unexpected" not in ran.errors
        assert tree(tmp_path) == set(names)
    for name in names:
        with pytest.raises(vqcodec.VqcodecError):
            vqcodec.verify((tmp_path / name).read_bytes())


@posix
def test_endless_input_is_not_read_to_its_end(run: Run, encoded: Path, tmp_path: Path) -> None:
    for command in (["info", "/dev/zero"], ["verify", "/dev/zero"], ["decode", "/dev/zero", "-o", tmp_path / "a.png"]):
        ran = run(*command)
        assert ran.status == 1
        check_lines(ran, "/dev/zero: not a vqcodec file")
    (tmp_path / "vast.vqc").write_bytes((encoded / "out/a.vqc").read_bytes())
    os.truncate(tmp_path / "vast.vqc", 1 << 40)
    assert run("info", tmp_path / "vast.vqc").status == 0
    ran = run("verify", tmp_path / "vast.vqc")
    assert ran.status == 1
    check_lines(ran, "trailing bytes")


# info, verify, models


def test_info(run: Run, encoded: Path, tmp_path: Path) -> None:
    path = encoded / "out/b/alpha.vqc"
    facts = json.loads(run("info", "--json", path).output)
    assert (facts["width"], facts["height"], facts["gray"], facts["alpha"]) == (64, 64, False, True)
    assert facts["bytes"] == path.stat().st_size and facts["model"] == "photo"
    assert facts["quality"] == pytest.approx(40, abs=1)
    assert facts["model_id"] == weights.resolve("photo").model_id
    shown = run("info", path)
    assert shown.status == 0 and shown.errors == ""
    for part in ("64x64", "RGB and alpha", "photo", f"{path.stat().st_size} bytes"):
        assert part in shown.output.decode()
    cut = run("info", "-", input=path.read_bytes()[:-1])
    assert cut.status == 1 and b"64x64" in cut.output
    check_lines(cut, "truncated")


def test_verify(run: Run, encoded: Path) -> None:
    ran = run("verify", encoded / "out/a.vqc", encoded / "out/b/gray.vqc")
    assert (ran.status, ran.errors) == (0, "")
    for line, size in zip(ran.output.decode().splitlines(), ("56x40", "33x17"), strict=True):
        assert f"ok, {size}, " in line
    assert run("verify", "--quiet", encoded / "out/a.vqc") == Ran(0, b"", "")


def test_models(run: Run) -> None:
    shown = [json.loads(line) for line in run("models", "--json").output.splitlines()]
    photo = next(model for model in shown if model["name"] == "photo")
    assert photo["model_id"] == weights.resolve("photo").model_id and photo["bytes"] < 8_000_000
    assert photo["model_id"] in run("models").output.decode()


# terminals, signals, broken pipes


@posix
def test_binary_data_is_not_written_to_a_terminal(encoded: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    for command in (["encode", encoded / "in/a.png", "-c"], ["decode", "-"]):
        ended = subprocess.run([*PROGRAM, *command], stdout=follower, stderr=subprocess.PIPE, check=False)
        assert ended.returncode == 2 and b"terminal" in ended.stderr
    os.close(leader)
    os.close(follower)


def interrupted(process: subprocess.Popen[bytes], number: signal.Signals) -> bytes:
    """What a process says that is sent a signal until it ends.

    Python misses one that comes right before a read blocks: nobody is told until the next one.
    """
    for _ in range(4):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)[1]
    raise AssertionError(f"{number.name} does not end the program")


def open_once_read(fifo: Path, process: subprocess.Popen[bytes]) -> int:
    """Open a named pipe for writing as soon as the process reads it."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO
            time.sleep(0.02)
    raise AssertionError("the program never read its input")


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, status: int) -> None:
    def with_default_handling() -> None:
        signal.signal(number, signal.SIG_DFL)  # a shell's background jobs, maybe this one, ignore SIGINT

    os.mkfifo(tmp_path / "slow.png")
    command = [*PROGRAM, "encode", "slow.png"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, preexec_fn=with_default_handling) as process:
        try:
            writer = open_once_read(tmp_path / "slow.png", process)
            errors = interrupted(process, number)
            os.close(writer)
        finally:
            process.kill()
    assert process.returncode == status and b"Traceback" not in errors
    assert tree(tmp_path) == {"slow.png"}


@posix
def test_a_closed_pipe_ends_quietly(encoded: Path) -> None:
    for command in (["encode", encoded / "in/a.png", "-c", "--quiet"], ["info", encoded / "out/a.vqc"]):
        reader, writer = os.pipe()
        os.close(reader)
        ended = subprocess.run([*PROGRAM, *command], stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert ended.returncode == 1 and ended.stderr == b""


def test_samples(run: Run, tmp_path: Path) -> None:
    check_lines(run("sample", "-n", "3", "--side", "40", "-o", tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as grid:
        assert grid.size == (80, 80)
    ran = run("sample", "-o", tmp_path / "a.png")
    assert ran.status == 1
    check_lines(ran, "exists")
    assert run("sample", "nothing", "-o", tmp_path / "b.png").status == 2
