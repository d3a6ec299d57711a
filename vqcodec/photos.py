"""Training and validation pictures, decoded once into memory, and reproducible random crops of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vqcodec.errors import InvalidInputError
from vqcodec.files import IMAGE_SUFFIXES
from vqcodec.pixels import from_image, open_image


def load_folders(folders: Sequence[Path]) -> list[np.ndarray]:
    """Decode every picture below some folders to RGB uint8 (H, W, 3), sorted by path."""
    files = sorted(f for folder in folders for f in Path(folder).rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InvalidInputError(f"no pictures in {', '.join(map(str, folders))}")
    return [open_image(file).pixels for file in files]


def load_torchvision(name: str, root: Path) -> list[np.ndarray]:
    """Decode a torchvision dataset by class name (for instance CIFAR10) that is already stored at `root`."""
    import torchvision

    kind = getattr(torchvision.datasets, name, None)
    if kind is None:
        raise InvalidInputError(f"torchvision has no dataset {name!r}")
    return [from_image(item[0]).pixels for item in kind(root)]


class CropSampler:
    """Random crops as a pure function of (seed, step, rank): a resumed run sees what the killed one would have seen."""

    def __init__(self, photos: Sequence[np.ndarray], crop: int, stride: int, seed: int) -> None:
        smallest = min(min(photo.shape[:2]) for photo in photos)
        self.crop = min(crop, smallest) // stride * stride
        if self.crop < stride:
            raise InvalidInputError(
                f"the smallest picture ({smallest} pixels) is smaller than the model's stride {stride}"
            )
        self.photos = photos
        self.seed = seed
        areas = np.array([photo.shape[0] * photo.shape[1] for photo in photos], dtype=np.float64)
        self.shares = areas / areas.sum()

    def batch(self, step: int, rank: int, count: int) -> np.ndarray:
        """Crops (count, crop, crop, 3) uint8 of one training step, flipped and transposed at random."""
        rng = np.random.default_rng([self.seed, step, rank])
        chosen = rng.choice(len(self.photos), count, p=self.shares)
        return np.stack([self._crop(self.photos[i], self.crop, rng) for i in chosen])

    def patches(self, count: int, side: int) -> np.ndarray:
        """Patches (count, side, side, 3) uint8 from everywhere, for the PCA."""
        rng = np.random.default_rng([self.seed, 1 << 31])
        chosen = rng.choice(len(self.photos), count, p=self.shares)
        return np.stack([self._crop(self.photos[i], side, rng) for i in chosen])

    @staticmethod
    def _crop(photo: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
        top = rng.integers(photo.shape[0] - side + 1)
        left = rng.integers(photo.shape[1] - side + 1)
        cut = photo[top : top + side, left : left + side]
        flips = rng.integers(8)
        if flips & 1:
            cut = cut[::-1]
        if flips & 2:
            cut = cut[:, ::-1]
        return cut.swapaxes(0, 1) if flips & 4 else cut


def centre_crops(photos: Sequence[np.ndarray], multiple: int, limit: int) -> Iterator[np.ndarray]:
    """The first `limit` pictures, each cut to multiples of `multiple` pixels (validation)."""
    for photo in photos[:limit]:
        height, width = (side // multiple * multiple for side in photo.shape[:2])
        yield photo[:height, :width]
