from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path

import pytest
import typer
from PIL import Image

from vqcodec.errors import TruncatedError
from vqcodec.files import Job
from vqcodec.messages import Messages, explain, say, usage_error

A = Path("a.png")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TruncatedError("the data ends early"), "the data ends early"),
        (MemoryError(), "not enough memory"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "No such file or directory"),
        (FileNotFoundError(2, "No such file or directory", "b.png"), "b.png: No such file or directory"),
        (OSError("odd"), "odd"),
        (RuntimeError("CUDA out of memory"), "unexpected RuntimeError: CUDA out of memory"),
    ],
)
def test_errors_become_one_sentence(error: Exception, sentence: str) -> None:
    assert explain(error, A) == sentence


def test_lines_cannot_drive_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb\x1b[2J", "text\r", "é")
    assert capsys.readouterr().err == "vqcodec: a?b?[2J: text?: é\n"


def test_usage_errors_end_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught:
        usage_error("no")
    assert caught.value.exit_code == 2 and capsys.readouterr().err == "vqcodec: no\n"


@pytest.mark.parametrize("threads", [1, 3])
def test_failures_are_counted_and_work_goes_on(capsys: pytest.CaptureFixture[str], threads: int) -> None:
    messages = Messages(records=True)

    def work(job: Job, share: int) -> int:
        assert share == 1
        if job.source != Path("b"):
            raise TruncatedError("cut")
        return 3

    def report(job: Job, size: int) -> None:
        messages.done(Path("out"), "done", {"bytes": size})

    messages.run([Job(A, None), Job(Path("b"), None), Job(None, None)], work, report, threads)
    with pytest.raises(typer.Exit) as caught:
        messages.finish()
    shown = capsys.readouterr()
    assert caught.value.exit_code == 1
    assert shown.err.splitlines() == [
        "vqcodec: a.png: cut",
        "vqcodec: -: cut",
        "vqcodec: 2 of 3 files failed",
    ]
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert records[0] == {"input": "a.png", "error": "TruncatedError", "message": "cut"}
    assert records[1] == {"input": "b", "output": "out", "bytes": 3}


def test_files_are_worked_on_together_and_reported_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    messages = Messages()
    both_there = threading.Barrier(2, timeout=30)
    jobs = [Job(Path(name), Path(name)) for name in "abcd"]

    def work(job: Job, share: int) -> int:
        both_there.wait()  # breaks unless two files are worked on at a time
        return share

    messages.run(jobs, work, lambda job, share: messages.done(job.target, f"{share} threads", {}), 5)
    expected = [f"vqcodec: {name} -> {name}: 1 threads" for name in "abcd"]
    assert capsys.readouterr().err.splitlines() == expected and messages.failures == 0


def test_an_interrupt_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, Messages().work(A):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130 and capsys.readouterr().err == "vqcodec: interrupted\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_warnings_become_one_line_a_file(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    messages = Messages(quiet=quiet)
    with warnings.catch_warnings(), messages.work(A):
        warnings.simplefilter("always")
        warnings.showwarning = messages._warning
        warnings.warn("very large", Image.DecompressionBombWarning, stacklevel=1)
        warnings.warn("still very large", Image.DecompressionBombWarning, stacklevel=1)
        messages.notes(["alpha dropped"])
        messages.done(None, "done", {})
    expected = ["a.png: warning: very large", "a.png: note: alpha dropped", "a.png -> -: done"]
    assert capsys.readouterr().err.splitlines() == ([] if quiet else [f"vqcodec: {line}" for line in expected])
