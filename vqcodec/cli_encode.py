"""`vqcodec encode`: images to .vqc files, lossy or exact."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqcodec.cli_shared import (
    Device,
    Effort,
    Force,
    Inputs,
    Json,
    Label,
    Lossless,
    Model,
    Output,
    OutputDir,
    Quality,
    Quiet,
    Recursive,
    Standard,
    Threads,
    check_label,
    check_model,
    destination_of,
    exact_model,
    load_codec,
    planned,
    prepare,
    read_ahead,
    write_result,
)
from vqcodec.files import IMAGE_SUFFIXES, Job
from vqcodec.messages import Messages, say, usage_error

if TYPE_CHECKING:
    from vqcodec.codec import Codec, Report
    from vqcodec.exact import ExactReport

    Encoding = Callable[[Path | bytes, int], tuple[bytes, tuple[str, ...], Report | ExactReport]]

TargetBytes = Annotated[int | None, typer.Option(min=1, help="Best quality whose file has at most so many bytes.")]
TargetRate = Annotated[float | None, typer.Option("--target-bpp", help="The same in bits per pixel.")]
Preview = Annotated[
    bool, typer.Option("--preview", help="Let a lossless file begin with a lossy preview (of quality -q, or 0).")
]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Skip decoding what was encoded.")]


def encode(
    inputs: Inputs,
    output: Output = None,
    output_dir: OutputDir = None,
    quality: Quality = None,
    label: Label = None,
    target_bytes: TargetBytes = None,
    target_rate: TargetRate = None,
    model: Model = None,
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
    if model or preview or not lossless:
        read_ahead(model)
    if quality is not None and not (math.isfinite(quality) and 0 <= quality <= 100):
        usage_error("--quality must lie between 0 and 100")
    if target_rate is not None and not (math.isfinite(target_rate) and target_rate > 0):
        usage_error("--target-bpp must be above 0")
    if sum(option is not None for option in (quality, label, target_bytes, target_rate)) > 1:
        usage_error("choose one of --quality, --label, --target-bytes and --target-bpp")
    if lossless and (device != "cpu" or (label, target_bytes, target_rate) != (None,) * 3):
        usage_error("--lossless goes without --label, --target-bytes, --target-bpp and --device")
    if lossless and quality is not None and not preview:
        usage_error("--lossless has --quality for a --preview only")
    if preview and (not lossless or effort is not None):
        usage_error("--preview goes with --lossless, and without --effort")
    jobs = planned(inputs, destination_of(output, output_dir, standard), ".vqc", IMAGE_SUFFIXES, recursive)
    if records and jobs[0].target is None:
        usage_error("--json and the encoded bytes cannot both go to standard output")
    messages = Messages(quiet=quiet, records=records)
    if lossless:
        encoded = _lossless(exact_model(model, effort), preview, quality or 0.0, not no_verify)
    else:
        codec = load_codec(model, device)
        check_label(codec, label)
        if quality is not None and codec.info.quality_levels == 1 and not quiet:
            say("note", f"model {codec.name} has one quality: -q is ignored")
        if effort and not codec.searches and not quiet:
            say("note", f"model {codec.name} is not searched: --effort is ignored")
        chosen = (50.0 if quality is None else quality, label)
        encoded = _lossy(codec, chosen, (target_bytes, target_rate), effort, not no_verify)

    def work(job: Job, threads: int) -> tuple[tuple[str, ...], Report | ExactReport]:
        prepare(job, force, output_dir)
        data, notes, report = encoded(job.source or sys.stdin.buffer.read(), threads)
        write_result(job, data, force=force, reread=not no_verify)
        return notes, report

    def report(job: Job, done: tuple[tuple[str, ...], Report | ExactReport]) -> None:
        notes, report = done
        messages.notes(notes)
        facts = asdict(report) | {"bpp": report.bpp, "lossless": lossless, "notes": notes}
        messages.done(job.target, report.summary, facts)

    messages.run(jobs, work, report, threads)
    messages.finish()


def _lossy(
    codec: Codec,
    quality_or_label: tuple[float, int | None],
    target: tuple[int | None, float | None],
    effort: int | None,
    verify: bool,
) -> Encoding:
    """What encodes one source at a quality or for a label, or into a target in bytes or in bits per pixel."""
    from vqcodec.codec import DEFAULT_EFFORT
    from vqcodec.pixels import open_image

    quality, label = quality_or_label
    chosen = DEFAULT_EFFORT if effort is None else effort

    def encoded(source: Path | bytes, threads: int) -> tuple[bytes, tuple[str, ...], Report]:
        picture = open_image(source)
        target_bytes, target_rate = target
        if target_rate is not None:
            target_bytes = math.floor(target_rate * picture.pixels[..., 0].size / 8)
        data, report = codec.encode_report(
            picture, quality, label=label, target_bytes=target_bytes, effort=chosen, verify=verify, threads=threads
        )
        return data, picture.notes, report

    return encoded


def _lossless(model: str | None, preview: bool, quality: float, verify: bool) -> Encoding:
    """What encodes one source exactly, with a model of pixels or a preview of a quality by a model of codes."""
    from vqcodec.api import encode_lossless
    from vqcodec.exact_pixels import open_exact

    general: tuple[str, ...] = ()
    if not preview:
        check_model(model, pixels=True)
    elif load_codec(model).info.quality_levels == 1 and quality:
        general = (f"model {model} has one quality: -q is ignored",)

    def encoded(source: Path | bytes, threads: int) -> tuple[bytes, tuple[str, ...], ExactReport]:
        picture = open_exact(source)
        data, report = encode_lossless(
            picture, model=model, preview=preview, preview_quality=quality, verify=verify, threads=threads
        )
        unused = model is not None and not preview and report.model is None
        note = (f"model {model} makes it no smaller: the file needs none",) if unused else ()
        return data, (*picture.notes, *general, *note), report

    return encoded


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(encode)
