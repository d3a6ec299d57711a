"""Pack on a Ray cluster: tasks encode pieces of the source into shards, which become the archive in their order.

A shard is an archive of `shard_inputs` inputs in the folder `OUT.vqa.shards`, which all machines must see. Its task
packs as on one machine, so one that died goes on where its last whole block ends, and whole shards stay when the whole
run is stopped. The records of the shards are added to the archive as if they had just been encoded: its bytes are
those of a run on one machine. At the end the folder is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from vqcodec import weights
from vqcodec.archive import ArchiveReader
from vqcodec.archive_writer import ArchiveWriter
from vqcodec.errors import CorruptedError, InvalidInputError, ModelMismatchError, VqcodecError
from vqcodec.packing_encoder import Encoder, Settings
from vqcodec.packing_loop import OnError, Packed, add_all, go_on
from vqcodec.sources import Item, Items, Part, Source, failing, given, parts

try:
    import ray
except ModuleNotFoundError as error:
    raise InvalidInputError("engine 'ray' needs Ray: pip install 'vqcodec[ray]'") from error

RETRIES = 5  # of a task whose worker died; each goes on where the one before it ended
AHEAD = 2  # tasks at work or waiting for their turn, for each processor of the cluster
STOP_SECONDS = 120.0  # that tasks have to stop, or the last writer of a shard to let go of it (NFS: a lease of 90 s)


@dataclass(frozen=True)
class Shard:
    """The archive of the inputs from number `begin` on."""

    path: Path
    begin: int
    note: bytes

    @property
    def left_out_path(self) -> Path:
        return self.path.with_suffix(".left-out")

    def left_out(self) -> dict[int, tuple[str, str]]:
        """The inputs that are not in it by their numbers: name, and why."""
        if not self.left_out_path.exists():
            return {}
        lines = self.left_out_path.read_text().splitlines()
        return {number: (name, why) for number, name, why in map(json.loads, lines)}

    def is_of(self, part: Part) -> bool:
        """Whether it holds these inputs in these settings, as far as can be told without encoding them again."""
        with ArchiveReader(self.path) as reader:
            left_out = self.left_out()
            if reader.note != self.note or len(reader) + len(left_out) != part.stop - self.begin:
                return False
            last = next((n for n in range(part.stop - 1, self.begin - 1, -1) if n not in left_out), None)
            name = None if last is None else reader[len(reader) - 1].name
            return name is None or last is None or next(part.items(last)).name == name

    def items(self, start: int, stop: int) -> Items:
        """What came of its inputs from number `start` on: their .vqc files, and errors for those left out."""
        left_out = self.left_out()
        with ArchiveReader(self.path) as reader:
            records = iter(reader)
            for number in range(self.begin, stop):
                if number in left_out:
                    name, why = left_out[number]
                    item = Item(failing(InvalidInputError(why)), name)
                else:
                    record = next(records)
                    item = Item(given(record.data), record.name, record.label, record.extra)
                if number >= start:
                    yield item


@dataclass(frozen=True)
class Cluster:
    """The tasks that pack a source, and the shards that they leave."""

    source: Source
    target: Path
    settings: Settings
    note: bytes  # of the archive
    on_error: OnError
    force: bool
    shard_inputs: int
    tasks: int  # at a time; 0: as many as there are processors

    def __post_init__(self) -> None:
        if self.shard_inputs < 1:
            raise InvalidInputError(f"a shard has at least 1 input, not {self.shard_inputs}")
        if self.settings.device != "cpu":
            raise InvalidInputError(f"engine 'ray' encodes on processors only, not on {self.settings.device}")

    def count(self) -> int | None:
        """How many inputs there are, where that is known."""
        return self.source.count()

    def items(self, start: int) -> Items:
        """What came of all inputs from number `start` on, in order: .vqc files, and errors for those left out."""
        if not ray.is_initialized():
            ray.init()
        self.folder.mkdir(exist_ok=True)
        # Looked at once: a network file system would go on saying for a while that a file is not there.
        there = set(os.listdir(self.folder))
        first = start - start % self.shard_inputs
        waiting: deque[tuple[Shard, int, Any]] = deque()
        try:
            for begin, part in zip(count(first, self.shard_inputs), parts(self.source, first, self.shard_inputs)):
                shard = self._shard(begin)
                whole = shard.path.name in there and self._keep(shard, part)
                waiting.append((shard, part.stop, None if whole else self._begin(shard, part)))
                while len(waiting) >= self._bound():
                    yield from _next(waiting, start)
            while waiting:
                yield from _next(waiting, start)
        finally:
            _stop([task for _, _, task in waiting if task is not None])

    def clear(self) -> None:
        """Remove the shards."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @cached_property
    def folder(self) -> Path:
        """Where the shards are."""
        target = Path(os.path.realpath(self.target))
        return target.with_name(target.name + ".shards")

    def _shard(self, begin: int) -> Shard:
        place = {"begin": begin, "inputs": self.shard_inputs, "of": self.source.count()}
        note = json.dumps(json.loads(self.note) | {"shard": place}, sort_keys=True).encode()
        return Shard(self.folder / f"{begin // self.shard_inputs:06d}.vqa", begin, note)

    def _keep(self, shard: Shard, part: Part) -> bool:
        """Whether a shard that is there can stay."""
        if shard.is_of(part):
            return True
        if not self.force:
            raise InvalidInputError(
                f"{shard.path} was begun with other settings or another source: "
                f"give those again, replace it by force, or remove {self.folder}"
            )
        shard.path.unlink()
        return False

    def _begin(self, shard: Shard, part: Part) -> Any:
        """Start the task of a shard."""
        task = ray.remote(pack_shard).options(name=f"pack {shard.path.name}", num_cpus=1, max_retries=RETRIES)
        try:
            source = self._whole if part.source is self.source else part.source
            return task.remote(source, part.begin, part.stop, shard, self._settings, self.on_error, self.force)
        except TypeError as error:
            raise InvalidInputError(f"the source cannot be sent to other processes: {error}") from error

    @cached_property
    def _whole(self) -> Any:
        """The source in Ray's object store, for parts that cannot do with less."""
        return ray.put(self.source)

    @cached_property
    def _settings(self) -> Settings:
        """For processes in other folders: with the absolute path of a model file."""
        if self.settings.model is None:
            return self.settings
        path = Path(self.settings.model)
        is_file = path.is_file() and weights.resolve(path).path == path.resolve()
        return replace(self.settings, model=str(path.resolve())) if is_file else self.settings

    def _bound(self) -> int:
        return self.tasks or max(AHEAD * int(ray.cluster_resources().get("CPU", 0)), 1)


