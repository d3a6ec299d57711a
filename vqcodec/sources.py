"""What can be packed: folders, tar files, arrays, data sets, iterables of pictures. Always in the same order."""

from __future__ import annotations

import json
import operator
import os
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from vqcodec.errors import InvalidInputError, UnsupportedImageError
from vqcodec.exact_pixels import ExactPicture, exact_from_image, open_exact
from vqcodec.files import IMAGE_SUFFIXES
from vqcodec.pixels import Picture, from_image, open_image

KNOWN = IMAGE_SUFFIXES | {".vqc"}  # pictures that are encoded already are packed as they are


@dataclass(frozen=True)
class Reading:
    """How image files, and images in memory, become what is encoded."""

    file: Callable[[Path | bytes], Picture | ExactPicture]
    image: Callable[[Any], Picture | ExactPicture]


LOSSY = Reading(open_image, from_image)
EXACT = Reading(open_exact, exact_from_image)

Load = Callable[[Reading], Picture | ExactPicture | bytes]


@dataclass(frozen=True)
class Item:
    """One input: `load`, which another thread may call, gives its picture, or the bytes of its .vqc file."""

    load: Load
    name: str | None = None
    label: int | None = None
    extra: bytes = b""


Items = Generator[Item, None, None]


class Source(Protocol):
    """Inputs in an order that never changes."""

    def count(self) -> int | None:
        """How many there are, where that is known."""

    def items(self, start: int) -> Items:
        """All from number `start` on."""


@dataclass(frozen=True)
class Part:
    """The inputs up to number `stop` of a whole from which `source` has those from number `begin` on."""

    source: Source
    begin: int
    stop: int

    def count(self) -> int:
        return self.stop

    def items(self, start: int) -> Items:
        yield from islice(self.source.items(start - self.begin), self.stop - start)


@runtime_checkable
class Counted(Source, Protocol):
    """A source that can be cut before its inputs are read."""

    def count(self) -> int:
        """How many inputs there are."""

    def cut(self, start: int, stop: int) -> Part:
        """Some of them, for another process: it carries no more than these, where that is possible."""


def parts(source: Source, start: int, size: int) -> Iterator[Part]:
    """A source from number `start` on in pieces of `size` inputs; read here, a piece at a time, where that must be."""
    if isinstance(source, Counted):
        count = source.count()
        for first in range(start, count, size):
            yield source.cut(first, min(first + size, count))
        return
    items = source.items(start)
    while loaded := list(islice(items, size)):
        yield Part(Samples(loaded), start, start + len(loaded))
        start += len(loaded)


def source_of(source: Any) -> Source:
    """The source behind a folder, a .tar, .npz or .npy file, an array, a data set, or an iterable."""
    if isinstance(source, str | Path):
        return _of_path(Path(source))
    if isinstance(source, np.ndarray):
        return Arrays(source)
    if hasattr(source, "iter_rows"):  # a ray.data.Dataset, which gives its rows in any order unless told
        source.context.execution_options.preserve_order = True
        return Stream(source.iter_rows())
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return Samples(source)
    if isinstance(source, Iterable):
        return Stream(source)
    raise InvalidInputError(f"cannot pack a {type(source).__name__}")


def _of_path(path: Path) -> Source:
    if path.is_dir():
        return Folder(path)
    if path.suffix == ".npy":
        return ArrayFile(path.absolute())
    if path.suffix == ".npz":
        return _npz(path)
    if ".tar" in path.suffixes or path.suffix in (".tgz", ".tbz2", ".txz"):
        return Tar(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    raise InvalidInputError(f"{path} is neither a folder nor a .tar, .npz or .npy file")


class Folder:
    """The images below a folder by their relative paths; folders of classes give labels, as in ImageFolder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: list[str] = []
        for folder, inner, names in os.walk(root, followlinks=True):
            inner.sort()
            below = Path(folder).relative_to(root)
            self.paths += [(below / name).as_posix() for name in sorted(names) if Path(name).suffix.lower() in KNOWN]
        if not self.paths:
            raise InvalidInputError(f"no image files in {root}")
        classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        labelled = all("/" in path for path in self.paths)
        self.labels = {name: number for number, name in enumerate(classes)} if labelled else {}

    def count(self) -> int:
        return len(self.paths)

    def cut(self, start: int, stop: int) -> Part:
        part = copy(self)
        part.root, part.paths = self.root.absolute(), self.paths[start:stop]
        return Part(part, start, stop)

    def items(self, start: int) -> Items:
        for path in self.paths[start:]:
            name = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
            yield Item(_file(self.root / path), name, self.labels.get(path.partition("/")[0]))


def _file(path: Path) -> Load:
    return lambda reading: path.read_bytes() if path.suffix.lower() == ".vqc" else reading.file(path)


class Tar:
    """The samples of a webdataset: members side by side that share a path up to the first dot of the file's name.

    The first image is the picture, `.cls` the label; all others become a JSON object, the extra of the record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path):
            pass  # says at once what is wrong with it

    def count(self) -> None:
        return None

    def items(self, start: int) -> Items:
        with tarfile.open(self.path, "r|*") as tar:
            members = (member for member in tar if member.isfile())
            for number, (key, group) in enumerate(groupby(members, lambda member: _key(member.name)[0])):
                if number < start:
                    continue
                sample = {}
                for member in group:
                    stream = tar.extractfile(member)
                    sample[_key(member.name)[1]] = b"" if stream is None else stream.read()
                yield _sample(key, sample)


