"""Pixels to codes and codes to pixels with a model's networks in torch, for GPUs, in windows of bounded memory.

Windows overlap by more than the networks' receptive field, so the result is that of the whole picture:
there are no seams to hide.
"""

from __future__ import annotations

import numpy as np
import torch

from vqcodec.errors import InvalidInputError
from vqcodec.models import VQVAE
from vqcodec.pixels import pad_to_multiple, windows

CORE = 64  # codes along a window's side


class Transform:
    """Analysis and synthesis of one model on one device."""

    def __init__(self, model: VQVAE, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InvalidInputError("no CUDA device on this machine")
        self.device = torch.device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.stride = model.config.stride
        self.margin = model.config.reach + 1

    def analyze(self, pixels: np.ndarray, level: float, dead_zone: float = 0.0) -> np.ndarray:
        """Codes (N, ceil(H/stride), ceil(W/stride)) int32 of pixels (H, W, 3) uint8: see `VQVAE.analyze`."""
        padded = pad_to_multiple(pixels, self.stride)
        height, width = padded.shape[0] // self.stride, padded.shape[1] // self.stride
        codes = np.empty((sum(self.model.config.slices), height, width), np.int32)
        with torch.inference_mode():
            for window in windows(height, width, CORE, self.margin):
                cut = np.ascontiguousarray(padded[self._pixels(window.region)])
                images = torch.from_numpy(cut).to(self.device).permute(2, 0, 1)[None].float() / 255.0
                found = self.model.analyze(images, self._level(level), dead_zone)[0]
                rows, columns = window.inner
                codes[:, window.core[0], window.core[1]] = found[:, rows, columns].to(torch.int32).cpu().numpy()
        return codes

    def synthesize(self, codes: np.ndarray, level: float) -> np.ndarray:
        """Mirror of `analyze`: pixels (h * stride, w * stride, 3) uint8 of codes (N, h, w) int32."""
        height, width = codes.shape[1:]
        pixels = np.empty((height * self.stride, width * self.stride, 3), np.uint8)
        with torch.inference_mode():
            for window in windows(height, width, CORE, self.margin):
                rows, columns = window.region
                cut = torch.from_numpy(np.ascontiguousarray(codes[:, rows, columns])).to(self.device)
                found = self.model.synthesize(cut.long()[None], self._level(level))[0]
                shown = (found * 255.0).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
                pixels[self._pixels(window.core)] = shown[self._pixels(window.inner)]
        return pixels

    def _pixels(self, cells: tuple[slice, slice]) -> tuple[slice, slice]:
        """Pixel rows and columns that a block of codes stands for."""
        rows, columns = (slice(cell.start * self.stride, cell.stop * self.stride) for cell in cells)
        return rows, columns

    def _level(self, level: float) -> torch.Tensor:
        return torch.full((1,), level, device=self.device)
