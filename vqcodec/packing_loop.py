"""The loop that packs pictures: encoded on several threads, added in order, so that a run can be taken up again."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from vqcodec import weights
from vqcodec.archive_writer import ArchiveWriter
from vqcodec.codec import Codec, load
from vqcodec.errors import InvalidInputError, VqcodecError
from vqcodec.exact import encode_exact
from vqcodec.exact_pixels import ExactPicture
from vqcodec.sources import EXACT, LOSSY, Item, Items, Source

AHEAD = 8  # inputs in work or waiting for their turn, for each thread

OnError = Literal["stop", "skip"]
Encode = Callable[[Item], bytes]
Progress = Callable[["Packed"], None]


class ChangedSourceError(InvalidInputError):
    """An unfinished archive was begun with another source."""


@dataclass(frozen=True)
class Settings:
    """How pictures are encoded; another process can be told so, and loads the model for itself."""

    quality: float
    effort: int
    model: str | None
    lossless: bool
    device: str

    def note(self) -> bytes:
        """What the header of an archive says of it (JSON)."""
        facts: dict[str, Any] = {"lossless": True}
        if not self.lossless:
            facts = {"effort": self.effort, "model": self._codec().model_id, "quality": self.quality}
        elif self.model is not None:
            facts["model"] = weights.resolve(self.model).model_id
        return json.dumps({"vqcodec": facts}, sort_keys=True).encode()

    def encoder(self) -> Encode:
        """The function that makes a .vqc file of an input."""
        pixels = weights.resolve(self.model).pixels if self.lossless and self.model is not None else None
        if not self.lossless:
            codec = self._codec()
            if not codec.info.labels:
                codec.position(self.quality)  # says at once what is wrong with it

        def encode(item: Item) -> bytes:
            picture = item.load(EXACT if self.lossless else LOSSY)
            if isinstance(picture, bytes):
                return picture
            if isinstance(picture, ExactPicture):
                return encode_exact(picture, pixels=pixels, threads=1)[0]
            label = item.label if codec.info.labels else None
            return codec.encode(picture, self.quality, label=label, effort=self.effort, threads=1)

        return encode

    def _codec(self) -> Codec:
        return load(self.model or weights.DEFAULT, self.device)


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
    writer: ArchiveWriter, state: Packed, items: Items, encode: Encode, threads: int, on_error: OnError,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Add what comes of all items to an archive."""
    with closing(_in_order(encode, items, threads or os.cpu_count() or 1)) as results:
        for item, data in results:
            error = data.exception()
            if error is None:
                try:
                    writer.add(data.result(), item.name, item.label, item.extra)
                except VqcodecError as refused:
                    error = refused
            if error is None:
                state.records += 1
            else:
                _skip(state, item, error, on_error)
                writer.skip()
            state.done += 1
            if progress:
                progress(state)


def _skip(state: Packed, item: Item, error: BaseException, on_error: OnError) -> None:
    """List an input that cannot be packed, or stop here."""
    name = item.name or f"input {state.done}"
    if isinstance(error, VqcodecError) and on_error == "stop":
        raise type(error)(f"{name}: {error}") from error
    if on_error == "stop" or isinstance(error, MemoryError) or not isinstance(error, Exception):
        raise error
    state.skipped.append((name, str(error) or type(error).__name__))


def _in_order(work: Encode, items: Items, threads: int) -> Generator[tuple[Item, Future[bytes]], None, None]:
    """Every item with what came of it, in order; a bounded number is in work at a time."""
    pool = ThreadPoolExecutor(threads)
    try:
        waiting = deque((item, pool.submit(work, item)) for item in islice(items, AHEAD * threads))
        while waiting:
            item, data = waiting.popleft()
            data.exception()  # waits
            yield item, data
            waiting.extend((item, pool.submit(work, item)) for item in islice(items, 1))
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
