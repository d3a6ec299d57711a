"""The networks of a model file in int64 numpy, as "Pixels" in rust/core/FORMAT.md words them: slow, plain, exact."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from vqcodec.model_file import load

LIMIT = 16_383  # of activations and of grid codes
TAYLOR = [round(2**30 * math.sqrt(2.0) * math.log(2.0) ** k / math.factorial(k)) for k in range(7)]


class Oracle:
    """Analysis and synthesis of one model; `clamped` is the share of activations that the last call had to clamp."""

    def __init__(self, data: bytes) -> None:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        runtime = json.loads(header["__metadata__"]["config"])["runtime"]
        self.stride: int = runtime["stride"]
        self.transform: dict[str, Any] = runtime["transform"]
        self.tensors = {name: tensor.astype(np.int64) for name, tensor in load(data).items()}
        self._inside = self._beyond = 0

    @property
    def clamped(self) -> float:
        return self._beyond / (self._inside + self._beyond)

    def analyze(self, pixels: np.ndarray, quality: int) -> np.ndarray:
        """Codes int64 (n, h, w) of pixels (H, W, 3) at a quality position."""
        self._inside = self._beyond = 0
        height, width = (-side % self.stride for side in pixels.shape[:2])
        x = 2 * np.pad(pixels.astype(np.int64), ((0, height), (0, width), (0, 0)), "edge") - 255
        network = self.transform["analysis"]
        sums = self._conv(network["out"], self._trunk(network["trunk"], x, quality))
        if "skip" in network:
            sums = np.clip(sums + self._conv(network["skip"], x), -(2**31), 2**31 - 1)
        return self._quantize(sums * self._gains("analysis.gain", quality)).transpose(2, 0, 1)

    def synthesize(self, codes: np.ndarray, height: int, width: int, quality: int) -> np.ndarray:
        """Pixels int64 (height, width, 3) of codes (n, h, w)."""
        self._inside = self._beyond = 0
        values, network = self._values(codes.transpose(1, 2, 0)), self.transform["synthesis"]
        x = self._scaled("synthesis.gain", values, quality)
        sums = self._conv(network["out"], self._trunk(network["trunk"], x, quality))
        if "skip" in network:
            sums += self._conv(network["skip"], self._scaled("synthesis.skip_gain", values, quality))
        return ((sums + 32) >> 6).clip(0, 255)[:height, :width]

    def _trunk(self, steps: list[dict[str, Any]], x: np.ndarray, quality: int) -> np.ndarray:
        for step in steps:
            ((kind, step),) = step.items()
            if kind == "conv":
                x = self._clamp(self._conv(step, x), relu=step.get("relu", False))
            elif kind == "gain":
                x = self._scaled(step["name"], x, quality)
            else:
                spatial, mix = (
                    {"name": f"{step['name']}.{part}", "inputs": step["width"], "outputs": step["width"], "size": size}
                    for part, size in (("spatial", 3), ("mix", 1))
                )
                hidden = self._clamp(self._conv(spatial, x), relu=True)
                x = self._clamp(x + self._conv(mix, hidden))
        return x

    def _conv(self, step: dict[str, Any], x: np.ndarray) -> np.ndarray:
        size, stride, fold = step["size"], step.get("stride", 1), step.get("fold", 1)
        name, inputs, outputs = step["name"], step["inputs"], step["outputs"]
        weight, bias, shift = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        assert weight.shape == (outputs * fold**2, size**2 * inputs) and x.shape[2] == inputs
        taps = weight.reshape(-1, size, size, inputs)
        rows, columns, before = x.shape[0] // stride, x.shape[1] // stride, math.ceil((size - stride) / 2)
        padded = np.pad(x, ((before, size), (before, size), (0, 0)))
        sums = np.broadcast_to(bias, (rows, columns, len(bias))).copy()
        for dy, dx in np.ndindex(size, size):
            seen = padded[dy : dy + rows * stride : stride, dx : dx + columns * stride : stride]
            sums += seen @ taps[:, dy, dx].T
        sums += (1 << shift) >> 1
        assert np.abs(sums).max() < 2**31
        folded = (sums >> shift).reshape(rows, columns, fold, fold, outputs)
        return folded.transpose(0, 2, 1, 3, 4).reshape(rows * fold, columns * fold, outputs)

    def _gains(self, name: str, quality: int) -> np.ndarray:
        table, (level, part) = self.tensors[f"{name}.log2"], divmod(quality, 16)
        above = table[min(level + 1, len(table) - 1)]
        log2 = table[level] + (((above - table[level]) * part + 8) >> 4)
        mantissa = np.zeros_like(log2)
        for term in reversed(TAYLOR):
            mantissa = term + ((mantissa * ((log2 & 0xFFFF) - 0x8000)) >> 16)
        shift = 14 - (log2 >> 16)
        return (mantissa + ((1 << shift) >> 1)) >> shift

    def _scaled(self, name: str, x: np.ndarray, quality: int) -> np.ndarray:
        return self._clamp((x * self._gains(name, quality) + 2**15) >> 16)

    def _clamp(self, x: np.ndarray, relu: bool = False) -> np.ndarray:
        beyond = int(np.count_nonzero((x > LIMIT) | (x < (0 if relu else -LIMIT)) & (not relu)))
        self._beyond += beyond
        self._inside += x.size - beyond
        return x.clip(0 if relu else -LIMIT, LIMIT)

    def _quantize(self, latents: np.ndarray) -> np.ndarray:
        if "codebook" not in self.transform:
            return ((latents + 2**23) >> 24).clip(-LIMIT, LIMIT)
        book = self.tensors["quantizer.codebook"]  # (n, size, width)
        groups, _, width = book.shape
        vectors = (latents >> 16).clip(-(2**24), 2**24).reshape(*latents.shape[:2], groups, 1, width)
        return (np.square(vectors - book).sum(-1) + self.tensors.get("quantizer.price", 0)).argmin(-1)

    def _values(self, codes: np.ndarray) -> np.ndarray:
        if "codebook" not in self.transform:
            return 256 * codes.astype(np.int64)
        book = self.tensors["quantizer.codebook"]
        return book[np.arange(len(book)), codes].reshape(*codes.shape[:2], -1)
