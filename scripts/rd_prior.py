"""What the context prior is worth: real bytes beside its own cross entropy and beside static tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import vqcodec
from vqcodec import _core

MAX_WINDOW = 8191  # of StaticPrior
STATIC_COUNT_WEIGHT = 16  # a seen code against the +1 StaticPrior adds to every code of its window


@dataclass(frozen=True)
class CodeCost:
    """Bytes of one image at one quality: the real file, the entropy it could not beat, the static tables."""

    image: str
    quality: float
    file_bytes: int
    payload_bytes: int  # the codes alone, without header and checksums
    entropy_bytes: float  # cross entropy of the codes under the integer prior, / 8
    unadapted_bytes: float  # the same if scales did not adapt to the picture
    static_file_bytes: int | None  # the file if static tables coded its payload; None: nothing to fit on


def code_costs(
    codec: Any,
    photos: Sequence[tuple[str, np.ndarray]],
    qualities: Sequence[float],
    fit_photos: Sequence[np.ndarray] | None = None,
    report_progress: Callable[[str], None] = lambda line: None,
) -> list[CodeCost]:
    """Measure `photos` (name, pixels) at each quality.

    The static tables of a quality are fitted on `fit_photos`, or on all other `photos` when None
    (leave one out). Raises RuntimeError when static tables do not give the codes back.
    """
    costs = []
    for quality in qualities:
        encoded = [codec.encode(pixels, quality) for _, pixels in photos]
        codes = [codec.codes(data) for data in encoded]
        whole = others = [_whole(codec, grids) for grids in codes]
        if fit_photos is not None:
            plain = (codec.encode(pixels, quality, effort=0, verify=False) for pixels in fit_photos)
            others = [_whole(codec, codec.codes(data)) for data in plain]
        static = _static_payloads(whole, others, leave_one_out=fit_photos is None)
        for (name, _), data, grids, static_payload in zip(photos, encoded, codes, static, strict=True):
            entropies = _entropy_bytes(codec, quality, grids)
            costs.append(_cost(name, quality, data, entropies, static_payload))
        report_progress(f"prior at quality {quality:g}: {len(photos)} images")
    return costs


def _whole(codec: Any, codes: list[np.ndarray]) -> list[np.ndarray]:
    """Codes as a static table can code them: those that count from means, rounded to whole steps."""
    return [(grid + codec.code_unit // 2) // codec.code_unit for grid in codes]


def summarize(costs: Sequence[CodeCost]) -> list[dict[str, Any]]:
    """Per quality: mean bytes, mean and largest gap of file and payload over the entropy, % saved."""
    return [
        _summary(quality, [cost for cost in costs if cost.quality == quality])
        for quality in sorted({cost.quality for cost in costs})
    ]


def _summary(quality: float, costs: Sequence[CodeCost]) -> dict[str, Any]:
    entropy = np.array([cost.entropy_bytes for cost in costs])
    summary: dict[str, Any] = {"quality": quality, "entropy_bytes": round(float(entropy.mean()), 1)}
    for kind in ("file", "payload"):
        real = np.array([getattr(cost, f"{kind}_bytes") for cost in costs])
        gap = real - entropy
        summary[f"{kind}_bytes"] = round(float(real.mean()), 1)
        for statistic, over_images in (("mean", np.mean), ("max", np.max)):
            summary[f"{kind}_gap_bytes_{statistic}"] = round(float(over_images(gap)), 1)
            summary[f"{kind}_gap_percent_{statistic}"] = round(float(over_images(100 * gap / entropy)), 3)
    unadapted = sum(cost.unadapted_bytes for cost in costs)
    summary["adaptation_saved_percent"] = round(float(100 * (1 - entropy.sum() / unadapted)), 2)
    pairs = [(cost.file_bytes, cost.static_file_bytes) for cost in costs if cost.static_file_bytes]
    if not pairs:
        return {**summary, "static_file_bytes": None, "saved_percent": None}
    context, static = np.array(pairs).sum(axis=0)
    summary["static_file_bytes"] = round(float(static / len(pairs)), 1)
    summary["saved_percent"] = round(float(100 * (1 - context / static)), 2)
    return summary


def _entropy_bytes(codec: Any, quality: float, codes: list[np.ndarray]) -> tuple[float, float]:
    """Cross entropy of codes under the prior, and the same if scales did not adapt."""
    adapted, fixed = (
        _core.cross_entropy(codec._model, codec.position(quality), codes, adaptive=adaptive) / 8
        for adaptive in (True, False)
    )
    return round(adapted, 2), round(fixed, 2)


def _cost(
    name: str, quality: float, data: bytes, entropies: tuple[float, float], static_payload: int | None
) -> CodeCost:
    payload = sum(vqcodec.read_header(data).payload_bytes)
    static_file = None if static_payload is None else len(data) - payload + static_payload
    return CodeCost(name, quality, len(data), payload, *entropies, static_file)


def _static_payloads(
    codes: Sequence[list[np.ndarray]], others: Sequence[list[np.ndarray]], leave_one_out: bool
) -> list[int | None]:
    if len(others) - leave_one_out < 1:
        return [None for _ in codes]
    sizes = np.zeros(len(codes), np.int64)
    for level in range(len(codes[0])):
        largest = max(int(np.abs(grids[level]).max()) for grids in others)
        window = min(max(largest, 1), MAX_WINDOW)
        total = sum((_count(grids[level], window) for grids in others), start=np.int64(0))
        for index, grids in enumerate(codes):
            counts = total - _count(grids[level], window) if leave_one_out else total
            sizes[index] += _static_size(grids[level], np.asarray(counts))
    return [int(size) for size in sizes]


def _count(codes: np.ndarray, window: int) -> np.ndarray:
    """Occurrences (n, 2 * window + 1) of each code -window..window per variable of codes (n, h, w)."""
    width = 2 * window + 1
    symbols = codes.reshape(len(codes), -1).astype(np.int64) + window
    rows = np.arange(len(codes))[:, None] * width
    inside = (symbols >= 0) & (symbols < width)
    return np.bincount((rows + symbols)[inside], minlength=len(codes) * width).reshape(-1, width)


def _static_size(codes: np.ndarray, counts: np.ndarray) -> int:
    prior = _core.StaticPrior(counts * STATIC_COUNT_WEIGHT)
    payload = prior.encode(codes)
    if not np.array_equal(prior.decode(payload, codes.shape), codes):
        raise RuntimeError("the static tables did not give the codes back")
    return len(payload)
