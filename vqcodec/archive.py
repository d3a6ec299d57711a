"""Archives: many .vqc files in one .vqa file, read in any order. The bytes are in rust/core/ARCHIVE.md."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from vqcodec import _core
from vqcodec.errors import CorruptedError, TruncatedError, VqcodecError

if TYPE_CHECKING:
    import numpy as np

TRAILER_BYTES = 24
BLOCK_HEADER_BYTES = 18
START_BYTES = (1 << 16) + 16  # no note is longer
CACHE_BYTES = 16 << 20


@dataclass(frozen=True)
class Record:
    """One picture of an archive: `data` is its .vqc file; `extra` is whatever was packed with it."""

    data: bytes
    name: str | None = None
    label: int | None = None
    extra: bytes = b""

    def decode(self, *, model: str | Path | None = None, threads: int = 1) -> np.ndarray:
        """The pixels, uint8 (or uint16) of the shape that was encoded."""
        from vqcodec.api import decode

        return decode(self.data, model=model, threads=threads)

    def codes(self, *, model: str | Path | None = None, threads: int = 1) -> list[np.ndarray]:
        """The codes, one int32 array (N, h, w) per level."""
        from vqcodec.api import codes

        return codes(self.data, model=model, threads=threads)


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
            block = self.placed(number).block
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
            block = _core.Block(data)
            self._check_records(number, block)
        return Placed(self._index.place(number)[0], data, block)

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
        placed = self.placed(number)
        with self._lock:
            if number not in self._kept:
                self._kept[number] = placed.block, len(placed.data)
                self._kept_bytes += len(placed.data)
            while self._kept_bytes > self.cache_bytes and len(self._kept) > 1:
                _, (_, size) = self._kept.popitem(last=False)
                self._kept_bytes -= size
        return placed.block

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
        return read_at(self._file, size, offset, self._lock)


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


def _record(block: _core.Block, inner: int) -> Record:
    return Record(block.file(inner), *block.tag(inner))


def read_at(file: BinaryIO, size: int, offset: int, lock: threading.Lock | None = None) -> bytes:
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
