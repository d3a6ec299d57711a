"""The loop that packs pictures: encoded on several threads, added in order, so that a run can be taken up again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from vqcodec.archive_writer import ArchiveWriter
from vqcodec.errors import InvalidInputError, VqcodecError
from vqcodec.packing_encoder import Encoder
from vqcodec.sources import Item, Items, Source

AHEAD = 8  # inputs in work or waiting for their turn, for each thread

OnError = Literal["stop", "skip"]
Progress = Callable[["Packed"], None]


class ChangedSourceError(InvalidInputError):
    """An unfinished archive was begun with another source."""


@dataclass
class Packed:
    """How far packing has come: `done` of `total` inputs (None: unknown), of which `resumed` were there before."""

    total: int | None = None
    done: int = 0
    resumed: int = 0
    records: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)  # by this run: name or number, and why

    @property
    def left_out(self) -> int:
        """Inputs that are not in the archive, those that an earlier run had skipped included."""
        return self.done - self.records


def go_on(source: Source, writer: ArchiveWriter, begin: int = 0) -> Packed:
    """How far an archive of a source's inputs from number `begin` on has come, which must be those it has."""
    done = begin + writer.records + writer.skipped
    state = Packed(source.count(), done, done - begin, writer.records)
    _check_place(source, writer, state)
    return state


def add_all(
    writer: ArchiveWriter, state: Packed, source: Source, encode: Encoder, threads: int, on_error: OnError,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Add what comes of all inputs that are not done to an archive."""
    again = state.done % encode.settings.together
    items = source.items(state.done - again)
    with closing(_in_order(encode, items, threads or os.cpu_count() or 1)) as results:
        for item, data in islice(results, again, None):
            error = data if isinstance(data, Exception) else _add(writer, item, data)
            if error is None:
                state.records += 1
            else:
                _skip(state, item, error, on_error)
                writer.skip()
            state.done += 1
            if progress:
                progress(state)


def _add(writer: ArchiveWriter, item: Item, data: bytes) -> VqcodecError | None:
    """Add a record, or say why the archive cannot hold it."""
    try:
        writer.add(data, item.name, item.label, item.extra)
    except VqcodecError as refused:
        return refused
    return None


def _skip(state: Packed, item: Item, error: Exception, on_error: OnError) -> None:
    """List an input that cannot be packed, or stop here."""
    name = item.name or f"input {state.done}"
    if isinstance(error, VqcodecError) and on_error == "stop":
        raise type(error)(f"{name}: {error}") from error
    if on_error == "stop" or isinstance(error, MemoryError):
        raise error
    state.skipped.append((name, str(error) or type(error).__name__))


def _in_order(encode: Encoder, items: Items, threads: int) -> Generator[tuple[Item, bytes | Exception], None, None]:
    """Every item with what came of it, in order; a bounded number is in work at a time."""
    together = encode.settings.together
    batches = iter(lambda: list(islice(items, together)), [])
    pool = ThreadPoolExecutor(threads)
    try:
        ahead = max(AHEAD // together, 2) * threads
        waiting = deque((batch, pool.submit(encode, batch)) for batch in islice(batches, ahead))
        while waiting:
            batch, results = waiting.popleft()
            yield from zip(batch, results.result(), strict=True)
            waiting.extend((batch, pool.submit(encode, batch)) for batch in islice(batches, 1))
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()


def _check_place(source: Source, writer: ArchiveWriter, state: Packed) -> None:
    """Refuse to go on in a source that is not the one which was begun with."""
    changed = ChangedSourceError(
        f"{writer.part} was begun with another source, or the source has changed: replace it by force"
    )
    if state.total is not None and state.done > state.total:
        raise changed
    last = writer.last
    if last is None:
        return
    name = last.tag(len(last) - 1)[0]
    # The last record stands for one of the inputs at the end of its block, whose last ones may have been skipped.
    nearby = source.items(state.done - 1 - last.skipped)
    if name is not None and all(item.name != name for item in islice(nearby, 1 + last.skipped)):
        raise changed
