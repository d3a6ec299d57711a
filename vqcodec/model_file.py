"""Model files as bytes: safetensors of integers, int16 weights in as many bits as each row of them needs.

Packed weights are in two's complement, the lowest bit first, row after row. Most rows need 11 or 12 bits, since the
runtime takes none whose sum could overflow. A matrix of less than eight rows stays as it is: so bits tell columns.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

WEIGHT, BITS = ".weight", ".bits"


def save(tensors: dict[str, np.ndarray], config: dict[str, Any]) -> bytes:
    """A model file of integer tensors; `config` becomes JSON in its metadata."""
    stored: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        stored[name] = tensor
        if name.endswith(WEIGHT) and tensor.dtype == np.int16 and len(tensor) >= 8:
            stored[name], stored[name.removesuffix(WEIGHT) + BITS] = _packed(tensor)
    return save_tensors(stored, {"config": json.dumps(config, sort_keys=True)})


def load(data: bytes) -> dict[str, np.ndarray]:
    """Mirror of `save`, which also takes files without packed weights."""
    tensors = load_tensors(data)
    for name in [name for name in tensors if name.endswith(BITS)]:
        weight = name.removesuffix(BITS) + WEIGHT
        tensors[weight] = _unpacked(tensors[weight], tensors.pop(name))
    return tensors


def _packed(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes (N,) uint8 of int16 rows (outputs, inputs), and the bits (outputs,) uint8 that a row's numbers take."""
    largest = np.maximum(rows.max(1), -1 - rows.min(1))
    bits = np.ceil(np.log2(largest + 1.0)).astype(np.uint8) + np.uint8(1)  # one for the sign
    planes = rows[:, :, None] >> np.arange(16, dtype=np.int16) & 1
    used = np.arange(16) < bits[:, None, None]
    return np.packbits(planes[np.broadcast_to(used, planes.shape)].astype(np.uint8), bitorder="little"), bits


def _unpacked(packed: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Mirror of `_packed`."""
    columns = 8 * len(packed) // int(bits.sum())
    used = np.broadcast_to(np.arange(16) < bits[:, None, None], (len(bits), columns, 16))
    planes = np.zeros(used.shape, np.int32)
    planes[used] = np.unpackbits(packed, count=int(used.sum()), bitorder="little")
    numbers = (planes << np.arange(16)).sum(2)
    signs = numbers >> (bits[:, None] - 1) & 1
    rows: np.ndarray = numbers - (signs << bits[:, None].astype(np.int64))
    return rows.astype(np.int16)
