"""How inputs become the files of an archive: one by one, or on a device small pictures together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vqcodec import weights
from vqcodec.codec import Codec, load
from vqcodec.exact import encode_exact
from vqcodec.exact_pixels import ExactPicture
from vqcodec.pixels import Picture
from vqcodec.sources import EXACT, LOSSY, Item

TOGETHER = 32  # inputs that a device encodes together, from a multiple of it on: so a resumed run has the same again
SMALL = 3 << 20  # samples of a picture that waits for others

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """How pictures are encoded; another process can be told so, and loads the model for itself."""

    quality: float
    effort: int
    model: str | None
    lossless: bool
    device: str

    @property
    def together(self) -> int:
        """How many inputs are encoded together."""
        return 1 if self.lossless or self.device == "cpu" else TOGETHER

    def note(self) -> bytes:
        """What the header of an archive says of it (JSON)."""
        facts: dict[str, Any] = {"lossless": True}
        if not self.lossless:
            facts = {"effort": self.effort, "model": self.codec().model_id, "quality": self.quality}
        elif self.model is not None:
            facts["model"] = weights.resolve(self.model).model_id
        return json.dumps({"vqcodec": facts}, sort_keys=True).encode()

    def codec(self) -> Codec:
        """The model of a lossy archive, on its device."""
        return load(self.model or weights.DEFAULT, self.device)


class Encoder:
    """Makes a .vqc file of each of some inputs, or an error; several threads may call it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.lossless:
            self.pixels = None if settings.model is None else weights.resolve(settings.model).pixels
            return
        self.codec = settings.codec()
        if not self.codec.info.labels:
            self.codec.position(settings.quality)  # says at once what is wrong with it

    def __call__(self, items: Sequence[Item]) -> list[bytes | Exception]:
        if self.settings.together == 1:
            return [_attempt(self._encode, item) for item in items]
        found = [_attempt(self._load, item) for item in items]
        pictures = {number: picture for number, picture in enumerate(found) if isinstance(picture, Picture)}
        labels = [self._label(items[number]) for number in pictures]
        quality, effort = self.settings.quality, self.settings.effort
        files = self.codec.encode_batch(list(pictures.values()), quality, labels=labels, effort=effort, threads=1)
        encoded = dict(zip(pictures, files, strict=True))
        return [encoded[n] if isinstance(result, Picture) else result for n, result in enumerate(found)]

    def _encode(self, item: Item) -> bytes:
        return self._finish(item, item.load(EXACT if self.settings.lossless else LOSSY))

    def _load(self, item: Item) -> Picture | bytes:
        """The picture of an input if it is small, else its file."""
        picture = item.load(LOSSY)
        if isinstance(picture, Picture) and picture.pixels.size <= SMALL:
            self.codec.position(self.settings.quality, self._label(item))  # says what is wrong with the label
            return picture
        return self._finish(item, picture)

    def _finish(self, item: Item, picture: Picture | ExactPicture | bytes) -> bytes:
        if isinstance(picture, bytes):
            return picture
        if isinstance(picture, ExactPicture):
            return encode_exact(picture, pixels=self.pixels, threads=1)[0]
        quality, effort = self.settings.quality, self.settings.effort
        return self.codec.encode(picture, quality, label=self._label(item), effort=effort, threads=1)

    def _label(self, item: Item) -> int | None:
        return item.label if self.codec.info.labels else None


def _attempt(work: Callable[[Item], T], item: Item) -> T | Exception:
    try:
        return work(item)
    except Exception as error:
        return error
