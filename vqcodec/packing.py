"""Pack pictures into an archive: encoded on several threads, in order, so that a run can be taken up again."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from vqcodec.archive_writer import ArchiveWriter
from vqcodec.codec import DEFAULT_EFFORT, load
from vqcodec.errors import InvalidInputError, VqcodecError
from vqcodec.exact import encode_exact
from vqcodec.exact_pixels import ExactPicture
from vqcodec.sources import EXACT, LOSSY, Item, Items, Source, source_of

AHEAD = 8  # inputs in work or waiting for their turn, for each thread

OnError = Literal["stop", "skip"]
Engine = Literal["local", "ray"]
Encode = Callable[[Item], bytes]
Progress = Callable[["Packed"], None]


@dataclass(frozen=True)
class Settings:
    """How pictures are encoded; another process can be told so, and loads the model for itself."""

    quality: float
    effort: int
    model: str
    lossless: bool
    device: str

    def note(self) -> bytes:
        """What the header of an archive says of it (JSON)."""
        facts: dict[str, Any] = {"lossless": True}
        if not self.lossless:
            facts = {"effort": self.effort, "model": load(self.model, self.device).model_id, "quality": self.quality}
        return json.dumps({"vqcodec": facts}, sort_keys=True).encode()

    def encoder(self) -> Encode:
        """The function that makes a .vqc file of an input."""
        if not self.lossless:
            codec = load(self.model, self.device)
            codec.position(self.quality)  # says at once what is wrong with it

        def encode(item: Item) -> bytes:
            picture = item.load(EXACT if self.lossless else LOSSY)
            if isinstance(picture, bytes):
                return picture
            if isinstance(picture, ExactPicture):
                return encode_exact(picture, threads=1)[0]
            return codec.encode(picture, self.quality, effort=self.effort, threads=1)

        return encode


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


def pack(
    source: Any,
    path: str | Path,
    *,
    quality: float = 50.0,
    effort: int = DEFAULT_EFFORT,
    model: str | Path = "photo",
    lossless: bool = False,
    device: str = "cpu",
    threads: int = 0,
    on_error: OnError = "stop",
    resume: bool = True,
    force: bool = False,
    progress: Progress | None = None,
    engine: Engine = "local",
    shard_inputs: int = 1024,
) -> Packed:
    """Encode all pictures of a source into one archive, with a model or `lossless`.

    The source is a folder, a .tar (webdataset), .npz or .npy file, a uint8 array (N, H, W, ...), a torch or Ray data
    set or any sequence or iterable of images, (image, label) or {"image": ..., "label": ...}; images are PIL images,
    uint8 arrays, uint8 torch tensors (channels first), paths, or the bytes of .vqc files, which are taken as they are.

    The archive gets its name when it is whole. A run that was stopped leaves `path` + ".part"; the same call again
    goes on there and ends in the same bytes, whatever the number of threads. Pictures that cannot be encoded
    stop the run or, with `on_error="skip"`, are listed and left out. `progress` is called after every input.

    `engine="ray"` encodes on a Ray cluster into the same bytes: `shard_inputs` inputs a task, of which `threads` (0: as
    many as the cluster has processors) are at work; see `vqcodec.cluster`.
    """
    settings = Settings(quality, effort, str(model), lossless, device)
    encode, note = settings.encoder(), settings.note()
    for name, value, known in (("on_error", on_error, ("stop", "skip")), ("engine", engine, ("local", "ray"))):
        if value not in known:
            raise InvalidInputError(f"{name} is {known[0]!r} or {known[1]!r}, not {value!r}")
    found = source_of(source)
    cluster = None
    if engine == "ray":
        from vqcodec.cluster import Cluster

        cluster = Cluster(found, Path(path), settings, note, on_error, force, shard_inputs, threads)
    with ArchiveWriter(path, note=note, resume=resume, force=force) as writer:
        state = go_on(found, writer)
        if cluster and not resume:
            cluster.clear()
        items = (cluster or found).items(state.done)
        add_all(writer, state, items, encode, 1 if cluster else threads, on_error, progress)
    if cluster:
        cluster.clear()
    return state


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
    changed = InvalidInputError(
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
