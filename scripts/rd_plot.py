"""Rate-distortion curves of a benchmark's JSON as PNG, SVG or PDF.

python scripts/rd_plot.py scripts/results/kodak.json kodak.png kodak.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
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
PANELS = {"psnr": "PSNR (dB)", "ms_ssim_db": "MS-SSIM (dB)"}


def plot(results: dict[str, Any], targets: Sequence[Path]) -> None:
    """Draw the mean curves in PSNR and MS-SSIM side by side into every target; its suffix is the format."""
    with matplotlib.rc_context({"svg.hashsalt": "vqcodec", "font.size": 10, "axes.spines.top": False}):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        panels = figure.subplots(1, len(PANELS))
        for axes, (metric, title) in zip(panels, PANELS.items(), strict=True):
            draw_panel(axes, results["codecs"], metric, title)
        figure.suptitle(f"{results['folder']}, mean of {len(results['images'])} images, whole files")
        for target in targets:
            metadata = {"Date": None} if target.suffix == ".svg" else None
            figure.savefig(target, dpi=150, metadata=metadata)


def draw_panel(axes: Axes, codecs: dict[str, Any], metric: str, title: str) -> None:
    """One metric over bits per pixel (log scale), best codec first in the legend."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(*LIMITS)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel(title)
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
        axes.legend(loc="lower right", frameon=False)


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
