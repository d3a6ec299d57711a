"""A tiny random model file, so that tests of the runtime need no trained one."""

import json
from collections.abc import Sequence

import numpy as np
from safetensors.numpy import save

SLICES = (2, 3)
"""Variables of each slice."""

ALPHABET = 6
"""Number of codes of a model with a categorical head."""

COARSE_SLICES = (1, 2)
"""Variables of each slice of the coarse level of a model that has one."""

TAPS = {"first": ((9, 12), (9, 16), (9, 12), (9, 16)), "later": ((9, 0), (9, 4))}
"""Taps of the steps of a slice on (what is earlier, itself); nothing is before the only level's first slice."""


def tiny_model(
    head: str = "logistic",
    *,
    slices: Sequence[int] = SLICES,
    coarse: Sequence[int] = (),
    hidden: int = 8,
    quality_levels: int = 3,
    stride: int = 16,
    embedding: int = 2,
    seed: int = 0,
    runtime: dict[str, object] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> bytes:
    """Return the bytes of a random model; `runtime` and `tensors` replace parts of it, for bad ones.

    With `coarse` slices it has two levels.
    """
    random = np.random.default_rng(seed)
    everything: dict[str, np.ndarray] = {"decoder.weight": np.zeros((2, 2), np.float32)}
    features, parameters = (embedding, ALPHABET) if head == "categorical" else (1, 2)

    def layer(name: str, rows: int, columns: int, levels: tuple[int, ...], shift: int) -> None:
        weight = random.integers(-127, 128, (rows, columns))
        everything[f"{name}.weight"] = weight.astype(np.int8)
        everything[f"{name}.bias"] = random.integers(-2000, 2000, (*levels, rows)).astype(np.int32)
        everything[f"{name}.shift"] = np.full(rows, shift, np.uint8)

    def prior(name: str, slices: Sequence[int], before: int) -> dict[str, object]:
        """Add the tensors of a prior that sees `before` variables of another level; return its config."""
        config: dict[str, object] = {"slices": list(slices), "hidden": hidden, "head": head}
        if head == "categorical":
            config |= {"alphabet": ALPHABET, "embedding": embedding}
            table = random.integers(-40, 41, (sum(slices), ALPHABET, embedding))
            everything[f"{name}.embedding"] = table.astype(np.int16)
        levels = (quality_levels,)
        for number, variables in enumerate(slices):
            earlier = before + sum(slices[:number])
            for step, (there, own) in enumerate(TAPS["later" if number else "first"]):
                columns = there * earlier + own * variables
                layer(f"{name}.{number}.{step}.context", hidden, columns * features, levels, shift=3)
            layer(f"{name}.{number}.hidden1", hidden, hidden, (), shift=7)
            layer(f"{name}.{number}.hidden2", hidden, hidden, (), shift=7)
            layer(f"{name}.{number}.head", variables * parameters, hidden, levels, shift=6)
        return config

    config: dict[str, object] = {"stride": stride, "quality_levels": quality_levels}
    config["prior"] = prior("prior", slices, sum(coarse))
    if coarse:
        config["coarse"] = {"stride": 2 * stride, "prior": prior("coarse.prior", coarse, 0)}
    config |= runtime or {}
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
