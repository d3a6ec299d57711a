"""From the rows of rd_benchmark to mean curves, quality at equal rate, BD-rates and Markdown tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqcodec import metrics
from vqcodec.errors import InvalidInputError

RATES = (0.1, 0.15, 0.2, 0.3, 0.5, 0.8)  # bits per pixel of the tables
METRICS = ("psnr", "ms_ssim_db", "ssimulacra2")
ABSENT = "-"
DECIBEL_CAP = 100.0  # a perfect copy counts as this, so that means stay finite

Point = dict[str, Any]  # one quality setting of a mean curve


def mean_curve(rows: Sequence[dict[str, Any]]) -> list[Point]:
    """Per quality: mean bpp, PSNR, MS-SSIM (also as dB of the mean), SSIMULACRA2, median seconds; by rising rate."""
    points = []
    for quality in {row["quality"] for row in rows}:
        group = [row for row in rows if row["quality"] == quality]
        point: Point = {"quality": quality}
        for key in ("bpp", "psnr", "ms_ssim", "ssimulacra2"):
            values = [row[key] for row in group]
            point[key] = None if None in values else round(statistics.fmean(values), 6)
        point["ms_ssim_db"] = None if point["ms_ssim"] is None else ms_ssim_decibels(point["ms_ssim"])
        for key in ("encode_seconds", "decode_seconds"):
            point[key] = round(statistics.median(row[key] for row in group), 4)
        points.append(point)
    return sorted(points, key=lambda point: (point["bpp"], point["quality"]))


def ms_ssim_decibels(similarity: float) -> float:
    """-10 log10(1 - MS-SSIM), capped for a perfect copy."""
    return round(min(-10 * math.log10(max(1 - similarity, 1e-12)), DECIBEL_CAP), 4)


def at_rates(curve: Sequence[Point], metric: str, rates: Sequence[float] = RATES) -> dict[str, float | None]:
    """`metric` at `rates`, linear in log bpp between the curve's points, None outside its range."""
    known = [point for point in curve if point[metric] is not None]
    if not known:
        return {f"{rate:g}": None for rate in rates}
    logs, values = np.log([point["bpp"] for point in known]), [point[metric] for point in known]
    found = np.interp(np.log(rates), logs, values, left=np.nan, right=np.nan)
    return {
        f"{rate:g}": None if np.isnan(value) else round(float(value), 4)
        for rate, value in zip(rates, found, strict=True)
    }


def bd_rate(anchor: Sequence[Point], test: Sequence[Point], metric: str) -> dict[str, Any] | None:
    """BD-rate in % of `test` against `anchor` and the range of quality both share; None where it is not defined."""
    if any(point[metric] is None for point in (*anchor, *test)):
        return None
    (anchor_bpp, anchor_db), (test_bpp, test_db) = (
        [[point[key] for point in curve] for key in ("bpp", metric)] for curve in (anchor, test)
    )
    try:
        percent = metrics.bd_rate(anchor_bpp, anchor_db, test_bpp, test_db)
    except InvalidInputError:
        return None
    common = [max(min(anchor_db), min(test_db)), min(max(anchor_db), max(test_db))]
    return {"percent": round(percent, 2), "range": common}


