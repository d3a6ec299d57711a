"""The command line: files in, files out; every step is a call into the library."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from vqcodec import cli_archive, cli_train
from vqcodec.errors import InvalidInputError, TruncatedError, VqcodecError
from vqcodec.files import IMAGE_SUFFIXES, Destination, Job, plan, refuse_existing, write_file
from vqcodec.messages import Messages, explain, name_of, say, usage_error

if TYPE_CHECKING:
    from vqcodec.codec import Codec, Report
    from vqcodec.exact import ExactReport

    Encoding = Callable[[Path | bytes, int], tuple[bytes, tuple[str, ...], Report | ExactReport]]

app = typer.Typer(
    name="vqcodec",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TRAINING_PACKAGES = ("torch", "torchvision", "safetensors", "tensorboard", "pytorch_msssim")
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
Json = Annotated[bool, typer.Option("--json", help="One JSON object a file on standard output.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the networks run; cuda needs torch.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Encode the images inside folders.")]
TargetBytes = Annotated[int | None, typer.Option(min=1, help="Best quality whose file has at most so many bytes.")]
TargetRate = Annotated[float | None, typer.Option("--target-bpp", help="The same in bits per pixel.")]
Quality = Annotated[float | None, typer.Option("--quality", "-q", help="0 (smallest) to 100 (best), else 50.")]
Effort = Annotated[
    int | None,
    typer.Option(min=0, max=3, help="Time for smaller files: 0, 1 (default), 2, or 3 (needs torch)."),
]
Lossless = Annotated[bool, typer.Option("--lossless", help="Keep every sample exactly; needs no model.")]
Preview = Annotated[bool, typer.Option("--preview", help="Let a lossless file begin with a lossy preview.")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Skip decoding what was encoded.")]
Levels = Annotated[int, typer.Option(min=0, max=4, help="Levels of a hierarchy to decode; 0 is all.")]
Format = Annotated[str | None, typer.Option(help="Image format: png (default), webp, tiff, bmp, ppm, jpg.")]


@app.command()
def encode(
    inputs: Inputs,
    output: Output = None,
    output_dir: OutputDir = None,
    quality: Quality = None,
    target_bytes: TargetBytes = None,
    target_rate: TargetRate = None,
    model: Annotated[str, typer.Option(help="Built-in model by name, or a model file.")] = "photo",
    effort: Effort = None,
    lossless: Lossless = False,
    preview: Preview = False,
    device: Device = "cpu",
    recursive: Recursive = False,
    threads: Threads = 0,
    force: Force = False,
    standard: Standard = False,
    no_verify: NoVerify = False,
    records: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode images to .vqc files, beside each input unless told otherwise."""
    if preview or not lossless:
        _read_ahead(model)
    if quality is not None and not (math.isfinite(quality) and 0 <= quality <= 100):
        usage_error("--quality must lie between 0 and 100")
    if target_rate is not None and not (math.isfinite(target_rate) and target_rate > 0):
        usage_error("--target-bpp must be above 0")
    if sum(option is not None for option in (quality, target_bytes, target_rate)) > 1:
        usage_error("choose one of --quality, --target-bytes and --target-bpp")
    if lossless and (device != "cpu" or (quality, target_bytes, target_rate, effort) != (None,) * 4):
        usage_error("--lossless goes without --quality, --target-bytes, --target-bpp, --effort and --device")
    if preview and not lossless:
        usage_error("--preview goes with --lossless")
    jobs = _plan(inputs, _destination(output, output_dir, standard), ".vqc", IMAGE_SUFFIXES, recursive)
    if records and jobs[0].target is None:
        usage_error("--json and the encoded bytes cannot both go to standard output")
    messages = Messages(quiet=quiet, records=records)
    if lossless:
        encoded = _lossless(model if preview else None, not no_verify)
    else:
        codec = _load(model, device)
        if quality is not None and codec.info.quality_levels == 1 and not quiet:
            say("note", f"model {codec.name} has one quality: -q is ignored")
        if effort and not codec.searches and not quiet:
            say("note", f"model {codec.name} is not searched: --effort is ignored")
        encoded = _lossy(
            codec, 50.0 if quality is None else quality, (target_bytes, target_rate), effort, not no_verify
        )

    def work(job: Job, threads: int) -> tuple[tuple[str, ...], Report | ExactReport]:
        _prepare(job, force, output_dir)
        data, notes, report = encoded(job.source or sys.stdin.buffer.read(), threads)
        _write(job, data, force=force, reread=not no_verify)
        return notes, report

    def report(job: Job, done: tuple[tuple[str, ...], Report | ExactReport]) -> None:
        notes, report = done
        messages.notes(notes)
        facts = asdict(report) | {"bpp": report.bpp, "lossless": lossless, "notes": notes}
        messages.done(job.target, report.summary, facts)

    messages.run(jobs, work, report, threads)
    messages.finish()


