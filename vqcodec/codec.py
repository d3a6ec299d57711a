"""Codec: image to bytes and back, the one place where all steps meet.

encode: pixels -> analysis -> codes (-> filter) -> integer prior -> range coder -> container -> bytes
decode: bytes -> container -> range coder -> integer prior -> codes -> synthesis (-> filter) -> pixels
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from vqcodec import _core, weights
from vqcodec.errors import CorruptedError, InvalidInputError
from vqcodec.limits import MAX_PIXELS, check_size
from vqcodec.target import Attempt, Setting, searched_within

if TYPE_CHECKING:  # numpy alone takes as long to load as a picture to decode: what an image does not need waits
    import numpy as np

    from vqcodec.config import ModelConfig
    from vqcodec.exact import Preview
    from vqcodec.pixels import Picture
    from vqcodec.transform import Transform

DEFAULT_EFFORT = 1  # the most that takes about 2 s for a picture of 768x512 on two cores
SEARCH_EFFORT, MAX_EFFORT = 2, 3  # the most that needs no torch, and the most
QUALITY_STEPS = 16  # positions of the header's quality byte between two quality levels


@dataclass(frozen=True)
class Report:
    """What an encode came to: `file_bytes` on disk, `model_bits` of the prior's cross entropy, `bpp` of the file."""

    width: int
    height: int
    file_bytes: int
    model_bits: float
    model: str
    quality: float | None  # None where the model has one quality, or labels
    label: int | None

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8.0 * self.file_bytes / (self.width * self.height)

    @property
    def overhead(self) -> float:
        """Bytes of the file, alpha channel included, beyond the prior's cross entropy, as a share of the latter."""
        return self.file_bytes / max(self.model_bits / 8.0, 1e-9) - 1.0

    @property
    def summary(self) -> str:
        """All of it in a line."""
        quality = "" if self.quality is None else f"quality {self.quality:.3g}, "
        label = "" if self.label is None else f"label {self.label}, "
        size = f"{self.width}x{self.height}, {quality}{label}{self.bpp:.3f} bpp, {self.file_bytes} bytes"
        return f"{size} (prior's own entropy {self.model_bits / 8:.0f}, {100 * self.overhead:+.1f} %)"


