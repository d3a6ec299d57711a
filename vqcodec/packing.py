"""Pack the pictures of a source into one archive, on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from vqcodec.archive_writer import ArchiveWriter
from vqcodec.codec import DEFAULT_EFFORT
from vqcodec.errors import InvalidInputError
from vqcodec.packing_encoder import Encoder, Settings
from vqcodec.packing_loop import ChangedSourceError, OnError, Packed, Progress, add_all, go_on
from vqcodec.sources import source_of

Engine = Literal["local", "ray"]


def pack(
    source: Any,
    path: str | Path,
    *,
    quality: float = 50.0,
    effort: int = DEFAULT_EFFORT,
    model: str | Path | None = None,
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
    """Encode all pictures of a source into one archive, with a model (else `photo`), or `lossless`.

    The source is a folder, a .tar (webdataset), .npz or .npy file, a uint8 array (N, H, W, ...), a torch or Ray data
    set or any sequence or iterable of images, (image, label) or {"image": ..., "label": ...}; images are PIL images,
    uint8 arrays, uint8 torch tensors (channels first), paths, or the bytes of .vqc files, which are taken as they are.

    The archive gets its name when it is whole. A run that was stopped leaves `path` + ".part"; the same call again
    goes on there and ends in the same bytes, whatever the number of threads. Pictures that cannot be encoded
    stop the run or, with `on_error="skip"`, are listed and left out. `progress` is called after every input.

    `engine="ray"` encodes on a Ray cluster into the same bytes: `shard_inputs` inputs a task, of which `threads` (0: as
    many as the cluster has processors) are at work; see `vqcodec.cluster`.
    """
    settings = Settings(quality, effort, None if model is None else str(model), lossless, device)
    encode, note = Encoder(settings), settings.note()
    for name, value, known in (("on_error", on_error, ("stop", "skip")), ("engine", engine, ("local", "ray"))):
        if value not in known:
            raise InvalidInputError(f"{name} is {known[0]!r} or {known[1]!r}, not {value!r}")
    found = source_of(source)
    cluster = None
    if engine == "ray":
        from vqcodec.cluster import Cluster

        cluster = Cluster(found, Path(path), settings, note, on_error, force, shard_inputs, threads)
    with ArchiveWriter(path, note=note, resume=resume, force=force) as writer:
        try:
            state = go_on(found, writer)
        except ChangedSourceError:
            if not force:
                raise
            writer.start_over(note)
            state, resume = go_on(found, writer), False
        if cluster and not resume:
            cluster.clear()
        add_all(writer, state, cluster or found, encode, 1 if cluster else threads, on_error, progress)
    if cluster:
        cluster.clear()
    return state
