"""A tiny random model file, so that tests of the runtime need no trained one."""

import json
from collections.abc import Sequence

import numpy as np
from safetensors.numpy import save

SLICES = (2, 3)
"""Variables of each slice."""

ALPHABET = 6
"""Number of codes of a model with a categorical head."""

TAPS = {"first": (12, 16, 12, 16), "later": ((9, 0), (9, 4))}
"""Taps of the steps: of the first slice on itself; of later ones on (earlier slices, itself)."""


def tiny_model(
    head: str = "logistic",
    *,
    slices: Sequence[int] = SLICES,
    hidden: int = 8,
    quality_levels: int = 3,
    stride: int = 16,
    embedding: int = 2,
    seed: int = 0,
    runtime: dict[str, object] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Return the bytes of a random model; `runtime` and `tensors` replace parts of it, for bad ones."""
    random = np.random.default_rng(seed)
    prior: dict[str, object] = {"slices": list(slices), "hidden": hidden, "head": head}
    features, parameters = 1, 2
    everything: dict[str, np.ndarray] = {"decoder.weight": np.zeros((2, 2), np.float32)}
    if head == "categorical":
        prior |= {"alphabet": ALPHABET, "embedding": embedding}
        features, parameters = embedding, ALPHABET
        table = random.integers(-40, 41, (sum(slices), ALPHABET, embedding))
        everything["prior.embedding"] = table.astype(np.int16)

    def layer(name: str, rows: int, columns: int, levels: tuple[int, ...], shift: int) -> None:
        weight = random.integers(-127, 128, (rows, columns))
        everything[f"prior.{name}.weight"] = weight.astype(np.int8)
        everything[f"prior.{name}.bias"] = random.integers(-2000, 2000, (*levels, rows)).astype(np.int32)
        everything[f"prior.{name}.shift"] = np.full(rows, shift, np.uint8)

    levels = (quality_levels,)
    for number, variables in enumerate(slices):
        earlier = sum(slices[:number])
        if number == 0:
            seen = [taps * variables for taps in TAPS["first"]]
        else:
            seen = [there * earlier + own * variables for there, own in TAPS["later"]]
        for step, columns in enumerate(seen):
            layer(f"{number}.{step}.context", hidden, columns * features, levels, shift=3)
        layer(f"{number}.hidden1", hidden, hidden, (), shift=7)
        layer(f"{number}.hidden2", hidden, hidden, (), shift=7)
        layer(f"{number}.head", variables * parameters, hidden, levels, shift=6)

    config = {"stride": stride, "quality_levels": quality_levels, "prior": prior} | (runtime or {})
    metadata = {"config": json.dumps({"name": "tiny", "runtime": config})}
    return save(everything | (tensors or {}), metadata)


def random_codes(
    height: int, width: int, head: str = "logistic", *, variables: int = sum(SLICES), seed: int = 0
) -> np.ndarray:
    """Return int32 codes of shape (variables, height, width) that a tiny model can code."""
    random = np.random.default_rng(seed)
    shape = (variables, height, width)
    if head == "categorical":
        return random.integers(0, ALPHABET, shape, dtype=np.int32)
    return np.rint(random.laplace(scale=8, size=shape)).astype(np.int32)