class Codec:
    """One model, ready to encode and decode.

    On the CPU all networks run in exact integers in Rust: the same bytes and pixels on every machine, with
    any number of `threads` (0: all cores). `device="cuda"` runs analysis and synthesis in torch instead:
    its files decode like any others, its pixels may differ by 1 of 255.

    Shapes: images (H, W, 3), (H, W), (H, W, 4) or (H, W, 2) uint8, or Pillow images; codes one int32
    array (N, h, w) per level, which count by `code_unit`. Errors are those of `vqcodec.errors`.
    """

    def __init__(self, model: weights.ModelInfo, device: str = "cpu") -> None:
        self.info = model
        self.device = device
        self._model = model.codes
        if device != "cpu":
            self._transform  # noqa: B018  say at once where there is no such device

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.info.name

    @property
    def model_id(self) -> str:
        """Content hash of the model file, 16 hex digits: the name that streams carry."""
        return self.info.model_id

    @cached_property
    def _transform(self) -> Transform:
        """The networks in torch: for a GPU, and for the highest effort."""
        from vqcodec.transform import Transform

        return Transform(weights.load_networks(self.info), self.device)

    def _analyze(self, pixels: np.ndarray, position: int, dead_zone: int, threads: int) -> list[np.ndarray]:
        if self.device != "cpu":
            found = self._transform.analyze(pixels, position / QUALITY_STEPS, dead_zone / 256.0)
            return _core.settle(self._model, position, found, dead_zone, threads)
        return _core.analyze(self._model, pixels, position, threads, dead_zone)

    def _decoded(
        self, data: bytes, levels: int, max_pixels: int, threads: int
    ) -> tuple[bytearray, tuple[int, int, int], np.ndarray | None]:
        """Samples of the shape (height, width, 1 or 3), and the alpha channel."""
        header = _core.read_header(data, max_pixels)
        if header.exact is not None and not levels:
            raise InvalidInputError("the file is lossless: read it with vqcodec.decode, or its preview alone by levels")
        check_size(header.height, header.width, max_pixels)
        if self.device != "cpu":
            codes = self.codes(data, levels=levels, max_pixels=max_pixels, threads=threads)
            size, level = (header.height, header.width), header.quality / QUALITY_STEPS
            filter = header.filter if levels in (0, len(header.levels)) else b""
            decoded = self._transform.synthesize(codes, size, level, gray=header.gray, filter=filter)
            samples, shape = bytearray(decoded), decoded.shape
        else:
            samples, shape = _core.decode(self._model, data, max_pixels, threads, levels)
        whole = levels in (0, len(header.levels))
        return samples, shape, _alpha(data, header, max_pixels) if whole else None

    def encode(
        self,
        image: Picture | Image.Image | np.ndarray,
        quality: float = 50.0,
        *,
        label: int | None = None,
        target_bytes: int | None = None,
        effort: int = DEFAULT_EFFORT,
        verify: bool = True,
        threads: int = 0,
    ) -> bytes:
        """Compress an image at quality 0..100, or into at most `target_bytes` (which then choose the quality).

        A model with labels takes the picture's `label`, 0 to `info.labels - 1`, in place of a quality.
        An `effort` of 1 or 2 searches for codes that cost less, in bits and error, than those nearest to the image,
        which an effort of 0 takes, or fewer bits at about the same cost, and fits a filter that decoders end with;
        3 refines the codes by gradients, which needs torch and about a minute. Only codes that count from the prior's
        means are searched for. With `verify` the bytes are decoded to codes and compared first.
        """
        return self.encode_report(
            image, quality, label=label, target_bytes=target_bytes, effort=effort, verify=verify, threads=threads
        )[0]

    def encode_report(
        self,
        image: Picture | Image.Image | np.ndarray,
        quality: float = 50.0,
        *,
        label: int | None = None,
        target_bytes: int | None = None,
        effort: int = DEFAULT_EFFORT,
        verify: bool = True,
        threads: int = 0,
    ) -> tuple[bytes, Report]:
        """`encode`, and what it came to."""
        from vqcodec.pixels import Picture, from_image

        picture = image if isinstance(image, Picture) else from_image(image)

        def attempt(position: int, dead_zone: int, effort: int, worth: float = 1.0) -> Attempt:
            codes = self._analyze(picture.pixels, position, dead_zone, threads)
            return self._written(picture, (position, dead_zone), codes, effort, threads, worth)

        if target_bytes is None:
            found = attempt(self.position(quality, label), 0, effort)
        elif self.info.labels:
            raise InvalidInputError(f"model {self.name} has labels in place of qualities: no file size can be aimed at")
        else:
            found = searched_within(attempt, self._positions, target_bytes, effort)
            quality = 100.0 * found.position / max(self._positions - 1, 1)
        if verify:
            self._verify(found.data, found.codes, picture.alpha, threads)
        height, width = picture.pixels.shape[:2]
        one = self.info.labels or self.info.quality_levels == 1
        chosen = (None if one else quality, label)
        return found.data, Report(width, height, len(found.data), found.bits, self.model_id, *chosen)

    def encode_batch(
        self,
        images: Sequence[Picture | Image.Image | np.ndarray],
        quality: float = 50.0,
        *,
        labels: Sequence[int | None] | None = None,
        effort: int = DEFAULT_EFFORT,
        verify: bool = True,
        threads: int = 0,
    ) -> list[bytes]:
        """`encode` of several images, each on one of the threads: for small pictures much faster than one by one.

        On a GPU pictures of one size go through the networks together; there the last bits of what these give, and so
        a code here and there, depend on which pictures those are.
        """
        from vqcodec.pixels import Picture, from_image

        pictures = [image if isinstance(image, Picture) else from_image(image) for image in images]
        if labels is not None and len(labels) != len(pictures):
            raise InvalidInputError(f"there are {len(labels)} labels for {len(pictures)} images")
        positions = [self.position(quality, label) for label in labels or [None] * len(pictures)]
        analyzed: list[list[np.ndarray]] = []
        if self.device != "cpu":
            levels = [position / QUALITY_STEPS for position in positions]
            analyzed = self._transform.analyze_batch([picture.pixels for picture in pictures], levels)

        def encode(number: int) -> bytes:
            picture, position = pictures[number], positions[number]
            if analyzed:
                codes = _core.settle(self._model, position, analyzed[number], 0, 1)
            else:
                codes = self._analyze(picture.pixels, position, 0, 1)
            found = self._written(picture, (position, 0), codes, effort, 1)
            if verify:
                self._verify(found.data, found.codes, picture.alpha, 1)
            return found.data

        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            return list(pool.map(encode, range(len(pictures))))

    def preview(self, image: Picture | Image.Image | np.ndarray, quality: float = 0.0, threads: int = 0) -> Preview:
        """Codes of an image for `encode_exact`; above the lowest quality its samples may count on them."""
        from vqcodec.pixels import Picture, from_image

        picture = image if isinstance(image, Picture) else from_image(image)
        position = self.position(quality) if quality else 0
        return self._model, position, self._analyze(picture.pixels, position, 0, threads), position > 0

    def _written(
        self,
        picture: Picture,
        setting: Setting,
        codes: list[np.ndarray],
        effort: int,
        threads: int,
        worth: float = 1.0,
    ) -> Attempt:
        """The file of a picture's codes, or of those that an effort finds instead.

        To the search errors are `worth` so many times as much as the model says.
        """
        from vqcodec.pixels import alpha_to_bytes

        (position, dead_zone), filter = setting, b""
        if effort and self.searches:
            weight = self._lambda(position) / 3.0
            codes = self._searched(picture.pixels, position, codes, effort, threads, worth)
            filter = _core.fit_filter(self._model, codes, picture.pixels, position, weight, threads)
        height, width = picture.pixels.shape[:2]
        alpha = None if picture.alpha is None else alpha_to_bytes(picture.alpha)
        size = (width, height)
        data, bits = _core.write_file(self._model, *size, position, codes, picture.gray, alpha, threads, filter)
        return Attempt(position, dead_zone, codes, data, bits)

    def _searched(
        self, pixels: np.ndarray, position: int, codes: list[np.ndarray], effort: int, threads: int, worth: float
    ) -> list[np.ndarray]:
        """Codes that cost less than the given ones, or fewer bits at about the same cost."""
        weight = worth * self._lambda(position) / 3.0

        def search(codes: list[np.ndarray]) -> list[np.ndarray]:
            return _core.search(self._model, codes, pixels, position, weight, min(effort, SEARCH_EFFORT), threads)

        def cost(codes: list[np.ndarray]) -> float:
            filter = _core.fit_filter(self._model, codes, pixels, position, weight, threads)
            bits = _core.cross_entropy(self._model, position, codes, threads) + 8 * len(filter)
            height, width = pixels.shape[:2]
            shown = _core.synthesize(self._model, codes, height, width, position, threads, filter)
            return bits + weight * float(((shown.astype(float) - pixels) ** 2).sum())

        if effort > MAX_EFFORT:
            raise InvalidInputError(f"there is no such effort: the most is {MAX_EFFORT}")
        if effort <= SEARCH_EFFORT:
            return search(codes)
        try:
            from vqcodec.refine import refine
        except ModuleNotFoundError as error:
            raise InvalidInputError(f"effort {effort} needs {error.name}: pip install 'vqcodec[train]'") from error
        searched = search(codes)
        refined = [refine(self._transform.model, pixels, position / QUALITY_STEPS, searched[0])]
        refined = search(_core.settle(self._model, position, refined, 0, threads))
        return min((searched, refined), key=cost)

    def decode(self, data: bytes, *, levels: int = 0, max_pixels: int = MAX_PIXELS, threads: int = 0) -> np.ndarray:
        """Mirror of `encode`: an uint8 array of the shape that was encoded.

        The first `levels` of a hierarchy alone (0: all) give a coarse picture, without the alpha channel; they
        need no more of the file than the part that holds them.
        """
        import numpy as np

        samples, shape, alpha = self._decoded(data, levels, max_pixels, threads)
        return _array(np.frombuffer(samples, np.uint8).reshape(shape), alpha)

    def decode_image(
        self, data: bytes, *, levels: int = 0, max_pixels: int = MAX_PIXELS, threads: int = 0
    ) -> Image.Image:
        """`decode` as a PIL image of mode L, LA, RGB or RGBA."""
        samples, (height, width, channels), alpha = self._decoded(data, levels, max_pixels, threads)
        image = Image.frombytes("RGB" if channels == 3 else "L", (width, height), samples)
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
        return image

    def decode_batch(
        self, files: Sequence[bytes], *, max_pixels: int = MAX_PIXELS, threads: int = 0
    ) -> list[np.ndarray]:
        """`decode` of several files, which share the threads: for small pictures much faster than one by one.

        On a GPU pictures of one size and quality go through the networks together.
        """
        headers = [_core.read_header(data, max_pixels) for data in files]
        if self.device == "cpu":
            found = _core.decode_batch(self._model, files, max_pixels, threads)
        else:
            codes = _core.read_batch(self._model, files, max_pixels, threads)
            found = self._transform.synthesize_batch(codes, headers)
        alpha = [_alpha(data, header, max_pixels) for data, header in zip(files, headers, strict=True)]
        return [_array(*layers) for layers in zip(found, alpha, strict=True)]

    def codes_batch(
        self, files: Sequence[bytes], *, max_pixels: int = MAX_PIXELS, threads: int = 0
    ) -> list[list[np.ndarray]]:
        """`codes` of several files, which share the threads."""
        return _core.read_batch(self._model, files, max_pixels, threads)

    def sample(
        self,
        height: int,
        width: int,
        quality: float = 50.0,
        *,
        label: int | None = None,
        seed: int = 0,
        threads: int = 0,
    ) -> np.ndarray:
        """A picture (height, width, 3) uint8 of codes drawn from the prior: a seed gives the same one everywhere."""
        position = self.position(quality, label)
        codes = _core.sample(self._model, position, height, width, seed)
        return _core.synthesize(self._model, codes, height, width, position, threads)

    def codes(
        self, data: bytes, *, levels: int = 0, max_pixels: int = MAX_PIXELS, threads: int = 0
    ) -> list[np.ndarray]:
        """Codes of a file's first `levels` (0: all), exactly as encoded."""
        return _core.read_codes(self._model, data, max_pixels, threads, levels)

    @property
    def code_unit(self) -> int:
        """What codes count by: 256 where they are values in 1/256 (`ModelConfig.centred`), else 1."""
        from vqcodec.config import VALUE_UNIT

        return VALUE_UNIT if self._config.centred else 1

    @property
    def searches(self) -> bool:
        """Whether an `effort` changes anything: codes count from their means, and squared errors are what counts."""
        return self._config.centred and self._config.distortion == "mse"

    @cached_property
    def _config(self) -> ModelConfig:
        return weights.model_config(self.info)

    def _lambda(self, position: int) -> float:
        """Bits that a pixel's error is worth, mean over its colours of squares of 0..255."""
        return float(self._config.lambda_at(position / QUALITY_STEPS))

    def position(self, quality: float, label: int | None = None) -> int:
        """The header's quality byte for a quality of 0..100, or for a model with labels for one of these."""
        labels = self.info.labels
        if label is not None and not 0 <= label < labels:
            raise InvalidInputError(f"model {self.name} has no label {label}: it has {labels or 'none'}")
        if label is not None:
            return label * QUALITY_STEPS
        if labels:
            raise InvalidInputError(f"model {self.name} needs a picture's label, 0 to {labels - 1}")
        if not 0.0 <= quality <= 100.0:
            raise InvalidInputError(f"quality {quality} is not between 0 and 100")
        return round(quality / 100.0 * (self._positions - 1))

    @property
    def _positions(self) -> int:
        """Quality positions, both ends included."""
        return (self.info.quality_levels - 1) * QUALITY_STEPS + 1

    def _verify(self, data: bytes, codes: list[np.ndarray], alpha: np.ndarray | None, threads: int) -> None:
        import numpy as np

        from vqcodec.pixels import alpha_from_bytes

        again = self.codes(data, threads=threads)
        if not all(np.array_equal(a, b) for a, b in zip(again, codes, strict=True)):
            raise CorruptedError("the encoded bytes do not decode to the codes they were made from")
        stored = _core.read_alpha(data)
        if alpha is not None and (stored is None or not np.array_equal(alpha, alpha_from_bytes(stored, *alpha.shape))):
            raise CorruptedError("the encoded bytes do not decode to the alpha channel they were made from")


