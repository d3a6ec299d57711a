"""The highest effort: latents refined by gradients before they are rounded."""

from __future__ import annotations

import numpy as np
import pytest

import vqcodec
from vqcodec import refine


def cost(codec: vqcodec.Codec, data: bytes, photo: np.ndarray, position: int) -> float:
    """Bits, with the error counted as so many."""
    error = np.square(codec.decode(data).astype(float) - photo).sum()
    return 8 * len(data) + codec._lambda(position) / 3.0 * error


def test_refinement_costs_less_than_the_search(photo: np.ndarray) -> None:
    crop = np.ascontiguousarray(photo[40:133, 60:161])  # sides that no stride divides
    codec = vqcodec.load()
    costs = np.array(
        [
            [cost(codec, codec.encode(crop, quality, effort=e), crop, codec.position(quality)) for e in (0, 2, 3)]
            for quality in (20.0, 40.0, 60.0)
        ]
    )
    assert (costs[:, 2] <= costs[:, 1]).all()  # of both, the cheaper is taken
    assert (costs[:, 1] < costs[:, 0]).all()
    assert costs[2, 2] < costs[2, 1] and costs[:, 2].sum() < costs[:, 1].sum()


def test_windows_leave_other_codes_alone(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 3, "CORE": 2, "MARGIN": 2}.items():
        monkeypatch.setattr(refine, name, value)
    crop = np.ascontiguousarray(photo[:80, :112])
    codec = vqcodec.load()
    seen = []
    refined = refine._refined

    def watched(*arguments: object) -> np.ndarray:
        seen.append(arguments[-1].shape)  # type: ignore[attr-defined]
        return refined(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(refine, "_refined", watched)
    data = codec.encode(crop, 50.0, effort=3)
    assert codec.decode(data).shape == crop.shape
    assert len(seen) == 3 * 4 and max(shape[1:] for shape in seen) == (5, 6)  # every core once, with its margin
