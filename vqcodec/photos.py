"""Training and validation pictures, decoded once into memory, and reproducible random crops of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vqcodec.errors import InvalidInputError, VqcodecError
from vqcodec.files import IMAGE_SUFFIXES
from vqcodec.pixels import from_image, open_image


def load_folders(folders: Sequence[Path]) -> list[np.ndarray]:
    """Decode every picture below some folders to RGB uint8 (H, W, 3), sorted by path."""
    files = sorted(f for folder in folders for f in Path(folder).rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InvalidInputError(f"no pictures in {', '.join(map(str, folders))}")
    return [_decode(file) for file in files]


def load_resized(folder: Path, scale: float) -> list[np.ndarray]:
    """The pictures below a folder at `scale` times their sides: other frequencies, and fewer traces of lossy files."""

    def side(length: int) -> int:
        return max(round(length * scale), 1)

    pictures = (Image.fromarray(picture) for picture in load_folders([folder]))
    resized = (one.resize((side(one.width), side(one.height)), Image.Resampling.LANCZOS) for one in pictures)
    return [np.asarray(one) for one in resized]


def _decode(file: Path) -> np.ndarray:
    try:
        return open_image(file).pixels
    except VqcodecError as error:
        raise InvalidInputError(f"{file}: {error}") from error


def load_classes(folder: Path) -> tuple[list[np.ndarray], list[int]]:
    """The pictures of a folder of one folder for each class, and their labels: the places of these by name."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise InvalidInputError(f"{folder} has no folders, one for each class of pictures")
    pictures = [load_folders([path]) for path in classes]
    labels = [label for label, found in enumerate(pictures) for _ in found]
    return [picture for found in pictures for picture in found], labels


def load_torchvision(name: str, root: Path) -> list[np.ndarray]:
    """Decode a torchvision dataset by class name (for instance CIFAR10) that is already stored at `root`."""
    import torchvision

    kind = getattr(torchvision.datasets, name, None)
    if kind is None:
        raise InvalidInputError(f"torchvision has no dataset {name!r}")
    try:
        return [from_image(item[0]).pixels for item in kind(root)]
    except (RuntimeError, TypeError) as error:
        raise InvalidInputError(f"torchvision {name} at {root}: {error}") from error


class CropSampler:
    """Random crops as a pure function of (seed, step, rank): a resumed run sees what the killed one would have seen.

    Crops are `crop` pixels wide, a multiple of `multiple`; smaller pictures are left out. Where all are
    smaller, the crop becomes what the largest of them allows. `notes` says what was done. There may be a label for
    each picture.
    """

    def __init__(
        self, photos: Sequence[np.ndarray], crop: int, multiple: int, seed: int, labels: Sequence[int] | None = None
    ) -> None:
        if crop % multiple:
            raise InvalidInputError(f"crops of this model are multiples of {multiple} pixels, not {crop}")
        sides = np.array([min(photo.shape[:2]) for photo in photos])
        self.crop = min(crop, int(sides.max(initial=0)) // multiple * multiple)
        if self.crop < multiple:
            raise InvalidInputError(f"no picture is as large as the smallest crop, {multiple}x{multiple} pixels")
        self.photos = [photo for photo, side in zip(photos, sides, strict=True) if side >= self.crop]
        self.known = None if labels is None else np.asarray(labels)[sides >= self.crop]
        self.notes: list[str] = []
        if self.crop < crop:
            self.notes.append(f"crops of {self.crop} instead of {crop} pixels: no picture is larger")
        if len(self.photos) < len(photos):
            self.notes.append(f"{len(photos) - len(self.photos)} pictures smaller than {self.crop} pixels left out")
        self.seed = seed
        areas = np.array([photo.shape[0] * photo.shape[1] for photo in self.photos], dtype=np.float64)
        self.shares = areas / areas.sum()

    def batch(self, step: int, rank: int, count: int) -> np.ndarray:
        """Crops (count, crop, crop, 3) uint8 of one training step, flipped and transposed at random."""
        rng, chosen = self._chosen(step, rank, count)
        return np.stack([self._crop(self.photos[i], self.crop, rng) for i in chosen])

    def labels(self, step: int, rank: int, count: int) -> np.ndarray | None:
        """The labels (count,) of the crops that `batch` gives, where there are any."""
        return None if self.known is None else self.known[self._chosen(step, rank, count)[1]]

    def _chosen(self, step: int, rank: int, count: int) -> tuple[np.random.Generator, np.ndarray]:
        rng = np.random.default_rng([self.seed, step, rank])
        return rng, rng.choice(len(self.photos), count, p=self.shares)

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