def _alpha(data: bytes, header: _core.Header, max_pixels: int) -> np.ndarray | None:
    """The alpha channel (H, W) of a whole file, if it has one."""
    stored = _core.read_alpha(data, max_pixels) if header.has_alpha else None
    if stored is None:
        return None
    from vqcodec.pixels import alpha_from_bytes

    return alpha_from_bytes(stored, header.height, header.width)


def _array(colour: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Colour (H, W, 1 or 3) and alpha (H, W) as one array, of shape (H, W) where there is one channel."""
    import numpy as np

    layers = colour if alpha is None else np.concatenate([colour, alpha[..., None]], axis=2)
    return layers[..., 0] if layers.shape[2] == 1 else layers


@lru_cache(maxsize=4)
def codec_of(model: weights.ModelInfo, device: str = "cpu") -> Codec:
    """The codec of a model, made once."""
    return Codec(model, device)


def load(model: str | Path = weights.DEFAULT, device: str = "cpu") -> Codec:
    """Codec of a built-in model's name or of a model file."""
    return codec_of(weights.resolve(model), device)


def codec_for(
    data: bytes, model: str | Path | None = None, device: str = "cpu", *, max_pixels: int = MAX_PIXELS
) -> Codec:
    """The codec that a file needs: the given model, else the built-in one with the id in its header."""
    header = _core.read_header(data, max_pixels)
    if not header.levels:
        raise InvalidInputError("the file is lossless: it holds no codes")
    given = weights.resolve(model) if model else None
    return codec_of(given if given and given.kind == "codes" else weights.find(header.model_id), device)
