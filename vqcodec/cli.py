"""The command line: files in, files out; every step is a call into the library."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from io import BytesIO
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from vqcodec import cli_archive, cli_encode, cli_train
from vqcodec.cli_shared import (
    Force,
    Inputs,
    Json,
    Label,
    ModelFile,
    Output,
    OutputDir,
    Quiet,
    Recursive,
    Standard,
    Threads,
    check_label,
    check_model,
    destination_of,
    load_codec,
    path_of,
    planned,
    prepare,
    read_ahead,
    read_file,
    write_result,
)
from vqcodec.errors import TruncatedError, VqcodecError
from vqcodec.files import Job, refuse_existing, write_file
from vqcodec.messages import Messages, explain, name_of, say, usage_error

app = typer.Typer(
    name="vqcodec",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

cli_encode.register(app)  # first in the list of commands

TRAINING_PACKAGES = ("torch", "torchvision", "safetensors", "tensorboard", "pytorch_msssim")

Levels = Annotated[int, typer.Option(min=0, max=4, help="Levels of a hierarchy to decode; 0 is all.")]
Format = Annotated[str | None, typer.Option(help="Image format: png (default), webp, tiff, bmp, ppm, jpg.")]


@app.command()
def decode(
    inputs: Inputs,
    output: Output = None,
    output_dir: OutputDir = None,
    format: Format = None,
    model: ModelFile = None,
    levels: Levels = 0,
    recursive: Recursive = False,
    threads: Threads = 0,
    force: Force = False,
    standard: Standard = False,
    quiet: Quiet = False,
) -> None:
    """Decode .vqc files to images; the suffix of the output file chooses the format."""
    read_ahead(model)
    from vqcodec.api import decode_image
    from vqcodec.formats import SAVE_FORMATS, save_image

    destination = destination_of(output, output_dir, standard)
    suffix = f".{format or 'png'}".lower() if destination.file is None else destination.file.suffix.lower()
    if suffix not in SAVE_FORMATS:
        usage_error(f"cannot write '{suffix}' images: choose one of {', '.join(sorted(SAVE_FORMATS))}")
    if format is not None and SAVE_FORMATS.get(f".{format}".lower()) != SAVE_FORMATS[suffix]:
        usage_error(f"--format {format} contradicts the name of the output file")
    jobs = planned(inputs, destination, suffix, frozenset({".vqc"}), recursive)
    messages = Messages(quiet=quiet)
    check_model(model)

    def work(job: Job, threads: int) -> tuple[tuple[str, ...], str]:
        prepare(job, force, output_dir)
        data = b"".join(read_file(job.source))
        image = decode_image(data, model=model, levels=levels, threads=threads)
        file = BytesIO()
        notes = save_image(image, file, suffix[1:])
        write_result(job, file.getvalue(), force=force)
        return notes, f"{image.width}x{image.height}"

    def report(job: Job, done: tuple[tuple[str, ...], str]) -> None:
        notes, size = done
        messages.notes(notes)
        messages.done(job.target, size, {})

    messages.run(jobs, work, report, threads)
    messages.finish()


@app.command()
def info(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File; - is standard input.")],
    records: Json = False,
) -> None:
    """Show what a .vqc file holds, without decoding it."""
    from vqcodec._core import read_header
    from vqcodec.facts import header_facts, lines

    messages = Messages()
    source = path_of(file)
    with messages.work(source):
        pieces = read_file(source)
        head = next(pieces)
        facts = header_facts(read_header(head))
        typer.echo(json.dumps(facts) if records else "\n".join(lines(facts)))
        there = len(head) + sum(map(len, pieces))
        if there < facts["bytes"]:
            raise TruncatedError(f"truncated: {there} of {facts['bytes']} bytes are there")
    messages.finish()


@app.command()
def verify(
    inputs: Inputs,
    model: ModelFile = None,
    threads: Threads = 0,
    recover: Annotated[
        bool, typer.Option(help="Write the intact blocks of a damaged archive to NAME.recovered.vqa.")
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Check that .vqc files and .vqa archives are whole: every checksum, the model, and every code."""
    read_ahead(model)
    import vqcodec

    messages = Messages(quiet=quiet)
    check_model(model)

    def work(job: Job, threads: int) -> str:
        if recover and job.source is not None:
            return cli_archive.recover(job.source, force)
        if job.source is not None and cli_archive.is_archive(job.source):
            return cli_archive.verify(job.source, model, threads)
        header = vqcodec.verify(b"".join(read_file(job.source)), model, threads=threads)
        return f"ok, {header.width}x{header.height}, {header.file_bytes} bytes"

    def report(job: Job, found: str) -> None:
        if not quiet:
            typer.echo(f"{name_of(job.source)}: {found}")

    messages.run([Job(path_of(name), None) for name in inputs], work, report, threads)
    messages.finish()