def _lossy(
    codec: Codec, quality: float, target: tuple[int | None, float | None], effort: int | None, verify: bool
) -> Encoding:
    """What encodes one source at a quality, or into a target in bytes or in bits per pixel."""
    from vqcodec.codec import DEFAULT_EFFORT
    from vqcodec.pixels import open_image

    chosen = DEFAULT_EFFORT if effort is None else effort

    def encoded(source: Path | bytes, threads: int) -> tuple[bytes, tuple[str, ...], Report]:
        picture = open_image(source)
        target_bytes, target_rate = target
        if target_rate is not None:
            target_bytes = math.floor(target_rate * picture.pixels[..., 0].size / 8)
        data, report = codec.encode_report(
            picture, quality, target_bytes=target_bytes, effort=chosen, verify=verify, threads=threads
        )
        return data, picture.notes, report

    return encoded


def _lossless(model: str | None, verify: bool) -> Encoding:
    """What encodes one source exactly, with a preview by a model."""
    from vqcodec.api import encode_lossless
    from vqcodec.exact_pixels import open_exact

    if model is not None:
        _load(model)

    def encoded(source: Path | bytes, threads: int) -> tuple[bytes, tuple[str, ...], ExactReport]:
        picture = open_exact(source)
        data, report = encode_lossless(picture, model=model, verify=verify, threads=threads)
        return data, picture.notes, report

    return encoded


@app.command()
def decode(
    inputs: Inputs,
    output: Output = None,
    output_dir: OutputDir = None,
    format: Format = None,
    model: ModelFile = None,
    levels: Levels = 0,
    threads: Threads = 0,
    force: Force = False,
    standard: Standard = False,
    quiet: Quiet = False,
) -> None:
    """Decode .vqc files to images; the suffix of the output file chooses the format."""
    _read_ahead(model)
    from vqcodec.api import decode_image
    from vqcodec.formats import SAVE_FORMATS, save_image

    destination = _destination(output, output_dir, standard)
    suffix = f".{format or 'png'}".lower() if destination.file is None else destination.file.suffix.lower()
    if suffix not in SAVE_FORMATS:
        usage_error(f"cannot write '{suffix}' images: choose one of {', '.join(sorted(SAVE_FORMATS))}")
    if format is not None and SAVE_FORMATS.get(f".{format}".lower()) != SAVE_FORMATS[suffix]:
        usage_error(f"--format {format} contradicts the name of the output file")
    jobs = _plan(inputs, destination, suffix, frozenset({".vqc"}))
    messages = Messages(quiet=quiet)
    if model is not None:
        _load(model)

    def work(job: Job, threads: int) -> tuple[tuple[str, ...], str]:
        _prepare(job, force, output_dir)
        data = b"".join(_read(job.source))
        image = decode_image(data, model=model, levels=levels, threads=threads)
        file = BytesIO()
        notes = save_image(image, file, suffix[1:])
        _write(job, file.getvalue(), force=force)
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
    source = _path(file)
    with messages.work(source):
        pieces = _read(source)
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
    _read_ahead(model)
    import vqcodec

    messages = Messages(quiet=quiet)
    if model is not None:
        _load(model)

    def work(job: Job, threads: int) -> str:
        if recover and job.source is not None:
            return cli_archive.recover(job.source, force)
        if job.source is not None and cli_archive.is_archive(job.source):
            return cli_archive.verify(job.source, model, threads)
        header = vqcodec.verify(b"".join(_read(job.source)), model, threads=threads)
        return f"ok, {header.width}x{header.height}, {header.file_bytes} bytes"

    def report(job: Job, found: str) -> None:
        if not quiet:
            typer.echo(f"{name_of(job.source)}: {found}")

    messages.run([Job(_path(name), None) for name in inputs], work, report, threads)
    messages.finish()


