"""Archives back to folders of images, with names that cannot leave the folder; and checks of whole archives."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath

from vqcodec.api import decode_image, verify_batch
from vqcodec.archive import ArchiveReader, Record
from vqcodec.errors import CorruptedError, VqcodecError
from vqcodec.files import IMAGE_SUFFIXES, write_file
from vqcodec.formats import save_image

BATCH = 256  # records at a time
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")})


@dataclass(frozen=True)
class Unpacked:
    """One record: the file it went to, or the error that kept it from there; and what could not be kept."""

    number: int
    target: Path
    error: Exception | None = None
    notes: tuple[str, ...] = ()


def unpack(
    archive: str | Path,
    folder: str | Path,
    *,
    format: str = "png",
    model: str | Path | None = None,
    force: bool = False,
    threads: int = 0,
) -> Iterator[Unpacked]:
    """Write every record as an image file below a folder, under its name with another suffix; `format="vqc"` as it is.

    A record without a name, or with one that is unsafe on any system or taken by another record, goes by its number.
    Existing files are kept unless `force`, and nothing is written outside of the folder.
    """
    root = Path(os.path.realpath(folder))
    taken: set[str] = set()

    def work(place: tuple[int, Path, tuple[str, ...], Record | Exception]) -> Unpacked:
        number, target, notes, record = place
        try:
            if isinstance(record, Exception):
                raise record
            image, lost = _image(record.data, format, model)
            if not Path(os.path.realpath(target.parent)).is_relative_to(root):
                raise OSError(f"{target.parent} is a link to outside of {root}")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, image, force=force)
            return Unpacked(number, target, None, notes + lost)
        except (VqcodecError, OSError) as error:
            return Unpacked(number, target, error, notes)

    with ArchiveReader(archive) as reader, ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        places = ((n, *_place(root, n, record, format, taken), record) for n, record in records_or_errors(reader))
        while batch := list(islice(places, BATCH)):
            yield from pool.map(work, batch)


def records_or_errors(reader: ArchiveReader) -> Iterator[tuple[int, Record | Exception]]:
    """All records by number; damaged ones as the error that they are."""
    for number in range(len(reader)):
        try:
            yield number, reader[number]
        except VqcodecError as error:
            yield number, error


def safe_path(name: str) -> PurePosixPath | None:
    """A name as a relative path, if it is one that can do no harm on any system."""
    parts = name.split("/")
    return PurePosixPath(*parts) if all(map(_is_safe, parts)) else None


def _is_safe(part: str) -> bool:
    if part in ("", ".", "..") or part[-1] in ". " or len(part.encode()) > 240:
        return False
    if "\\" in part or ":" in part or any(unicodedata.category(letter) == "Cc" for letter in part):
        return False
    return part.partition(".")[0].rstrip().casefold() not in DEVICES


def _place(
    root: Path, number: int, record: Record | Exception, format: str, taken: set[str]
) -> tuple[Path, tuple[str, ...]]:
    """Where a record goes, and what is to be said about that."""
    named = Record(b"") if isinstance(record, Exception) else record
    by_number = f"{number:08d}"
    by_label = by_number if named.label is None else f"{named.label}/{by_number}"
    path = safe_path(by_label if named.name is None else named.name)
    candidates = [PurePosixPath(by_number)]
    if path is not None:
        known = path.suffix.lower() in IMAGE_SUFFIXES | {".vqc"}
        candidates = [*([path.with_suffix("")] if known else []), path, *candidates]
    for candidate in candidates:
        target = candidate.with_name(f"{candidate.name}.{format}")
        key = unicodedata.normalize("NFC", str(target)).casefold()
        if key not in taken:
            break
    taken.add(key)
    if path is None:
        return root / target, (f"the name {named.name!r} is not safe: written as {target}",)
    if candidate == candidates[-1]:
        return root / target, (f"the name {named.name!r} is taken: written as {target}",)
    return root / target, ()


def _image(data: bytes, format: str, model: str | Path | None) -> tuple[bytes, tuple[str, ...]]:
    if format == "vqc":
        return data, ()
    image = BytesIO()
    notes = save_image(decode_image(data, model=model, threads=1), image, format)
    return image.getvalue(), notes


@dataclass(frozen=True)
class Verified:
    """A checked archive: its records, its size, and the errors of the damaged ones."""

    records: int
    bytes: int
    errors: list[str]


def verify_archive(
    path: str | Path,
    model: str | Path | None = None,
    *,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Verified:
    """Check an archive wholly: every checksum, the models, every code; damage is listed by block."""
    errors: list[str] = []
    with ArchiveReader(path) as reader:
        for number in range(reader.blocks):
            try:
                block = reader.placed(number).block
                verify_batch([block.file(inner) for inner in range(len(block))], model=model, threads=threads)
            except VqcodecError as error:
                errors.append(str(error))
            if progress:
                progress(number + 1)
        if errors and len(errors) == reader.blocks:
            raise CorruptedError(errors[0])
        return Verified(len(reader), reader.bytes, errors)
