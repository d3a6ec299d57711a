"""Where output goes: names for every input, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vqcodec.errors import InvalidInputError

IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
})  # fmt: skip


ARCHIVE_MAGIC = b"VQA\x1a"  # begins every archive


@dataclass(frozen=True)
class Job:
    """One input file and its output file; None stands for standard input and standard output."""

    source: Path | None
    target: Path | None


@dataclass(frozen=True)
class Destination:
    """Where output shall go: one file, a folder, standard output, or nothing (beside each input)."""

    file: Path | None = None
    folder: Path | None = None
    standard: bool = False


def plan(
    sources: Sequence[Path | None],
    destination: Destination,
    suffix: str,
    known: frozenset[str],
    recursive: bool = False,
) -> list[Job]:
    """One job for each input file, in order; `suffix` replaces a `known` suffix and follows any other.

    Raises `InvalidInputError` where the request makes no sense: several inputs for one output, a folder
    without `recursive`, an output that is also an input.
    """
    if sum((destination.file is not None, destination.folder is not None, destination.standard)) > 1:
        raise InvalidInputError("choose one of: an output file, an output folder, standard output")
    if destination.file is not None and destination.file.is_dir():
        raise InvalidInputError(f"{destination.file} is a folder: use --output-dir")
    found = [pair for source in sources for pair in _files(source, known, recursive)]
    if not found:
        raise InvalidInputError(f"no {'image' if suffix == '.vqc' else '.vqc'} files in the given folders")
    if len(found) > 1 and (destination.file is not None or destination.standard):
        raise InvalidInputError(f"{len(found)} inputs cannot share one output: use --output-dir")
    jobs = [Job(source, _target(source, relative, destination, suffix, known)) for source, relative in found]
    _refuse_clashes(jobs)
    return jobs


def write_file(target: Path, data: bytes, *, force: bool = False, reread: bool = False) -> None:
    """Write a file that appears under its name only when it is whole and on the disk.

    The bytes go to a temporary file in the same folder, which is removed on any error, an interrupt included;
    `reread` compares them with what the file then holds. Raises `FileExistsError` for an existing target
    unless `force`, and other kinds of `OSError` naming the target.
    """
    target = Path(os.path.realpath(target))  # a link stays a link
    refuse_existing(target, force)
    part = target.parent / f".vqcodec-{os.urandom(8).hex()}.part"
    try:
        with open(part, "x+b") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            stream.seek(0)
            if reread and stream.read() != data:
                raise OSError(errno.EIO, "the file does not hold what was written to it")
        publish(part, target, force)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def refuse_existing(target: Path, force: bool) -> None:
    """Raise `FileExistsError` where a target exists and may not be replaced, or is not a regular file."""
    if not os.path.lexists(target):
        return
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{target} exists and is not a regular file")
    if not force:
        raise FileExistsError(f"{target} exists (use --force to replace it)")


def publish(part: Path, target: Path, force: bool) -> None:
    """Give a finished file its name; without `force` never over a file that is there."""
    if force:
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
        return
    try:
        os.link(part, target)  # unlike a rename, never overwrites a file that appeared meanwhile
    except FileExistsError:
        raise FileExistsError(f"{target} exists (use --force to replace it)") from None
    except OSError:  # a file system without hard links
        refuse_existing(target, force)
        os.replace(part, target)


def _files(source: Path | None, known: frozenset[str], recursive: bool) -> Iterator[tuple[Path | None, Path]]:
    """The files that an input stands for, each with its path below the output folder."""
    if source is None:
        yield None, Path()
    elif not source.is_dir():
        yield source, Path(source.name)
    elif not recursive:
        raise InvalidInputError(f"{source} is a folder")
    else:
        for folder, inner, names in os.walk(source):
            inner.sort()
            for path in (Path(folder, name) for name in sorted(names)):
                if path.suffix.lower() in known:
                    yield path, path.relative_to(source)


def _target(
    source: Path | None, relative: Path, destination: Destination, suffix: str, known: frozenset[str]
) -> Path | None:
    if destination.file is not None or destination.standard:
        return destination.file
    if source is None:
        if destination.folder is not None:
            raise InvalidInputError("standard input has no name to use in an output folder")
        return None
    stem = relative.stem if relative.suffix.lower() in known else relative.name
    folder = source.parent if destination.folder is None else destination.folder / relative.parent
    return folder / (stem + suffix)


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    """Raise `InvalidInputError` where one job would read or overwrite what another one writes."""
    sources = {None if job.source is None else _identity(job.source) for job in jobs}
    if len(sources) < len(jobs):
        raise InvalidInputError("an input is given twice")
    taken: dict[str, Job] = {}
    for job in jobs:
        if job.target is None:
            continue
        target = _identity(job.target)
        if target in taken:
            raise InvalidInputError(f"{taken[target].source} and {job.source} would both become {job.target}")
        if target in sources:
            raise InvalidInputError(f"{job.target} is an input, and would be the output of {job.source}")
        taken[target] = job


def _identity(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))
