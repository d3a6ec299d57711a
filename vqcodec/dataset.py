"""An archive as a torch data set: any order, any workers, pixels or codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from vqcodec.api import codes_batch, decode_batch
from vqcodec.archive import ArchiveReader, Record
from vqcodec.errors import InvalidInputError, VqcodecError


class ArchiveDataset(Dataset[Any]):
    """The records of an archive as (picture, label), or as pictures alone where the first one has no label.

    A picture is a uint8 tensor (3, H, W), or with `rgb=False` (1 to 4, H, W) as it was packed; with `what="codes"`
    an int32 tensor (N, h, w), or a tuple of one for each level. A record without a label among others has -1.
    Transforms get these tensors, as those of torchvision's v2 do.

    It can be pickled and used by forked and spawned workers. Batches are decoded as a whole, in a worker on one thread
    and else on all cores (or `threads`); `device="cuda"` runs the synthesis on a GPU, for loaders without workers.
    """

    def __init__(
        self,
        path: str | Path,
        what: Literal["pixels", "codes"] = "pixels",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        *,
        rgb: bool = True,
        model: str | Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        if what not in ("pixels", "codes"):
            raise InvalidInputError(f"what is 'pixels' or 'codes', not {what!r}")
        self.reader = ArchiveReader(path)
        self.what = what
        self.transform = transform
        self.target_transform = target_transform
        self.rgb = rgb
        self.model = model
        self.device = device
        self.threads = threads
        self.labelled = len(self.reader) > 0 and self.reader[0].label is not None

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, number: int) -> Any:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """The samples of a whole batch, in the order asked for."""
        records = self.reader.records(numbers)
        try:
            pictures = self._pictures([record.data for record in records])
        except VqcodecError:
            for number, record in zip(numbers, records, strict=True):
                self._name_error(number, record)
            raise
        if not self.labelled:
            return [self._transformed(picture) for picture in pictures]
        labels = [-1 if record.label is None else record.label for record in records]
        pairs = zip(pictures, labels, strict=True)
        return [(self._transformed(picture), self._target(label)) for picture, label in pairs]

    def _pictures(self, files: list[bytes]) -> list[Any]:
        if self.what == "codes":
            return [_codes(grids) for grids in codes_batch(files, model=self.model, threads=self._threads())]
        arrays = decode_batch(files, model=self.model, device=self.device, threads=self._threads())
        return [_tensor(_rgb(array) if self.rgb else array) for array in arrays]

    def _threads(self) -> int:
        if self.threads is not None:
            return self.threads
        return 0 if get_worker_info() is None else 1

    def _name_error(self, number: int, record: Record) -> None:
        try:
            self._pictures([record.data])
        except VqcodecError as error:
            raise type(error)(f"record {number}: {error}") from error

    def _transformed(self, picture: Any) -> Any:
        return picture if self.transform is None else self.transform(picture)

    def _target(self, label: int) -> Any:
        return label if self.target_transform is None else self.target_transform(label)


def _codes(grids: list[np.ndarray]) -> Any:
    tensors = tuple(torch.from_numpy(grid) for grid in grids)
    return tensors[0] if len(tensors) == 1 else tensors


def _rgb(array: np.ndarray) -> np.ndarray:
    """Three channels: gray thrice, without the alpha channel."""
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    return np.repeat(array[..., :1], 3, axis=2) if array.shape[2] < 3 else array[..., :3]


def _tensor(array: np.ndarray) -> torch.Tensor:
    planes = (array if array.ndim == 3 else array[..., None]).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes))  # numpy copies a small picture faster than torch does
