"""What the commands share: options, the files they go over, the model they need."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqcodec.errors import InvalidInputError, TruncatedError, VqcodecError
from vqcodec.files import Destination, Job, plan, refuse_existing, write_file
from vqcodec.messages import usage_error

if TYPE_CHECKING:
    from vqcodec.codec import Codec

READ_BYTES = 8 << 20  # at a time; no header is longer: at most 2^20 tiles, whose sizes take 5 bytes each

Inputs = Annotated[list[str], typer.Argument(metavar="IN...", help="Files; - is standard input.")]
Output = Annotated[str | None, typer.Option("--output", "-o", help="Output file; - is standard output.")]
OutputDir = Annotated[Path | None, typer.Option(help="Folder for the outputs; made where missing.")]
Standard = Annotated[bool, typer.Option("--stdout", "-c", help="Write to standard output.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")]
ModelFile = Annotated[str | None, typer.Option("--model", help="Model file, where it is not built in.")]
Threads = Annotated[
    int,
    typer.Option(
        "--threads", "-j", min=0, max=256, help="Threads: files at a time, else within one; 0 uses all cores."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a file or record on standard output.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the networks run; cuda needs torch.")]
Quality = Annotated[float | None, typer.Option("--quality", "-q", help="0 (smallest) to 100 (best), else 50.")]
Label = Annotated[
    int | None, typer.Option(min=0, help="Class of the pictures, for a model with labels instead of qualities.")
]
Effort = Annotated[
    int | None,
    typer.Option(
        min=0, max=3, help="Time for smaller files: 0, 1 (default), 2, or 3 (needs torch); lossless: 2 is photo-exact."
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Go through folders and all that is inside.")]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless", help="Keep every sample exactly; --model photo-exact knows photos, tiny small pictures."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(help="Built-in model by name, or a model file; else photo, with --lossless none.", show_default=False),
]


def path_of(name: str) -> Path | None:
    return None if name == "-" else Path(name)


def destination_of(output: str | None, folder: Path | None, standard: bool) -> Destination:
    return Destination(None if output in (None, "-") else Path(output), folder, standard or output == "-")


def planned(
    inputs: list[str], destination: Destination, suffix: str, known: frozenset[str], recursive: bool = False
) -> list[Job]:
    """The jobs of a command; a request without sense, or binary data for a terminal, is a usage error."""
    try:
        jobs = plan([path_of(name) for name in inputs], destination, suffix, known, recursive)
    except InvalidInputError as error:
        usage_error(error)
    if jobs[0].target is None and sys.stdout.isatty():
        usage_error("not writing binary data to a terminal: name an output file or redirect standard output")
    return jobs


def prepare(job: Job, force: bool, output_dir: Path | None) -> None:
    """Find out before the work whether the output may be written, and make its place in the output folder."""
    if job.target is not None:
        refuse_existing(job.target, force)
        if output_dir is not None:
            job.target.parent.mkdir(parents=True, exist_ok=True)
        elif not job.target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(job.target))


def read_file(source: Path | None) -> Iterator[bytes]:
    """A .vqc file in pieces, the header whole in the first; what has no good header is refused early.

    Reading ends, within a piece, one byte behind the size that the header states: enough to see that more follows.
    """
    from vqcodec._core import read_header

    with nullcontext(sys.stdin.buffer) if source is None else source.open("rb") as stream:
        piece = stream.read(4096)
        try:
            header = read_header(piece)
        except TruncatedError:
            piece += stream.read(READ_BYTES)
            header = read_header(piece)
        left = header.file_bytes + 1
        while piece:
            yield piece
            left -= len(piece)
            piece = stream.read(min(max(left, 0), READ_BYTES))


def write_result(job: Job, data: bytes, *, force: bool, reread: bool = False) -> None:
    if job.target is not None:
        write_file(job.target, data, force=force, reread=reread)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def read_ahead(model: str | None) -> None:
    """Read a model on another core while numpy is being imported."""
    from vqcodec import weights

    def read() -> None:
        with suppress(VqcodecError):  # met again by who needs the model
            weights.resolve(model or weights.DEFAULT)

    threading.Thread(target=read).start()


def load_codec(model: str | None, device: str = "cpu") -> Codec:
    """The codec of a model that was asked for by name; a model that cannot be used is a usage error."""
    from vqcodec import weights
    from vqcodec.codec import load

    model = model or weights.DEFAULT
    with _usage_errors(f"--model {model}"):
        return load(model, device=device)


def check_label(codec: Codec, label: int | None) -> None:
    """Refuse a label that the model does not have, and none where it needs one, as a usage error."""
    with _usage_errors("--label"):
        codec.position(50.0, label)


def exact_model(model: str | None, effort: int | None) -> str | None:
    """The model of lossless files: the learned expert where much effort is asked for, and no other one."""
    from vqcodec import weights

    return weights.EXPERT if model is None and effort is not None and effort >= 2 else model


def check_model(model: str | None, *, pixels: bool = False) -> None:
    """Refuse a model that is not there, and with `pixels` one that is not of pixels, as a usage error."""
    from vqcodec import weights

    with _usage_errors(f"--model {model}"):
        found = None if model is None else weights.resolve(model)
        if found and pixels:
            found.pixels  # noqa: B018  an error where it is not


@contextmanager
def _usage_errors(option: str) -> Iterator[None]:
    try:
        yield
    except VqcodecError as error:
        usage_error(f"{option}: {error}")
