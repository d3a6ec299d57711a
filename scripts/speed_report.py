"""From the measurements of speed.py to medians, a plot and Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from rd_summary import ABSENT, table

COLORS = {"encode": "#d1495b", "decode": "#00798c"}
STEPS = {"encode": ("analysis", "coding", "verification"), "decode": ("prior_and_coder", "synthesis")}


def summary(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians of seconds, peak memory, speed and steps over all runs, and the fastest run."""
    seconds = [answer["seconds"] for answer in answers]
    found: dict[str, Any] = {"runs": len(answers), "seconds": _median(seconds), "fastest": round(min(seconds), 5)}
    if "peak_bytes" in answers[0]:
        found["peak_mib"] = round(statistics.median(answer["peak_bytes"] for answer in answers) / 2**20, 1)
    if "pixels" in answers[0]:
        rate = statistics.median(answer["pixels"] / answer["seconds"] for answer in answers)
        found["megapixels_per_second"] = round(rate / 1e6, 3)
    if "steps" in answers[0]:
        found |= {step: _median(answer["steps"][step] for answer in answers) for step in answers[0]["steps"]}
    return found


def exponents(sizes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Powers of the size that seconds and memory grow with, fitted from 1 Mpixel on (else to all sizes)."""
    fitted = [size for size in sizes if size["megapixels"] >= 0.99]
    fitted = fitted if len(fitted) > 1 else list(sizes)
    if len(fitted) < 2:
        return None
    logs = np.log([size["megapixels"] for size in fitted])
    powers = {
        f"{step} {key}": round(float(np.polyfit(logs, np.log([size[step][key] for size in fitted]), 1)[0]), 3)
        for step in COLORS
        for key in ("seconds", "peak_mib")
    }
    return {"from": fitted[0]["megapixels"], "to": fitted[-1]["megapixels"], **powers}


def plot(results: dict[str, Any], targets: Iterable[Path]) -> None:
    """Seconds and peak memory over the size of the picture, both scales logarithmic."""
    with matplotlib.rc_context({"svg.hashsalt": "vqcodec", "font.size": 10, "axes.spines.top": False}):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        titles = {"seconds": "seconds", "peak_mib": "peak memory (MiB)"}
        for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            for step, color in COLORS.items():
                points = [(size["megapixels"], size[step][key]) for size in results["scaling"]]
                power = (results["exponents"] or {}).get(f"{step} {key}")
                label = step if power is None else f"{step}, size to the power {power:.2f}"
                axes.loglog(*zip(*points, strict=True), label=label, color=color, marker="o", markersize=4.5)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(FormatStrFormatter("%g"))
                axis.set_minor_locator(NullLocator())
            axes.set_xlabel("million pixels")
            axes.set_ylabel(title)
            axes.grid(color="#dddddd", linewidth=0.7)
            axes.spines["right"].set_visible(False)
            axes.legend(loc="upper left", frameon=False)
        machine = results["machine"]
        figure.suptitle(f"vqcodec, whole processes, {machine['cores']} cores, {machine['kernel']} kernel")
        for target in targets:
            figure.savefig(target, dpi=150, metadata={"Date": None} if target.suffix == ".svg" else None)


def markdown(results: dict[str, Any]) -> str:
    """The tables of all measurements."""
    machine, identity = results["machine"], results["identity"]
    where = f"{machine['cpu']}, {machine['cores']} cores, kernel {machine['kernel']}, load {machine['load_before']}"
    parts = [
        f"Whole processes, median over {results['singles']} pictures x {results['rounds']} rounds ({where}):",
        _process_table(results),
        "Within one process:",
        _call_table(results["calls"]),
    ]
    if results["batches"]:
        parts += [f"One process for {len(results['images'])} pictures:", _batch_table(results["batches"])]
    if results["scaling"]:
        parts += [f"Growth with the picture ({_growth(results['exponents'])}):", _size_table(results["scaling"])]
    parts += [f"Equal in all of {identity['comparisons']} comparisons of .vqc bytes and decoded pixels."]
    return "\n\n".join(parts)


def _process_table(results: dict[str, Any]) -> str:
    lines = []
    for row in results["processes"]:
        codec = results["codecs"].get(row["name"])
        cells = [f"{row['step']}: {row['name']}", ABSENT if codec is None else f"{codec['bpp']:.3f}"]
        lines.append([*cells, f"{row['seconds']:.3f}", f"{row['fastest']:.3f}", f"{row['peak_mib']:.0f}"])
    return table(["process", "bpp", "s", "fastest s", "peak MiB"], lines)


def _call_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for encode, decode in zip(*([row for row in rows if row["step"] == step] for step in STEPS), strict=True):
        cells = [encode["name"], encode["kernel"], encode["threads"]]
        for step, row in (("encode", encode), ("decode", decode)):
            cells += [_milliseconds(row.get(key)) for key in ("seconds", *STEPS[step])]
            cells.append(f"{row['megapixels_per_second']:.1f}")
        lines.append(cells)
    header = ["codec", "kernel", "threads"]
    for step, parts in STEPS.items():
        header += [f"{step} ms", *(part.replace("_", " ") for part in parts), "Mpixel/s"]
    return table(header, lines)


def _batch_table(rows: Sequence[dict[str, Any]]) -> str:
    alone = {row["step"]: row["seconds"] for row in rows if row["jobs"] == "1"}
    lines = [
        [
            f"{row['step']} -j {row['jobs']}",
            f"{row['seconds']:.2f}",
            f"{alone[row['step']] / row['seconds']:.2f}",
            f"{row['peak_mib']:.0f}",
        ]
        for row in rows
    ]
    return table(["batch", "s", "speed-up", "peak MiB"], lines)


def _size_table(sizes: Sequence[dict[str, Any]]) -> str:
    lines = []
    for size in sizes:
        cells = [f"{size['megapixels']:g}", f"{size['bytes']}"]
        for step in COLORS:
            cells += [f"{size[step]['seconds']:.2f}", f"{size[step]['peak_mib']:.0f}"]
        lines.append(cells)
    return table(["Mpixel", "bytes", "encode s", "peak MiB", "decode s", "peak MiB"], lines)


def _growth(powers: dict[str, Any] | None) -> str:
    if powers is None:
        return "one size"
    named = ", ".join(f"{name.replace('_mib', '')} {power:.2f}" for name, power in list(powers.items())[2:])
    return f"powers of the size from {powers['from']:g} to {powers['to']:g} Mpixel: {named}"


def _milliseconds(seconds: float | None) -> str:
    return ABSENT if seconds is None else f"{1000 * seconds:.1f}"


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 5)
