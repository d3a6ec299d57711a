"""Published curves beside the measured ones: published_kodak.json tells the points, who measured them and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rd_summary import Point, at_rates, bd_rate, mean_curve, ms_ssim_decibels

KODAK = Path(__file__).parent / "published_kodak.json"
METRICS = ("psnr", "ms_ssim_db")


def beside(codecs: dict[str, Any], hashes: Sequence[str]) -> dict[str, Any] | None:
    """The published curves with BD-rates of vqcodec against them; None unless the files are Kodak's originals.

    `hashes` are the SHA-256 of the benchmark's pictures, in any order.
    """
    published = json.loads(KODAK.read_text("utf-8"))
    if hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest() != published["images_sha256"]:
        return None
    ours = codecs.get("vqcodec")
    for curve in published["curves"]:
        curve["points"] = [_point(**point) for point in curve["points"]]
        curve["at_bpp"] = {metric: at_rates(curve["points"], metric) for metric in METRICS}
        curve["bd_rate"] = {metric: bd_rate(curve["points"], ours["curve"], metric) for metric in METRICS if ours}
    for point in published["single_images"]:
        point["ours"] = _at_the_rate_of(point, ours["rows"] if ours else [])
    return {"file": KODAK.name, **published}


def _point(bpp: float, psnr: float, ms_ssim: float) -> Point:
    return {"bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim, "ms_ssim_db": ms_ssim_decibels(ms_ssim)}


def _at_the_rate_of(point: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    curve = mean_curve([row for row in rows if row["image"] == point["image"]])
    return {metric: next(iter(at_rates(curve, metric, [point["bpp"]]).values())) for metric in METRICS}