def pack_shard(
    source: Source, begin: int, stop: int, shard: Shard, settings: Settings, on_error: OnError, force: bool
) -> None:
    """The work of one task."""
    part = Part(source, begin, stop)
    theirs, ours = json.loads(shard.note)["vqcodec"], json.loads(settings.note())["vqcodec"]
    if ours != theirs:
        raise ModelMismatchError(f"the model {settings.model} is another one on this machine ({ours}, not {theirs})")
    if shard.path.exists():
        return  # the worker died right after it had sealed the shard
    with _writer(shard, force) as writer:
        state = go_on(part, writer, shard.begin)
        if _forget(shard.left_out_path, state.done) != writer.skipped:
            raise CorruptedError(f"{shard.left_out_path} is not what {writer.part} needs: remove {shard.path.parent}")
        listed = 0

        def list_left_out(state: Packed) -> None:
            nonlocal listed
            if len(state.skipped) > listed:
                listed = len(state.skipped)
                with shard.left_out_path.open("a") as file:  # before the block that counts it is written
                    file.write(json.dumps([state.done - 1, *state.skipped[-1]]) + "\n")
                    file.flush()
                    os.fsync(file.fileno())

        add_all(writer, state, part, Encoder(settings), 1, on_error, list_left_out)


def _writer(shard: Shard, force: bool) -> ArchiveWriter:
    """The writer of a shard, once nobody else is: the tasks of a run that was killed take a moment to end."""
    until = time.monotonic() + STOP_SECONDS
    while True:
        try:
            return ArchiveWriter(shard.path, note=shard.note, resume=True, force=force)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _forget(path: Path, done: int) -> int:
    """Keep in a list of what was left out only inputs below number `done`; returns how many these are."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        kept = [line for line in file if line.endswith(b"\n") and json.loads(line)[0] < done]
        file.truncate(sum(map(len, kept)))
    return len(kept)


def _next(waiting: deque[tuple[Shard, int, Any]], start: int) -> Items:
    """The items of the shard whose turn it is, when its task is done."""
    shard, stop, task = waiting[0]
    if task is not None:
        ray.wait([task])
    waiting.popleft()  # now: Ray ends the driver if a task is cancelled while its end is being written down
    try:
        if task is not None:
            ray.get(task)
    except ray.exceptions.RayError as error:
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        if not isinstance(cause, ray.exceptions.RayError):
            raise cause from None
        reason = str(cause).strip().partition("\n")[0]
        raise VqcodecError(f"inputs {shard.begin} to {stop - 1}: {reason}") from error
    yield from shard.items(start, stop)


def _stop(tasks: list[Any]) -> None:
    """End tasks whose shards nobody waits for; what they have written stays."""
    if tasks:
        _, running = ray.wait(tasks, num_returns=len(tasks), timeout=0)
        for task in running:
            ray.cancel(task)
        ray.wait(tasks, num_returns=len(tasks), timeout=STOP_SECONDS)
