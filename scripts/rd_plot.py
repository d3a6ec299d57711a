"""Rate-distortion curves of a benchmark's JSON as PNG, SVG or PDF.

python scripts/rd_plot.py scripts/results/kodak.json kodak.png kodak.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

TICKS = (0.1, 0.2, 0.4, 0.8)  # bits per pixel
LIMITS = (0.08, 1.0)
COLORS = {"vqcodec": "#d1495b", "avif": "#00798c", "jxl": "#7a5195", "webp": "#c98a00", "jpeg": "#8a8a8a"}
MARKERS = {"vqcodec": "o", "avif": "s", "jxl": "D", "webp": "^", "jpeg": "v"}
PANELS = {"psnr": "PSNR (dB)", "ms_ssim_db": "MS-SSIM (dB)", "ssimulacra2": "SSIMULACRA2"}
PUBLISHED_COLORS = ("#1b4965", "#2a9d8f", "#6a994e", "#bc6c25", "#7f4f24", "#5a189a")
PUBLISHED_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))


def plot(results: dict[str, Any], targets: Sequence[Path]) -> None:
    """Draw the mean curves, a panel for every metric measured, into every target; its suffix is the format."""
    codecs, published = results["codecs"], results["published"]
    metrics = [metric for metric in PANELS if by_quality(codecs, metric)]
    rows, columns = (2, 2) if len(metrics) == 3 else (1, 3)  # the last cell holds the legend
    with matplotlib.rc_context({"svg.hashsalt": "vqcodec", "font.size": 10, "axes.spines.top": False}):
        figure = Figure(figsize=(5 * columns, 4.2 * rows + 0.2), layout="constrained")
        cells = list(figure.subplots(rows, columns).flat)
        for axes, metric in zip(cells, metrics, strict=False):
            draw_panel(axes, codecs, metric)
            draw_published(axes, published, metric)
        for axes in cells[len(metrics) :]:
            axes.axis("off")
        draw_legend(cells[-1], cells[0], len(codecs))
        figure.suptitle(f"{results['folder']}, mean of {len(results['images'])} images, whole files")
        for target in targets:
            metadata = {"Date": None} if target.suffix == ".svg" else None
            figure.savefig(target, dpi=150, metadata=metadata)


def draw_panel(axes: Axes, codecs: dict[str, Any], metric: str) -> None:
    """One metric over bits per pixel (log scale), best codec first."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(*LIMITS)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel(PANELS[metric])
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines["right"].set_visible(False)
    seen = []
    for name in by_quality(codecs, metric):
        curve = codecs[name]["curve"]
        points = [(point["bpp"], point[metric]) for point in curve if point[metric] is not None]
        seen += [value for rate, value in points if LIMITS[0] <= rate <= LIMITS[1]]
        axes.plot(
            *zip(*points, strict=True),
            label=codecs[name]["label"],
            color=COLORS[name],
            marker=MARKERS[name],
            markersize=4.5,
            linewidth=2.4 if name == "vqcodec" else 1.5,
            zorder=3 if name == "vqcodec" else 2,
        )
    if seen:
        margin = 0.05 * (max(seen) - min(seen)) or 1.0
        axes.set_ylim(min(seen) - margin, max(seen) + margin)


def draw_published(axes: Axes, published: dict[str, Any] | None, metric: str) -> None:
    """Thin lines without marks for what others measured; the window stays that of the measured curves."""
    curves = published["curves"] if published else []
    for curve, color, dashes in zip(curves, cycle(PUBLISHED_COLORS), cycle(PUBLISHED_DASHES), strict=False):
        if metric in curve["points"][0]:
            points = [(point["bpp"], point[metric]) for point in curve["points"]]
            label, style = curve["label"], {"color": color, "linestyle": dashes}
            axes.plot(*zip(*points, strict=True), label=label, linewidth=0.9, zorder=1, **style)


def draw_legend(cell: Axes, panel: Axes, measured: int) -> None:
    """The lines of `panel` named in `cell`: first the `measured` ones, below them those published by others."""
    lines = panel.get_lines()
    legend = cell.legend(handles=lines[:measured], title="measured here", loc="upper left", frameon=False)
    if lines[measured:]:
        cell.add_artist(legend)
        title = "published by others"
        cell.legend(handles=lines[measured:], title=title, loc="lower left", frameon=False, handlelength=3.5)


def by_quality(codecs: dict[str, Any], metric: str) -> list[str]:
    """Names of the codecs that have `metric`, best first at the rates that all of them reach."""
    tables = {
        name: entry["at_bpp"][metric]
        for name, entry in codecs.items()
        if any(point[metric] is not None for point in entry["curve"])
    }
    rates: list[str] = list(next(iter(tables.values()), {}))
    shared = [rate for rate in rates if all(table[rate] is not None for table in tables.values())]
    return sorted(tables, key=lambda name: -sum(tables[name][rate] for rate in shared))


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(f"usage: {sys.argv[0]} RESULTS.json PICTURE...")
    plot(json.loads(Path(sys.argv[1]).read_text("utf-8")), [Path(target) for target in sys.argv[2:]])


if __name__ == "__main__":
    main()
