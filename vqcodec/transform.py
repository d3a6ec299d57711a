"""Pixels to codes and codes to pixels with a model's networks in torch, for GPUs, in windows of bounded memory.

Centred codes are in 1/256 here, as in a file; those of an analysis have yet to be settled by the prior.

Windows overlap by more than the networks' receptive field, so the result is that of the whole picture:
there are no seams to hide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vqcodec import _core
from vqcodec._core import Header
from vqcodec.config import VALUE_UNIT
from vqcodec.errors import InvalidInputError
from vqcodec.models import VQVAE
from vqcodec.pixels import pad_to_multiple, windows
from vqcodec.quantize import CODE_LIMIT

CORE = 64  # codes along a window's side

Cells = tuple[slice, slice]


class Transform:
    """Analysis and synthesis of one model on one device; codes are a list of grids, coarse to fine."""

    def __init__(self, model: VQVAE, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise InvalidInputError("no CUDA device on this machine")
        self.device = torch.device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.stride = model.config.stride
        self.ratios = [2, 1] if model.config.coarse_slices else [1]  # fine positions along a code of each level
        self.margin = -(-(model.config.reach + 1) // self.ratios[0]) * self.ratios[0]

    def analyze(self, pixels: np.ndarray, level: float, dead_zone: float = 0.0) -> list[np.ndarray]:
        """Codes (N, ceil(H/stride), ceil(W/stride)) int32 of pixels (H, W, 3) uint8: see `VQVAE.analyze`."""
        padded = pad_to_multiple(pixels, self.stride * self.ratios[0])
        height, width = padded.shape[0] // self.stride, padded.shape[1] // self.stride
        shapes = [(sum(n), height // r, width // r) for n, r in zip(self.model.level_slices, self.ratios, strict=True)]
        codes = [np.empty(shape, np.int32) for shape in shapes]
        with torch.inference_mode():
            for window in windows(height, width, CORE, self.margin):
                cut = np.ascontiguousarray(padded[_times(window.region, self.stride)])
                images = torch.from_numpy(cut).to(self.device).permute(2, 0, 1)[None].float() / 255.0
                found = self._codes(images, self._level(level), dead_zone)
                for grid, part, ratio in zip(codes, found, self.ratios, strict=True):
                    inner, core = (_divided(cells, ratio) for cells in (window.inner, window.core))
                    grid[:, core[0], core[1]] = part[0][:, inner[0], inner[1]].to(torch.int32).cpu().numpy()
        rows, columns = (-(-side // self.stride) for side in pixels.shape[:2])
        codes[-1] = codes[-1][:, :rows, :columns]
        return [np.ascontiguousarray(grid) for grid in codes]

    def analyze_batch(self, pictures: Sequence[np.ndarray], levels: Sequence[float]) -> list[list[np.ndarray]]:
        """`analyze` of many pictures, without a dead zone; small ones of one size go through the networks together."""
        codes: list[list[np.ndarray]] = [[] for _ in pictures]
        for some in self._alike([picture.shape[:2] for picture in pictures]):
            if len(some) == 1:
                codes[some[0]] = self.analyze(pictures[some[0]], levels[some[0]])
                continue
            rows, columns = (-(-side // self.stride) for side in pictures[some[0]].shape[:2])
            padded = np.stack([pad_to_multiple(pictures[number], self.stride * self.ratios[0]) for number in some])
            with torch.inference_mode():
                images = torch.from_numpy(padded).to(self.device).permute(0, 3, 1, 2).float() / 255.0
                level = self._level(*(levels[number] for number in some))
                found = [grids.to(torch.int32).cpu().numpy() for grids in self._codes(images, level, 0.0)]
            found[-1] = found[-1][..., :rows, :columns]
            for number, *grids in zip(some, *found, strict=True):
                codes[number] = [np.ascontiguousarray(grid) for grid in grids]
        return codes

    def synthesize(
        self,
        codes: Sequence[np.ndarray],
        size: tuple[int, int],
        level: float,
        *,
        gray: bool = False,
        filter: bytes = b"",
    ) -> np.ndarray:
        """Mirror of `analyze`: pixels (*size, 3), of a gray picture (*size, 1), of the codes of one level or of all.

        They go through the `filter` of a file, if it has one.
        """
        ratios = self.ratios[: len(codes)]
        height, width = (-(-side // self.stride) for side in size)
        pixels = np.empty((height * self.stride, width * self.stride, 3), np.int16)
        with torch.inference_mode():
            for window in windows(height, width, CORE, self.margin):
                cuts = []
                for grid, ratio in zip(codes, ratios, strict=True):
                    rows, columns = _divided(window.region, ratio)
                    cut = np.ascontiguousarray(grid[:, rows, columns])
                    cuts.append(self._values(cut)[None])
                rows, columns = window.region
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                found = _unrounded(self.model.synthesize(cuts, self._level(level), shape))[0]
                pixels[_times(window.core, self.stride)] = found[_times(window.inner, self.stride)]
        return _shown(pixels, size, filter, gray)

    def synthesize_batch(self, codes: Sequence[Sequence[np.ndarray]], headers: Sequence[Header]) -> list[np.ndarray]:
        """`synthesize` of many pictures; small ones of one size and level go through the networks together."""
        pixels: list[np.ndarray] = [np.empty(0, np.uint8)] * len(codes)
        for some in self._alike([(header.height, header.width) for header in headers]):
            levels = [headers[number].quality / 16 for number in some]
            first, size = headers[some[0]], (headers[some[0]].height, headers[some[0]].width)
            if len(some) == 1:
                grids = codes[some[0]]
                pixels[some[0]] = self.synthesize(grids, size, levels[0], gray=first.gray, filter=first.filter)
                continue
            with torch.inference_mode():
                values = [self._values(np.stack(grids)) for grids in zip(*(codes[n] for n in some), strict=True)]
                shape = (-(-size[0] // self.stride), -(-size[1] // self.stride))
                found = _unrounded(self.model.synthesize(values, self._level(*levels), shape))
            for number, shown in zip(some, found, strict=True):
                pixels[number] = _shown(shown, size, headers[number].filter, headers[number].gray)
        return pixels

    def _alike(self, sizes: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """The numbers of pictures of one size, as many as take the memory of a window; larger ones one by one."""
        numbers: dict[tuple[int, ...], list[int]] = {}
        for number, size in enumerate(sizes):
            numbers.setdefault(size, []).append(number)
        batches = []
        for size, alike in numbers.items():
            rows, columns = (-(-side // self.stride) for side in size)
            step = CORE * CORE // (rows * columns) if max(rows, columns) <= CORE else 1
            batches += [alike[at : at + step] for at in range(0, len(alike), step)]
        return batches

    def _codes(self, images: torch.Tensor, level: torch.Tensor, dead_zone: float) -> list[torch.Tensor]:
        if not self.model.config.centred:
            return self.model.analyze(images, level, dead_zone)
        latents = self.model.latents(images, level).clamp(-CODE_LIMIT, CODE_LIMIT)
        return [(latents * VALUE_UNIT).round()]

    def _values(self, codes: np.ndarray) -> torch.Tensor:
        """Codes as the model takes them."""
        values = torch.from_numpy(codes).to(self.device)
        return values.float() / VALUE_UNIT if self.model.config.centred else values.long()

    def _level(self, *levels: float) -> torch.Tensor:
        return torch.tensor(levels, device=self.device)


def _unrounded(images: torch.Tensor) -> np.ndarray:
    """Images (B, 3, H, W) float in [0, 1] as pixels (B, H, W, 3) int16 in 1/64 of 255, as filters take them."""
    pixels: np.ndarray = (images * (255.0 * 64.0)).round().to(torch.int16).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def _shown(pixels: np.ndarray, size: tuple[int, int], filter: bytes, gray: bool) -> np.ndarray:
    """Such pixels of one picture, as a decoder shows them: (*size, 3) uint8, of a gray picture (*size, 1)."""
    whole = np.ascontiguousarray(pixels)
    shown = _core.filtered(filter, whole) if filter else ((whole + 32) >> 6).astype(np.uint8)
    shown = shown[: size[0], : size[1]]
    return np.ascontiguousarray(_gray(shown) if gray else shown)


def _gray(pixels: np.ndarray) -> np.ndarray:
    """The mean of the channels, (H, W, 1) uint8."""
    mean: np.ndarray = (pixels.sum(axis=2, keepdims=True, dtype=np.uint16) + 1) // 3
    return mean.astype(np.uint8)


def _times(cells: Cells, factor: int) -> Cells:
    """Rows and columns of what is `factor` times as fine."""
    rows, columns = (slice(cell.start * factor, cell.stop * factor) for cell in cells)
    return rows, columns


def _divided(cells: Cells, ratio: int) -> Cells:
    """Mirror of `_times`: what covers the cells where one stands for `ratio` of them."""
    rows, columns = (slice(cell.start // ratio, -(-cell.stop // ratio)) for cell in cells)
    return rows, columns
