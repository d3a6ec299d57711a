"""The commands for archives: `vqcodec pack`, `unpack` and `ls`, and `verify` of archives."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vqcodec.cli_shared import (
    Device,
    Effort,
    Force,
    Json,
    Lossless,
    Model,
    ModelFile,
    Quality,
    Quiet,
    Threads,
    check_model,
    exact_model,
    load_codec,
)
from vqcodec.errors import TruncatedError, VqcodecError
from vqcodec.files import ARCHIVE_MAGIC
from vqcodec.messages import Messages, say, usage_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from vqcodec.packing_loop import Packed

LINE_SECONDS = 30.0
SUFFIX = ".vqa"

Archive = Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A .vqa file.")]


def pack(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder, .tar (webdataset), .npz or .npy file.")],
    output: Annotated[Path, typer.Argument(metavar="OUT.vqa", help="Archive to write.")],
    quality: Quality = None,
    effort: Effort = None,
    lossless: Lossless = False,
    model: Model = None,
    device: Device = "cpu",
    threads: Threads = 0,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Encode on this machine, or on a Ray cluster (RAY_ADDRESS).")
    ] = "local",
    on_error: Annotated[
        Literal["stop", "skip"], typer.Option(help="At a broken picture: stop, or list it and leave it out.")
    ] = "stop",
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Pack pictures into one archive; run the same command again to go on after a stop.

    The archive is OUT.vqa.part until it is whole. Folders of classes give labels as ImageFolder has them.
    """
    if quality is not None and not (math.isfinite(quality) and 0 <= quality <= 100):
        usage_error("--quality must lie between 0 and 100")
    if lossless and (quality is not None or device != "cpu"):
        usage_error("--lossless goes without --quality and --device")
    from vqcodec.codec import DEFAULT_EFFORT
    from vqcodec.packing import pack as run

    if lossless:
        model, effort = exact_model(model, effort), None
        check_model(model, pixels=True)
    else:
        load_codec(model, device)
    messages = Messages(quiet=quiet)
    begun = time.monotonic()
    with messages.work(Path(source)), _progress(quiet) as progress:
        packed = run(
            source, output, quality=50.0 if quality is None else quality,
            effort=DEFAULT_EFFORT if effort is None else effort, model=model, lossless=lossless, device=device,
            threads=threads, engine=engine, on_error=on_error, force=force, progress=progress,
        )  # fmt: skip
        messages.failures += packed.left_out
        if not quiet:
            seconds = max(time.monotonic() - begun, 1e-9)
            left_out = f", {packed.left_out} left out" if packed.left_out else ""
            resumed = f" ({packed.resumed} were there)" if packed.resumed else ""
            rate = (packed.done - packed.resumed) / seconds
            say(
                f"{source} -> {output}",
                f"{packed.records} pictures{resumed}{left_out}, {output.stat().st_size} bytes, {rate:.1f} a second",
            )
    messages.finish()


