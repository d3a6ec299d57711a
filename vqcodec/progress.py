"""What a training run tells: a rich progress bar on a terminal, plain lines elsewhere, TensorBoard curves."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vqcodec.models import Losses

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LINE_SECONDS = 30.0
SMOOTHING = 0.98


class TrainingLog:
    """Progress on stderr and TensorBoard events in a folder; silent on every process but the first."""

    def __init__(self, folder: Path, steps: int, start: int, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True)
        self.writer = None if quiet else self._curves(folder, start)
        self.bar = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=steps, completed=start)
        self.loss: float | None = None
        self.pixels = 0.0
        self.since = self.last_line = time.monotonic()
        self.steps = steps

    def __enter__(self) -> TrainingLog:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self.writer:
            self.writer.close()

    def step(self, step: int, losses: Losses, pixels: int) -> None:
        """Record one step of `pixels` training pixels (all processes together)."""
        if self.quiet:
            return
        total = float(losses.total.detach())
        self.loss = total if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * total
        self.pixels += pixels
        if step % 20 == 0 and self.writer:
            self.writer.add_scalar("loss/total", total, step)
            self.writer.add_scalar("bpp/mean", float(losses.bpp.detach().mean()), step)
            self.writer.add_scalar("psnr/mean", -10.0 * float(losses.mse.detach().log10().mean()), step)
            for name, value in losses.log.items():
                self.writer.add_scalar(name, value, step)
        self._say(step, losses)

    def note(self, text: str) -> None:
        """Say something about the run."""
        if not self.quiet:
            self._line(f"note: {text}")

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Record the validation figures of one step."""
        if self.writer:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)
        self._line(f"step {step} " + " ".join(f"{k.split('/')[1]} {v:.4g}" for k, v in values.items()))

    def _curves(self, folder: Path, start: int) -> SummaryWriter | None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._line("no TensorBoard curves: pip install 'vqcodec[train]' for them")
            return None
        return SummaryWriter(str(folder), purge_step=start)

    def _say(self, step: int, losses: Losses) -> None:
        now = time.monotonic()
        rate = self.pixels / max(now - self.since, 1e-9) / 1e6
        codes = "".join(f" {k.split('/')[1]} {v:.3g}" for k, v in losses.log.items() if k.startswith("codebook"))
        self.bar.update(self.task, completed=step, description=f"loss {self.loss:.4f} {rate:.2f} Mpixel/s{codes}")
        if now - self.last_line > LINE_SECONDS and not self.console.is_terminal:
            self.last_line = now
            self._line(f"step {step}/{self.steps} loss {self.loss:.4f} {rate:.2f} Mpixel/s{codes}")

    def _line(self, text: str) -> None:
        if self.console.is_terminal:
            self.console.print(text)
        else:
            print(text, file=sys.stderr, flush=True)