def _key(name: str) -> tuple[str, str]:
    """What a member shares with the others of its sample, and its own part."""
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix


def _sample(key: str, members: dict[str, bytes]) -> Item:
    image = next((suffix for suffix in members if f".{suffix.rpartition('.')[2].lower()}" in KNOWN), None)
    if image is None:
        return Item(failing(UnsupportedImageError("the sample has no image")), key)
    data = members.pop(image)
    name, load = f"{key}.{image}", _bytes(data, image)
    try:
        label = int(members.pop("cls")) if "cls" in members else None
    except ValueError:
        return Item(failing(InvalidInputError("the .cls member is not an integer")), name)
    extra = json.dumps({suffix: _json(suffix, value) for suffix, value in members.items()}) if members else ""
    return Item(load, name, label, extra.encode())


def _bytes(data: bytes, suffix: str) -> Load:
    return lambda reading: data if suffix.lower().endswith("vqc") else reading.file(data)


def _json(suffix: str, data: bytes) -> Any:
    """Text and JSON as they are, other bytes as hex digits."""
    try:
        return json.loads(data) if suffix.endswith("json") else data.decode()
    except ValueError:
        return {"hex": data.hex()}


class Arrays:
    """Pictures of one uint8 (lossless also uint16) array, (N, H, W) or (N, H, W, channels), and maybe labels (N,)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None) -> None:
        if images.ndim not in (3, 4) or images.dtype not in (np.uint8, np.uint16):
            shape = f"{images.dtype} {images.shape}"
            raise InvalidInputError(f"expected uint8 images (N, H, W) or (N, H, W, 1 to 4), not {shape}")
        self.images, self.labels = images, labels

    def count(self) -> int:
        return len(self.images)

    def cut(self, start: int, stop: int) -> Part:
        labels = None if self.labels is None else self.labels[start:stop]
        return Part(Arrays(self.images[start:stop], labels), start, stop)

    def items(self, start: int) -> Items:
        for number in range(start, len(self.images)):
            label = None if self.labels is None else int(self.labels[number])
            yield Item(_picture(np.ascontiguousarray(self.images[number])), None, label)


class ArrayFile(Arrays):
    """The pictures of a .npy file, which every process maps into its memory for itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(np.load(path, mmap_mode="r", allow_pickle=False))
        self.path = path

    def __reduce__(self) -> tuple[type[ArrayFile], tuple[Path]]:
        return ArrayFile, (self.path,)

    def cut(self, start: int, stop: int) -> Part:
        return Part(self, 0, stop)


def _npz(path: Path) -> Arrays:
    """The one array of images in a file, and the one array of as many integers, if there is one."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    images = [name for name, array in arrays.items() if array.ndim in (3, 4) and array.dtype.kind == "u"]
    if len(images) != 1:
        found = ", ".join(images) or "none"
        raise InvalidInputError(f"{path} must hold one uint8 array of images (N, H, W, ...), and has: {found}")
    count = len(arrays[images[0]])
    labels = [array for array in arrays.values() if array.shape == (count,) and array.dtype.kind in "iu"]
    return Arrays(arrays[images[0]], labels[0] if len(labels) == 1 else None)


class Samples:
    """A data set by number: each sample an image, (image, label), or a mapping with "image" and maybe "label"."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def count(self) -> int:
        return len(self.samples)

    def cut(self, start: int, stop: int) -> Part:
        return Part(self, 0, stop)

    def items(self, start: int) -> Items:
        for number in range(start, len(self.samples)):
            try:  # here, and not in another thread: data sets need not allow that
                yield _of_sample(self.samples[number])
            except Exception as error:
                yield Item(failing(error))


class Stream:
    """The same samples from an iterable, which a resumed run goes through from its start."""

    def __init__(self, samples: Iterable[Any]) -> None:
        self.samples = samples

    def count(self) -> None:
        return None

    def items(self, start: int) -> Items:
        for sample in islice(self.samples, start, None):
            try:
                yield _of_sample(sample)
            except Exception as error:
                yield Item(failing(error))


def _of_sample(sample: Any) -> Item:
    if isinstance(sample, Item):
        return sample
    if isinstance(sample, Mapping):
        image = next((sample[key] for key in ("image", "img", "png", "jpg") if key in sample), None)
        return Item(_picture(image), None, _label(sample.get("label")))
    if isinstance(sample, tuple | list):
        return Item(_picture(sample[0]), None, _label(sample[1] if len(sample) > 1 else None))
    return Item(_picture(sample))


def _picture(image: Any) -> Load:
    if isinstance(image, bytes):
        return given(image)
    if isinstance(image, str | Path):
        return _file(Path(image))
    if hasattr(image, "detach"):  # a torch tensor: channels first
        image = np.asarray(image.detach().cpu())
        image = np.ascontiguousarray(image.transpose(1, 2, 0)) if image.ndim == 3 else image
    if isinstance(image, Image.Image):
        image.load()  # here: the file behind it may be closed later
    return lambda reading: reading.image(image)


def _label(label: Any) -> int | None:
    try:
        return None if label is None else operator.index(label)
    except TypeError:
        raise InvalidInputError(f"the label {label!r} is not an integer") from None


def given(data: bytes) -> Load:
    """The `load` of a .vqc file at hand."""
    return lambda reading: data


def failing(error: Exception) -> Load:
    """The `load` of an input that cannot be had."""

    def load(reading: Reading) -> bytes:
        raise error

    return load