def unpack(
    archive: Archive,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the images; made where missing.")],
    format: Annotated[
        str, typer.Option(help="png, webp, tiff, bmp, ppm, jpg; vqc for the files as they were packed.")
    ] = "png",
    model: ModelFile = None,
    threads: Threads = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the pictures of an archive as files, under their names and in their folders."""
    from vqcodec.formats import SAVE_FORMATS
    from vqcodec.unpacking import unpack as run

    format = format.lower()
    if f".{format}" not in SAVE_FORMATS and format != "vqc":
        usage_error(f"cannot write '{format}' images")
    messages = Messages(quiet=quiet)
    written = 0
    notes: set[str] = set()
    with messages.work(archive):
        for record in run(archive, folder, format=format, model=model, force=force, threads=threads):
            messages.place.current = f"{archive}[{record.number}]"
            fresh = [note for note in record.notes if note not in notes]
            notes.update(fresh)
            messages.notes(fresh)
            with messages.work(Path(f"{archive}[{record.number}]")):
                if record.error:
                    raise record.error
                written += 1
        if not quiet:
            say(f"{archive} -> {folder}", f"{written} pictures")
    messages.total = written + messages.failures
    messages.finish()


def ls(archive: Archive, records: Json = False) -> None:
    """List the records of an archive: number, size in pixels and bytes, label, name."""
    from vqcodec.archive import ArchiveReader

    messages = Messages()
    with messages.work(archive), ArchiveReader(archive) as reader:
        for number, (block, inner, (name, label, extra)) in enumerate(reader.fronts()):
            header = block.header(inner)
            if records:
                facts: dict[str, Any] = {
                    "number": number, "name": name, "label": label, "width": header.width, "height": header.height,
                    "bytes": header.file_bytes, "model_id": header.model_id, "extra": extra.decode(errors="replace"),
                }  # fmt: skip
                typer.echo(json.dumps(facts))
            else:
                shown = "" if name is None else "".join(c if c.isprintable() else "?" for c in name)
                size, mark = f"{header.width}x{header.height}", "-" if label is None else label
                typer.echo(f"{number:>8} {size:>11} {header.file_bytes:>9} {mark:>5} {shown}".rstrip())
        if not records:
            note = f", {reader.note.decode(errors='replace')}" if reader.note else ""
            typer.echo(f"{len(reader)} records in {reader.blocks} blocks, {reader.bytes} bytes{note}")
    messages.finish()


def is_archive(path: Path | None) -> bool:
    """Whether a file is an archive, by its first bytes or else its name."""
    if path is None:
        return False
    with path.open("rb") as file:
        return file.read(len(ARCHIVE_MAGIC)) == ARCHIVE_MAGIC or SUFFIX in path.suffixes[-2:]


def verify(path: Path, model: str | None, threads: int) -> str:
    """Check an archive wholly; returns what to say of it. Damage is an error that lists all of it."""
    from vqcodec.unpacking import verify_archive

    try:
        found = verify_archive(path, model, threads=threads)
    except TruncatedError as error:
        raise TruncatedError(f"{error}; `vqcodec verify --recover` saves what is there") from error
    for damage in found.errors[:-1]:
        say(path, damage)
    if found.errors:
        raise VqcodecError(f"{found.errors[-1]}; `vqcodec verify --recover` saves all other blocks")
    return f"ok, {found.records} records, {found.bytes} bytes"


def recover(path: Path, force: bool) -> str:
    """Write the intact blocks of an archive to a new one beside it; returns what to say of that."""
    from vqcodec.archive_writer import recover as run

    name = path.name.removesuffix(".part").removesuffix(SUFFIX)
    target = path.with_name(f"{name}.recovered{SUFFIX}")
    found = run(path, target, force=force)
    lost = sum(size for _, size in found.damage)
    if found.sealed is not None and found.sealed > found.records:
        missing = f"{found.sealed - found.records} of {found.sealed} records are lost"
    elif found.sealed is None:
        missing = "it was not sealed: how many records it should have is not known"
    else:
        missing = "none is lost"
    places = "; ".join(f"{size} bytes at {offset}" for offset, size in found.damage[:10])
    damage = f", {lost} bytes are damaged ({places})" if lost else ""
    return f"recovered {found.records} records in {found.blocks} blocks to {target}, {missing}{damage}"


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Packed], None]]:
    """Listed pictures, and how packing goes: a bar with rate and ETA on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    listed = 0
    begun = last = time.monotonic()
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet or not _watched()) as bar:
        task = bar.add_task("")

        def progress(packed: Packed) -> None:
            nonlocal listed, last
            for name, why in packed.skipped[listed:]:
                say(name, f"left out: {why}")
            listed = len(packed.skipped)
            now = time.monotonic()
            rate = (packed.done - packed.resumed) / max(now - begun, 1e-9)
            bar.update(task, completed=packed.done, total=packed.total, description=f"{rate:.1f} a second")
            if not (quiet or _watched()) and now - last > LINE_SECONDS:
                last = now
                left = "" if packed.total is None else f", {(packed.total - packed.done) / rate:.0f} s left"
                say(f"{packed.done} of {packed.total or 'unknown'}", f"{rate:.1f} a second{left}")

        yield progress


def _watched() -> bool:
    return sys.stderr.isatty()


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(pack)
    app.command()(unpack)
    app.command()(ls)
