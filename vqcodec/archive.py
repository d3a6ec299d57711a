"""Archives: many .vqc files in one .vqa file, to be read in any order. The bytes are in rust/core/ARCHIVE.md.

An archive gets its name when it is sealed; until then it is `NAME.part` beside it, of which every whole
block can be read back.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from vqcodec import _core
from vqcodec.errors import CorruptedError, InvalidInputError, NotVqaError, TruncatedError, VqcodecError
from vqcodec.files import publish, refuse_existing

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"VQA\x1a"
BLOCK_MAGIC = b"VQB\x1a"
PART = ".part"  # follows the name of an archive that is not sealed yet
TRAILER_BYTES = 24
BLOCK_HEADER_BYTES = 18
START_BYTES = (1 << 16) + 16  # no note is longer
CACHE_BYTES = 16 << 20
READ_BYTES = 1 << 20  # at a time, in the search for blocks behind damage


@dataclass(frozen=True)
class Record:
    """One picture of an archive: `data` is its .vqc file; `extra` is whatever was packed with it."""

    data: bytes
    name: str | None = None
    label: int | None = None
    extra: bytes = b""

    def decode(self, *, model: str | Path | None = None, threads: int = 1) -> np.ndarray:
        """The pixels, uint8 of the shape that was encoded."""
        from vqcodec.codec import codec_for

        return codec_for(self.data, model).decode(self.data, threads=threads)

    def codes(self, *, model: str | Path | None = None, threads: int = 1) -> list[np.ndarray]:
        """The codes, one int32 array (N, h, w) per level."""
        from vqcodec.codec import codec_for

        return codec_for(self.data, model).codes(self.data, threads=threads)


@dataclass(frozen=True)
class Placed:
    """A whole block of a file: its bytes, all checked, and where it begins."""

    offset: int
    data: bytes
    block: _core.Block


class ArchiveReader:
    """The records of a sealed archive by number; safe to share between threads, and picklable.

    Opening reads the index alone, and a record one block, of which the last ones read are kept
    (`cache_bytes`). Damage is an error of the records in that block; all others stay readable.
    """

    def __init__(self, path: str | Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = Path(path)
        self.cache_bytes = cache_bytes
        self._open()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[_core.Block, int]] = OrderedDict()
        self._kept_bytes = 0
        self._numbers: dict[str, int] | None = None
        self._file = self.path.open("rb", buffering=0)
        try:
            self.bytes = os.fstat(self._file.fileno()).st_size
            self.note, start = _core.read_archive_start(self._read(min(START_BYTES, self.bytes), 0))
            if self.bytes < start + TRAILER_BYTES:
                raise TruncatedError("truncated: the data ends inside the archive, which was not sealed")
            self._trailer = self._read(TRAILER_BYTES, self.bytes - TRAILER_BYTES)
            offset, records = _core.ArchiveIndex.read_trailer(self._trailer)
            if not start <= offset <= self.bytes - TRAILER_BYTES:
                raise CorruptedError("corrupted: the trailer contradicts the size of the archive")
            index = self._read(self.bytes - TRAILER_BYTES - offset, offset)
            self._index = _core.ArchiveIndex(index, start, (offset, records))
        except BaseException:
            self._file.close()
            raise

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path.absolute(), "cache_bytes": self.cache_bytes, "trailer": self._trailer}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.path, self.cache_bytes = Path(str(state["path"])), int(str(state["cache_bytes"]))
        self._open()
        if self._trailer != state["trailer"]:
            self.close()
            raise CorruptedError(f"{self.path} is not the archive that it was")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._index.records

    def __getitem__(self, number: int) -> Record:
        block, inner = self._locate(number)
        return _record(self._block(block), inner)

    def __iter__(self) -> Iterator[Record]:
        for number in range(self._index.blocks):
            block = _core.Block(self._block_bytes(number))
            yield from (_record(block, inner) for inner in range(len(block)))

    def records(self, numbers: Iterable[int]) -> list[Record]:
        """Several records in the order asked for; each block is read once."""
        wanted = [self._locate(number) for number in numbers]
        blocks = {number: self._block(number) for number in sorted({block for block, _ in wanted})}
        return [_record(blocks[block], inner) for block, inner in wanted]

    def find(self, name: str) -> int:
        """The number of the first record with this name (KeyError where there is none)."""
        if self._numbers is None:
            names = enumerate(tag[0] for _, _, tag in self.fronts())
            self._numbers = {found: number for number, found in reversed(list(names)) if found is not None}
        return self._numbers[name]

    def fronts(self) -> Iterator[tuple[_core.Block, int, tuple[str | None, int | None, bytes]]]:
        """Block, number in it, and (name, label, extra) of all records in order; no payload is read."""
        for number in range(self._index.blocks):
            offset, size, _ = self._index.place(number)
            with self._damage(number):
                header = self._read(min(BLOCK_HEADER_BYTES, size), offset)
                block = _core.Block(self._read(_core.read_block_header(header)[0], offset), True)
                self._check_records(number, block)
            for inner in range(len(block)):
                yield block, inner, block.tag(inner)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self._index.blocks

    def placed(self, number: int) -> Placed:
        """A block by its number."""
        data = self._block_bytes(number)
        with self._damage(number):
            return Placed(self._index.place(number)[0], data, _core.Block(data))

    def block_of(self, number: int) -> int:
        """The number of the block that a record is in."""
        return self._locate(number)[0]

    def _locate(self, number: int) -> tuple[int, int]:
        count = len(self)
        if not -count <= number < count:
            raise IndexError(f"record {number} of {count}")
        return self._index.locate(number % count)

    def _block(self, number: int) -> _core.Block:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number][0]
        data = self._block_bytes(number)
        with self._damage(number):
            block = _core.Block(data)
            self._check_records(number, block)
        with self._lock:
            if number not in self._kept:
                self._kept[number] = block, len(data)
                self._kept_bytes += len(data)
            while self._kept_bytes > self.cache_bytes and len(self._kept) > 1:
                _, (_, size) = self._kept.popitem(last=False)
                self._kept_bytes -= size
        return block

    def _block_bytes(self, number: int) -> bytes:
        offset, size, _ = self._index.place(number)
        return self._read(size, offset)

    def _check_records(self, number: int, block: _core.Block) -> None:
        """A block in the place of another would shift all records after it."""
        first, after = (self._index.first(n) for n in (number, number + 1))
        if len(block) != after - first:
            raise CorruptedError("corrupted: a block is not the one of the index")

    def _damage(self, number: int) -> _Damage:
        return _Damage(f"records {self._index.first(number)} to {self._index.first(number + 1) - 1}")

    def _read(self, size: int, offset: int) -> bytes:
        return _read_at(self._file, size, offset, self._lock)


class _Damage:
    """Says of an error in a block which records it concerns."""

    def __init__(self, records: str) -> None:
        self.records = records

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, VqcodecError):
            raise type(error)(f"{self.records}: {error}") from error


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
        self.records = 0  # in whole blocks, and in the one that is being filled
        self.skipped = 0  # inputs left out, as told by `skip`
        self._blocks: list[tuple[int, int]] = []
        self._block = _core.BlockWriter()
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

    def _begin(self, note: bytes) -> None:
        start = _core.write_archive_start(note)
        self._file.truncate(0)
        self._file.write(start)
        self._start = len(start)

    def _go_on(self, note: bytes) -> bool:
        """Find the whole blocks of an unfinished archive; False where there is not even a start."""
        try:
            found, self._start = _core.read_archive_start(_read_at(self._file, START_BYTES, 0))
        except TruncatedError:
            return False
        placed = list(whole_blocks(self._file, self._start))
        if not placed or (found != note and self.force):
            return False
        if found != note:
            raise InvalidInputError(
                f"{self.part} was begun with other settings ({_shown(found)}, now {_shown(note)}): "
                "give those again, or replace it by force"
            )

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

    last: _core.Block | None = None  # the last block that was there already


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
        if first is None and not _read_at(file, len(MAGIC), 0) == MAGIC:
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
        length = _core.read_block_header(_read_at(file, BLOCK_HEADER_BYTES, offset))[1]
        if length > size - offset:
            return None
        data = _read_at(file, length, offset)
        return Placed(offset, data, _core.Block(data))
    except VqcodecError:
        return None


def _next_magic(file: BinaryIO, offset: int, size: int) -> int:
    """Where the next block might begin; `size` where there is none."""
    while offset < size:
        piece = _read_at(file, READ_BYTES, offset)
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
        note, start = _core.read_archive_start(_read_at(file, START_BYTES, 0))
    except VqcodecError:
        note, start = b"", 0
    try:
        trailer = _core.ArchiveIndex.read_trailer(_read_at(file, TRAILER_BYTES, max(size - TRAILER_BYTES, 0)))
    except (VqcodecError, ValueError):
        trailer = None
    return note, start, trailer


def _record(block: _core.Block, inner: int) -> Record:
    return Record(block.file(inner), *block.tag(inner))


def _read_at(file: BinaryIO, size: int, offset: int, lock: threading.Lock | None = None) -> bytes:
    """Up to `size` bytes; no file position is moved where the system can do without one."""
    pieces = []
    while size > 0:
        if hasattr(os, "pread"):
            piece = os.pread(file.fileno(), min(size, 1 << 30), offset)
        else:
            with lock or threading.Lock():
                file.seek(offset)
                piece = file.read(min(size, 1 << 30))
        if not piece:
            break
        pieces.append(piece)
        size, offset = size - len(piece), offset + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _locked(part: Path) -> BinaryIO:
    """The unfinished archive, open for this process alone."""
    file = open(part, "r+b" if part.exists() else "x+b")
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