@app.command()
def models(records: Json = False) -> None:
    """List the built-in models."""
    from vqcodec import weights

    for found in weights.list_models():
        if records:
            facts = {name: value for name, value in vars(found).items() if name != "runtime"} | {"kind": found.kind}
            typer.echo(json.dumps(facts, default=str))
        else:
            typer.echo(f"{found.name:<12} {found.model_id}  {found.bytes / 1e6:5.1f} MB  {found.description}")


@app.command()
def sample(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Built-in model by name, or a model file.")] = "photo",
    output: Annotated[Path, typer.Option("--output", "-o", help="Image file to write.")] = Path("samples.png"),
    count: Annotated[int, typer.Option("-n", min=1, max=1024, help="Number of samples, in a square grid.")] = 16,
    side: Annotated[int, typer.Option(min=1, max=4096, help="Side of a sample in pixels.")] = 128,
    quality: Annotated[float, typer.Option("--quality", "-q", min=0, max=100, help="Of the samples.")] = 50.0,
    label: Label = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples everywhere.")] = 0,
    force: Force = False,
) -> None:
    """Draw codes at random from a model's prior, and show what they decode to."""
    from PIL import Image

    from vqcodec.formats import SAVE_FORMATS, save_image

    if output.suffix.lower() not in SAVE_FORMATS:
        usage_error(f"cannot write '{output.suffix}' images: choose one of {', '.join(sorted(SAVE_FORMATS))}")
    messages = Messages()
    codec = load_codec(model)
    check_label(codec, label)
    with messages.work(None):
        refuse_existing(output, force)
        across = math.isqrt(count - 1) + 1
        grid = Image.new("RGB", (across * side, -(-count // across) * side))
        for number in range(count):
            drawn = Image.fromarray(codec.sample(side, side, quality, label=label, seed=seed + number))
            grid.paste(drawn, (number % across * side, number // across * side))
        file = BytesIO()
        save_image(grid, file, output.suffix[1:])
        write_file(output, file.getvalue(), force=force)
    messages.finish()


cli_archive.register(app)
cli_train.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vqcodec {version('vqcodec')}")
        raise typer.Exit()


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A learned image codec: photos to small .vqc files and back."""


def main() -> NoReturn:
    """Run the command line; the exit status is 0 (all well), 1 (some file failed) or 2 (usage)."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads cost a quarter of the start; none is needed
    signal.signal(signal.SIGTERM, _terminate)
    status = _run()
    if "torch" in sys.modules:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader has gone
            status = status or 1
    os._exit(status)  # taking numpy apart would be a tenth of the time of a decode


def _run() -> int:
    try:
        app(prog_name="vqcodec")
    except SystemExit as end:  # how typer ends
        return end.code if isinstance(end.code, int) else 0
    except (VqcodecError, OSError, MemoryError) as error:
        say(explain(error))
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_PACKAGES:
            raise
        say(f"this needs {error.name}: pip install 'vqcodec[train]'")
    return 1


def _terminate(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)  # an exception: unfinished files are tidied away