@app.command()
def models(records: Json = False) -> None:
    """List the built-in models."""
    from vqcodec import weights

    for found in weights.list_models():
        if records:
            facts = {name: value for name, value in vars(found).items() if name != "runtime"}
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
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples everywhere.")] = 0,
    force: Force = False,
) -> None:
    """Draw codes at random from a model's prior, and show what they decode to."""
    from PIL import Image

    from vqcodec.formats import SAVE_FORMATS, save_image

    if output.suffix.lower() not in SAVE_FORMATS:
        usage_error(f"cannot write '{output.suffix}' images: choose one of {', '.join(sorted(SAVE_FORMATS))}")
    messages = Messages()
    codec = _load(model)
    with messages.work(None):
        refuse_existing(output, force)
        across = math.isqrt(count - 1) + 1
        grid = Image.new("RGB", (across * side, -(-count // across) * side))
        for number in range(count):
            drawn = Image.fromarray(codec.sample(side, side, quality, seed=seed + number))
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


def _path(name: str) -> Path | None:
    return None if name == "-" else Path(name)


def _destination(output: str | None, folder: Path | None, standard: bool) -> Destination:
    return Destination(None if output in (None, "-") else Path(output), folder, standard or output == "-")


def _plan(
    inputs: list[str], destination: Destination, suffix: str, known: frozenset[str], recursive: bool = False
) -> list[Job]:
    """The jobs of a command; a request without sense, or binary data for a terminal, is a usage error."""
    try:
        jobs = plan([_path(name) for name in inputs], destination, suffix, known, recursive)
    except InvalidInputError as error:
        usage_error(error)
    if jobs[0].target is None and sys.stdout.isatty():
        usage_error("not writing binary data to a terminal: name an output file or redirect standard output")
    return jobs


def _prepare(job: Job, force: bool, output_dir: Path | None) -> None:
    """Find out before the work whether the output may be written, and make its place in the output folder."""
    if job.target is not None:
        refuse_existing(job.target, force)
        if output_dir is not None:
            job.target.parent.mkdir(parents=True, exist_ok=True)
        elif not job.target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(job.target))


def _read(source: Path | None) -> Iterator[bytes]:
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


def _write(job: Job, data: bytes, *, force: bool, reread: bool = False) -> None:
    if job.target is not None:
        write_file(job.target, data, force=force, reread=reread)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _read_ahead(model: str | None) -> None:
    """Read a model on another core while numpy is being imported."""
    from vqcodec import weights

    def read() -> None:
        with suppress(VqcodecError):  # met again by who needs the model
            weights.resolve(model or weights.DEFAULT)

    threading.Thread(target=read).start()


def _load(model: str, device: str = "cpu") -> Codec:
    """The codec of a model that was asked for by name; a model that cannot be used is a usage error."""
    import vqcodec

    try:
        return vqcodec.load(model, device=device)
    except VqcodecError as error:
        usage_error(f"--model {model}: {error}")
