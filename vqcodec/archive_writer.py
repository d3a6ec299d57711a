"""Write archives: new ones, more to old ones, several as one, and what is left of damaged ones.

An archive gets its name when it is sealed; until then it is `NAME.part` beside it, of which every whole
block can be read back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from vqcodec import _core
from vqcodec.archive import BLOCK_HEADER_BYTES, START_BYTES, TRAILER_BYTES, ArchiveReader, Placed, read_at
from vqcodec.errors import InvalidInputError, NotVqaError, TruncatedError, VqcodecError
from vqcodec.files import ARCHIVE_MAGIC, publish, refuse_existing

BLOCK_MAGIC = b"VQB\x1a"
PART = ".part"  # follows the name of an archive that is not sealed yet
READ_BYTES = 1 << 20  # at a time, in the search for blocks behind damage


class ArchiveWriter:
    """Writes an archive; `close`, or the end of a `with` block without an error, seals it and gives it its name.

    Until then, or after an error, it is `path` + ".part": `resume` goes on behind its last whole block. `append` adds
    to a sealed archive, in a copy that replaces it when sealed. An existing archive, sealed or not, is kept unless
    `force`. The `note`, at most 64 KiB, goes into the header.
    """

    def __init__(
        self, path: str | Path, *, note: bytes = b"", append: bool = False, resume: bool = False, force: bool = False
    ) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays a link
        self.part = self.path.with_name(self.path.name + PART)
        self.force = force or append
        self._forget()
        if self.part.exists() and self.path.exists() and self.part.samefile(self.path):
            self.part.unlink()  # sealed, but killed before this second name was taken away
        refuse_existing(self.path, self.force)
        if self.part.exists() and not (resume or force):
            raise FileExistsError(f"{self.part} is an unfinished archive: resume it, or replace it by force")
        self._file = _locked(self.part)
        try:
            if append:
                self._copy(self.path)
            elif not (resume and self._go_on(note)):
                self._begin(note)
        except BaseException:
            self._file.close()
            raise

    def add(self, data: bytes, name: str | None = None, label: int | None = None, extra: bytes = b"") -> None:
        """Add a .vqc file, whose checksums are verified, with what is known of it.

        A name has at most 4096 bytes in UTF-8, a label 32 bits with its sign, an extra 64 KiB.
        """
        try:
            self._block.add(data, name, label, extra)
        except OverflowError as error:
            raise InvalidInputError(f"the label {label} has more than 32 bits") from error
        self.records += 1
        if self._block.full:
            self._flush()

    def skip(self) -> None:
        """Note that an input was left out, for who resumes this archive."""
        self._block.skip()
        self.skipped += 1

    def add_block(self, placed: Placed) -> None:
        """Add a whole block of another archive, as it is."""
        if len(self._block):
            self._flush()
        self._file.write(placed.data)
        self._count(placed)

    def close(self) -> None:
        """Seal the archive and give it its name."""
        if self._file.closed:
            return
        try:
            if len(self._block):
                self._flush()
            self._file.write(_core.write_archive_end(self._blocks, self._start))
            self._file.flush()
            os.fsync(self._file.fileno())
            publish(self.part, self.path, self.force)
            with suppress(FileNotFoundError):
                self.part.unlink()
        finally:
            self._file.close()

    def start_over(self, note: bytes) -> None:
        """Forget all that has been added."""
        self._forget()
        self._begin(note)

    def leave(self) -> None:
        """Stop without sealing: whole blocks stay in `part`, to be resumed."""
        self._file.close()

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.leave()

    def _forget(self) -> None:
        self.records = 0  # in whole blocks, and in the one that is being filled
        self.skipped = 0  # inputs left out, as told by `skip`
        self.last: _core.Block | None = None  # the last block that was there already
        self._blocks: list[tuple[int, int]] = []
        self._block = _core.BlockWriter()

    def _begin(self, note: bytes) -> None:
        start = _core.write_archive_start(note)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(start)
        self._start = len(start)

    def _go_on(self, note: bytes) -> bool:
        """Find the whole blocks of an unfinished archive; False where there is none."""
        try:
            found, self._start = _core.read_archive_start(read_at(self._file, START_BYTES, 0))
        except TruncatedError:
            return False
        end = self._start
        for placed in whole_blocks(self._file, self._start):
            if found != note and self.force:
                return False
            if found != note:
                raise InvalidInputError(
                    f"{self.part} was begun with other settings ({_shown(found)}, now {_shown(note)}): "
                    "give those again, or replace it by force"
                )
            self._count(placed)
            self.last = placed.block
            end = placed.offset + len(placed.data)
        if end == self._start:
            return False
        self._file.truncate(end)
        self._file.seek(end)
        return True

    def _copy(self, path: Path) -> None:
        """Take over the blocks of a sealed archive."""
        with ArchiveReader(path) as reader:
            self._begin(reader.note)
            for number in range(reader.blocks):
                self.add_block(reader.placed(number))
            shutil.copymode(path, self.part)

    def _count(self, placed: Placed) -> None:
        self._blocks.append((len(placed.data), len(placed.block)))
        self.records += len(placed.block)
        self.skipped += placed.block.skipped

    def _flush(self) -> None:
        records = len(self._block)
        data = self._block.finish()
        self._file.write(data)
        self._file.flush()  # whoever is killed now has this block
        self._blocks.append((len(data), records))


@dataclass(frozen=True)
class Recovery:
    """What was found in a damaged or unfinished archive, and what was not."""

    records: int
    blocks: int
    damage: list[tuple[int, int]]  # (offset, bytes) that no block could be read from
    sealed: int | None  # records that a sound trailer promises; None where there is none


def recover(path: str | Path, target: str | Path, *, force: bool = False) -> Recovery:
    """Write every intact block of a damaged or unsealed archive into a new, sealed one."""
    damage: list[tuple[int, int]] = []
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        note, start, trailer = _ends(file, size)
        found = whole_blocks(file, start, damage)
        first = next(found, None)
        if first is None and not read_at(file, len(ARCHIVE_MAGIC), 0) == ARCHIVE_MAGIC:
            raise NotVqaError(f"{path} holds no block of an archive")
        with ArchiveWriter(target, note=note, force=force) as writer:
            for placed in (*([] if first is None else [first]), *found):
                writer.add_block(placed)
    if trailer is not None and damage and damage[-1] == (trailer[0], size - trailer[0]):
        damage.pop()  # what is behind the last block is the index
    return Recovery(writer.records, len(writer._blocks), damage, trailer and trailer[1])


def merge(sources: Iterable[str | Path], target: str | Path, *, force: bool = False) -> int:
    """Write the records of sealed archives one after the other into a new one; returns their number.

    Blocks are checked and copied as they are. The note is that of the first archive.
    """
    readers = [ArchiveReader(path) for path in sources]
    try:
        with ArchiveWriter(target, note=readers[0].note if readers else b"", force=force) as writer:
            for reader in readers:
                for number in range(reader.blocks):
                    writer.add_block(reader.placed(number))
    finally:
        for reader in readers:
            reader.close()
    return writer.records


def whole_blocks(file: BinaryIO, start: int, damage: list[tuple[int, int]] | None = None) -> Iterator[Placed]:
    """The intact blocks of a file from `start`, up to the first damage, or beyond it where `damage` collects it."""
    size = os.fstat(file.fileno()).st_size
    offset = lost = start
    while offset < size:
        placed = _block_at(file, offset, size)
        if placed is None:
            if damage is None:
                return
            offset = _next_magic(file, offset + 1, size)
            continue
        if damage is not None and lost < offset:
            damage.append((lost, offset - lost))
        yield placed
        offset = lost = offset + len(placed.data)
    if damage is not None and lost < size:
        damage.append((lost, size - lost))


def _block_at(file: BinaryIO, offset: int, size: int) -> Placed | None:
    """The block that begins there, if it is whole and sound."""
    try:
        length = _core.read_block_header(read_at(file, BLOCK_HEADER_BYTES, offset))[1]
        if length > size - offset:
            return None
        data = read_at(file, length, offset)
        return Placed(offset, data, _core.Block(data))
    except VqcodecError:
        return None


def _next_magic(file: BinaryIO, offset: int, size: int) -> int:
    """Where the next block might begin; `size` where there is none."""
    while offset < size:
        piece = read_at(file, READ_BYTES, offset)
        found = piece.find(BLOCK_MAGIC)
        if found >= 0:
            return offset + found
        if offset + len(piece) >= size:
            return size
        offset += len(piece) - len(BLOCK_MAGIC) + 1
    return size


def _ends(file: BinaryIO, size: int) -> tuple[bytes, int, tuple[int, int] | None]:
    """Note, offset of the first block, and what the trailer says, of an archive where all of them may be damaged."""
    try:
        note, start = _core.read_archive_start(read_at(file, START_BYTES, 0))
    except VqcodecError:
        note, start = b"", 0
    try:
        trailer = _core.ArchiveIndex.read_trailer(read_at(file, TRAILER_BYTES, max(size - TRAILER_BYTES, 0)))
    except (VqcodecError, ValueError):
        trailer = None
    return note, start, trailer


def _locked(part: Path) -> BinaryIO:
    """The unfinished archive, open for this process alone."""
    file = part.open("r+b" if part.exists() else "x+b")
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # a system without it: two writers of one archive are up to the user
        pass
    except OSError as error:
        file.close()
        raise BlockingIOError(f"{part} is being written by another process") from error
    return file


def _shown(note: bytes) -> str:
    return note.decode(errors="replace") or "none"