def bd_rates(codecs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """BD-rates of vqcodec against every other codec in all METRICS; empty without vqcodec."""
    if "vqcodec" not in codecs:
        return {}
    ours = codecs["vqcodec"]["curve"]
    return {
        name: {metric: bd_rate(entry["curve"], ours, metric) for metric in METRICS}
        for name, entry in codecs.items()
        if name != "vqcodec"
    }


def markdown(results: dict[str, Any]) -> str:
    """The tables of a benchmark: quality at equal rate, published curves, what vqcodec's prior is worth."""
    codecs, count = results["codecs"], len(results["images"])
    parts = [
        f"PSNR in dB, mean of {count} images, at equal bits per pixel (whole files, log-rate interpolation):",
        _rate_table(results, "psnr", lambda decibels: f"{decibels:.2f}"),
        "MS-SSIM of the same files:",
        _rate_table(results, "ms_ssim_db", lambda decibels: f"{1 - 10 ** (-decibels / 10):.4f}"),
    ]
    if any(entry["measured"]["ssimulacra2"] for entry in codecs.values()):
        parts += ["SSIMULACRA2 of the same files (100 is the original):"]
        parts += [_rate_table(results, "ssimulacra2", lambda score: f"{score:.1f}")]
    parts += [
        "Measured mean points (quality: bpp, dB, MS-SSIM):",
        table(["codec", "points"], [[entry["label"], _points(entry["curve"])] for entry in codecs.values()]),
    ]
    if published := results["published"]:
        parts += _published(published)
    if prior := codecs.get("vqcodec", {}).get("prior"):
        parts += ["Mean bytes of a file, beside the prior's own entropy and beside static tables:"]
        parts += [_prior_table(prior)]
    return "\n\n".join(parts)


def _rate_table(results: dict[str, Any], metric: str, shown: Any) -> str:
    bd = results["bd_rate"]
    header = ["codec", *(f"{rate:g} bpp" for rate in RATES)]
    header += ["BD-rate of vqcodec"] * bool(bd) + ["encode s", "decode s"]
    lines = []
    for name, entry in results["codecs"].items():
        cells = [entry["label"]]
        cells += [ABSENT if value is None else shown(value) for value in entry["at_bpp"][metric].values()]
        if bd:
            delta = bd.get(name, {}).get(metric)
            cells.append(f"{delta['percent']:+.1f} %" if delta else ABSENT)
        cells += [f"{entry['median_seconds'][step]:.3f}" for step in ("encode", "decode")]
        lines.append(cells)
    return table(header, lines)


def _points(curve: Sequence[Point]) -> str:
    def text(point: Point) -> str:
        similarity = "" if point["ms_ssim"] is None else f" / {point['ms_ssim']:.4f}"
        return f"{point['quality']:g}: {point['bpp']:.4f}, {point['psnr']:.2f}{similarity}"

    return " · ".join(text(point) for point in curve)


def _published(published: dict[str, Any]) -> list[str]:
    header = ["published", *(f"{rate:g} bpp" for rate in RATES)]
    header += ["BD-rate of vqcodec, PSNR", "MS-SSIM", "rate counts", "source"]
    lines = []
    for curve in published["curves"]:
        cells = [_decibels(value) for value in curve["at_bpp"]["psnr"].values()]
        deltas = [curve["bd_rate"].get(metric) for metric in ("psnr", "ms_ssim_db")]
        cells += [f"{delta['percent']:+.1f} %" if delta else ABSENT for delta in deltas]
        lines.append([curve["label"], *cells, published["sources"][curve["source"]]["rate"], curve["source"]])
    singles = []
    for point in published["single_images"]:
        theirs, ours = (
            [_decibels(side[metric]) for metric in ("psnr", "ms_ssim_db")] for side in (point, point["ours"])
        )
        singles.append([point["label"], point["image"], f"{point['bpp']:.4f}", *theirs, *ours])
    sources = [f"- {tag}: {source['url']}. {source['measured']}." for tag, source in published["sources"].items()]
    return [
        "Published by others, not measured here: PSNR in dB, mean of the same images, at equal bits per pixel:",
        table(header, lines),
        "Published for one picture only, beside vqcodec at the same rate (PSNR and MS-SSIM in dB):",
        table(["published", "picture", "bpp", "PSNR", "MS-SSIM", "vqcodec PSNR", "vqcodec MS-SSIM"], singles),
        "\n".join(sources),
    ]


def _decibels(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _prior_table(prior: Sequence[dict[str, Any]]) -> str:
    header = ["quality", "file bytes", "prior's entropy", "gap mean", "gap max", "coder alone, max"]
    header += ["saved by adaptation", "static tables", "saved by the prior"]
    lines = []
    for row in prior:
        gaps = [
            f"{row[f'{kind}_gap_bytes_{of}']:+.0f} B, {row[f'{kind}_gap_percent_{of}']:+.2f} %"
            for kind, of in (("file", "mean"), ("file", "max"), ("payload", "max"))
        ]
        static = [ABSENT, ABSENT]
        if row["static_file_bytes"] is not None:
            static = [f"{row['static_file_bytes']:.0f}", f"{row['saved_percent']:.1f} %"]
        sizes = [f"{row[key]:.0f}" for key in ("file_bytes", "entropy_bytes")]
        adaptation = f"{row['adaptation_saved_percent']:.1f} %"
        lines.append([f"{row['quality']:g}", *sizes, *gaps, adaptation, *static])
    return table(header, lines)


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))
