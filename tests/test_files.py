from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vqcodec import files
from vqcodec.errors import InvalidInputError
from vqcodec.files import IMAGE_SUFFIXES, Destination, Job, plan, refuse_existing, write_file


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".vqcodec-")]


# names


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a/photo.png", "a/photo.vqc"),
        ("photo.JPG", "photo.vqc"),
        ("photo.small.png", "photo.small.vqc"),
        ("photo", "photo.vqc"),
        ("trip.2024", "trip.2024.vqc"),
        (".png", ".png.vqc"),
        ("-.png", "-.vqc"),
    ],
)
def test_outputs_stand_beside_inputs(source: str, target: str) -> None:
    assert plan([Path(source)], Destination(), ".vqc", IMAGE_SUFFIXES) == [Job(Path(source), Path(target))]


def test_decoded_names_mirror_encoded_ones() -> None:
    sources = [Path("a/b.vqc"), Path("c.dat")]
    jobs = plan(sources, Destination(folder=Path("out")), ".png", frozenset({".vqc"}))
    assert [job.target for job in jobs] == [Path("out/b.png"), Path("out/c.dat.png")]


def test_named_and_standard_outputs() -> None:
    one = [Path("a.png")]
    assert plan(one, Destination(file=Path("b")), ".vqc", IMAGE_SUFFIXES) == [Job(one[0], Path("b"))]
    assert plan(one, Destination(standard=True), ".vqc", IMAGE_SUFFIXES) == [Job(one[0], None)]
    assert plan([None], Destination(), ".vqc", IMAGE_SUFFIXES) == [Job(None, None)]
    assert plan([None], Destination(file=Path("b")), ".vqc", IMAGE_SUFFIXES) == [Job(None, Path("b"))]


def test_folders_are_mirrored_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "notes.txt", "inner/c.webp", "inner/deep/d.PNG", "empty/readme"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    out = Destination(folder=tmp_path / "out")
    jobs = plan([tmp_path / "in"], out, ".vqc", IMAGE_SUFFIXES, recursive=True)
    assert [job.source.relative_to(tmp_path / "in").as_posix() for job in jobs if job.source] == [
        "a.jpg", "b.png", "inner/c.webp", "inner/deep/d.PNG",
    ]  # fmt: skip
    assert [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs if job.target] == [
        "a.vqc", "b.vqc", "inner/c.vqc", "inner/deep/d.vqc",
    ]  # fmt: skip
    beside = plan([tmp_path / "in"], Destination(), ".vqc", IMAGE_SUFFIXES, recursive=True)
    assert beside[-1].target == tmp_path / "in/inner/deep/d.vqc"


def test_linked_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in/a.png").touch()
    jobs = plan([tmp_path / "in"], Destination(), ".vqc", IMAGE_SUFFIXES, recursive=True)
    assert [job.source for job in jobs] == [tmp_path / "in/a.png"]


@pytest.mark.parametrize(
    ("sources", "destination", "cause"),
    [
        (["a.png", "b.png"], Destination(file=Path("c")), "share one output"),
        (["a.png", "b.png"], Destination(standard=True), "share one output"),
        (["a.png", "a.jpg"], Destination(), "both become a.vqc"),
        (["x/a.png", "y/a.png"], Destination(folder=Path("out")), "both become"),
        (["a.png", "a.png"], Destination(), "twice"),
        (["a.png", "x/../a.png"], Destination(), "twice"),
        ([None, None], Destination(standard=True), "share one output"),
        (["a.png"], Destination(file=Path("a.png")), "is an input"),
        (["a.png", "a.vqc"], Destination(), "is an input"),
        (["a.png"], Destination(file=Path("b"), standard=True), "choose one"),
        (["a.png"], Destination(file=Path("b"), folder=Path("c")), "choose one"),
        ([None], Destination(folder=Path("c")), "no name"),
        (["."], Destination(), "is a folder"),
        (["a.png"], Destination(file=Path(".")), "is a folder"),
    ],
)
def test_requests_without_sense(sources: list[str | None], destination: Destination, cause: str) -> None:
    with pytest.raises(InvalidInputError, match=cause):
        plan([None if s is None else Path(s) for s in sources], destination, ".vqc", IMAGE_SUFFIXES)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no image files"):
        plan([tmp_path], Destination(), ".vqc", IMAGE_SUFFIXES, recursive=True)


# writing


@pytest.mark.parametrize("reread", [False, True])
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000])
def test_what_was_written_is_there(tmp_path: Path, data: bytes, reread: bool) -> None:
    write_file(tmp_path / "out", data, reread=reread)
    assert (tmp_path / "out").read_bytes() == data
    assert leftovers(tmp_path) == []


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_file(tmp_path / "out", b"x")
    (tmp_path / "plain").touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_existing_files_are_kept_without_force(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="--force"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
    target.chmod(0o600)
    write_file(target, b"new", force=True)
    assert target.read_bytes() == b"new" and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    monkeypatch.setattr(files.os, "fsync", lambda _: target.write_bytes(b"other"))
    with pytest.raises(FileExistsError):
        write_file(target, b"new")
    assert target.read_bytes() == b"other" and leftovers(tmp_path) == []


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(files.os, "link", refuse)
    write_file(tmp_path / "out", b"new")
    assert (tmp_path / "out").read_bytes() == b"new"
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "out", b"newer")
    assert leftovers(tmp_path) == []


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "link", b"new")
    write_file(tmp_path / "link", b"new", force=True)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("force", [False, True])
def test_only_regular_files_are_replaced(tmp_path: Path, force: bool) -> None:
    for target in (tmp_path, Path(os.devnull)):
        with pytest.raises(FileExistsError, match="regular"):
            refuse_existing(target, force)
        with pytest.raises(FileExistsError, match="regular"):
            write_file(target, b"new", force=force)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: int) -> None:
        raise error

    (tmp_path / "out").write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_file(tmp_path / "out", b"new", force=True)
    assert (tmp_path / "out").read_bytes() == b"old" and leftovers(tmp_path) == []


def test_what_the_disk_changed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda number: os.pwrite(number, b"X", 2))
    with pytest.raises(OSError, match="does not hold"):
        write_file(tmp_path / "out", b"abcdef", reread=True)
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_file(tmp_path / "missing" / "out", b"x")
    assert caught.value.filename == str(tmp_path / "missing" / "out")


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    program = (
        "import os, signal, sys; from pathlib import Path; from vqcodec import files\n"
        "files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_file(Path(sys.argv[1]), b'new', force=True)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "out").read_bytes() == b"old"
