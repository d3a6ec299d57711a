"""What the command line says on standard error: a line a message, a progress bar, a count of failures."""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

import typer

from vqcodec.errors import VqcodecError
from vqcodec.files import Job

T = TypeVar("T")


def say(*parts: object) -> None:
    """Write one line `vqcodec: part: part` to standard error; what a terminal would act on becomes `?`."""
    line = ": ".join(("vqcodec", *map(str, parts)))
    print("".join(letter if letter.isprintable() else "?" for letter in line), file=sys.stderr)


def usage_error(message: object) -> NoReturn:
    """Say what is wrong with the request and end with exit status 2."""
    say(message)
    raise typer.Exit(2)


def explain(error: Exception, source: Path | None = None) -> str:
    """One sentence about an error met while working on `source`."""
    if isinstance(error, VqcodecError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory"
    if not isinstance(error, OSError):
        return f"unexpected {type(error).__name__}: {error}"
    if not error.strerror:
        return str(error)
    elsewhere = error.filename is not None and str(error.filename) != str(source)
    return f"{error.filename}: {error.strerror}" if elsewhere else error.strerror


def name_of(source: Path | None) -> str:
    """A file as messages name it."""
    return "-" if source is None else str(source)


class Place(threading.local):
    """The file that each thread is working on."""

    current = "-"


class Messages:
    """The messages of one command over several files, and its exit status."""

    def __init__(self, *, quiet: bool = False, records: bool = False) -> None:
        self.quiet = quiet
        self.records = records  # one JSON object a file on standard output
        self.failures = 0
        self.total = 0
        self.place = Place()
        self.warned: set[tuple[str, type[Warning]]] = set()
        warnings.showwarning = self._warning

    def run(
        self, jobs: Sequence[Job], work: Callable[[Job, int], T], report: Callable[[Job, T], None], threads: int
    ) -> None:
        """Call `work(job, threads)` for all files, several at a time, and `report` what came of it in their order."""
        self.total = len(jobs)
        cores = threads or os.cpu_count() or 1
        workers = min(cores, len(jobs))
        share = cores // workers if workers > 1 else threads

        def begin(job: Job) -> T:
            self.place.current = name_of(job.source)
            return work(job, share)

        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(workers)
        try:
            started = [pool.submit(begin, job) for job in jobs] if workers > 1 else []
            for index, job in enumerate(self._watched(jobs)):
                with self.work(job.source):
                    report(job, started[index].result() if started else begin(job))
        finally:
            pool.shutdown(cancel_futures=True)

    def _watched(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """The jobs one by one, behind a progress bar where there are several and somebody watches."""
        if self.quiet or len(jobs) < 2 or not sys.stderr.isatty():
            yield from jobs
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), redirect_stdout=False, transient=True) as progress:
            yield from progress.track(jobs, description="files")

    @contextmanager
    def work(self, source: Path | None) -> Iterator[None]:
        """Work on one file: an error becomes one line, and the next file is still done."""
        self.place.current = name_of(source)
        try:
            yield
        except BrokenPipeError:
            raise
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(130) from None
        except typer.Exit:
            raise
        except Exception as error:
            self.failures += 1
            message = explain(error, source)
            say(self.place.current, message)
            if self.records:
                record = {"input": self.place.current, "error": type(error).__name__, "message": message}
                typer.echo(json.dumps(record))

    def notes(self, notes: Sequence[str]) -> None:
        """Say what could not be kept of the current file."""
        for note in () if self.quiet else notes:
            say(self.place.current, "note", note)

    def done(self, target: Path | None, summary: str, record: dict[str, Any]) -> None:
        """Say how the current file went, in words or as a JSON object."""
        output = "-" if target is None else str(target)
        if self.records:
            typer.echo(json.dumps({"input": self.place.current, "output": output, **record}))
        elif not self.quiet:
            say(f"{self.place.current} -> {output}", summary)

    def finish(self) -> NoReturn:
        """Count the failures and end the command."""
        if self.failures and self.total > 1:
            say(f"{self.failures} of {self.total} files failed")
        raise typer.Exit(1 if self.failures else 0)

    def _warning(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        if not self.quiet and (self.place.current, category) not in self.warned:
            self.warned.add((self.place.current, category))
            say(self.place.current, "warning", message)
