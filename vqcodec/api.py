"""Images to files and back, whatever the files need: which model, or none; one by one, or many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vqcodec import _core, weights
from vqcodec.codec import Codec, codec_for, codec_of, load
from vqcodec.errors import InvalidInputError
from vqcodec.exact import ExactReport, decode_exact, decode_exact_batch, encode_exact
from vqcodec.limits import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from vqcodec.exact_pixels import ExactPicture

T = TypeVar("T")


def encode(
    image: Image.Image | np.ndarray,
    quality: float = 50.0,
    *,
    model: str | Path | None = None,
    lossless: bool = False,
    preview: bool = False,
    preview_quality: float = 0.0,
) -> bytes:
    """Compress an image with a built-in model (`photo` unless told otherwise) or a model file; or `lossless`.

    Lossless files need no model, but RGB photos are smaller with one of pixels (`photo-exact`, and `tiny` where they
    are small). They may begin with a `preview`, which `decode(..., levels=1)` shows: the picture of a model of codes at
    `preview_quality`. Above the lowest it helps to predict 8-bit colours, too, which then need that model.
    """
    if lossless:
        return encode_lossless(image, model=model, preview=preview, preview_quality=preview_quality)[0]
    return load(model or weights.DEFAULT).encode(image, quality)


def encode_lossless(
    image: ExactPicture | Image.Image | np.ndarray,
    *,
    model: str | Path | None = None,
    preview: bool = False,
    preview_quality: float = 0.0,
    verify: bool = True,
    threads: int = 0,
) -> tuple[bytes, ExactReport]:
    """The lossless file of an image, and what it came to.

    The model is one of pixels, or with a `preview` (see `encode`) one of codes.
    """
    from vqcodec.exact_pixels import ExactPicture, exact_from_image

    picture = image if isinstance(image, ExactPicture) else exact_from_image(image)
    if preview:
        shown = load(model or weights.DEFAULT).preview(picture.to_8_bits(), preview_quality, threads)
        return encode_exact(picture, preview=shown, verify=verify, threads=threads)
    pixels = None if model is None else weights.resolve(model).pixels
    return encode_exact(picture, pixels=pixels, verify=verify, threads=threads)


def decode(
    data: bytes,
    *,
    model: str | Path | None = None,
    levels: int = 0,
    max_pixels: int = MAX_PIXELS,
    threads: int = 0,
) -> np.ndarray:
    """Mirror of `encode`: the file names its model (`model` gives its file where it is not built in).

    Returns uint8 of the shape that was encoded (uint16 for lossless files of more than 8 bits). The first `levels`
    alone give a coarse picture or a preview.
    """
    if _lossless(data, levels, max_pixels):
        return _decode_exact(data, model, max_pixels, threads).to_array()
    codec = codec_for(data, model, max_pixels=max_pixels)
    return codec.decode(data, levels=levels, max_pixels=max_pixels, threads=threads)


def decode_image(
    data: bytes,
    *,
    model: str | Path | None = None,
    levels: int = 0,
    max_pixels: int = MAX_PIXELS,
    threads: int = 0,
) -> Image.Image:
    """`decode` as a PIL image of mode L, LA, RGB, RGBA or I;16."""
    if _lossless(data, levels, max_pixels):
        return _decode_exact(data, model, max_pixels, threads).to_image()
    codec = codec_for(data, model, max_pixels=max_pixels)
    return codec.decode_image(data, levels=levels, max_pixels=max_pixels, threads=threads)


def codes(
    data: bytes, *, model: str | Path | None = None, max_pixels: int = MAX_PIXELS, threads: int = 0
) -> list[np.ndarray]:
    """Codes of a file, one int32 array (N, h, w) per level; in 1/256 for models of `code_unit` 256, as `photo` is."""
    return codec_for(data, model, max_pixels=max_pixels).codes(data, max_pixels=max_pixels, threads=threads)


def decode_batch(
    files: Sequence[bytes],
    *,
    model: str | Path | None = None,
    device: str = "cpu",
    max_pixels: int = MAX_PIXELS,
    threads: int = 0,
) -> list[np.ndarray]:
    """`decode` of several files, whatever models they name."""
    headers = [_core.read_header(data, max_pixels) for data in files]
    exact = [number for number, header in enumerate(headers) if header.exact is not None]
    samples = decode_exact_batch(
        [files[number] for number in exact],
        model=weights.resolve(model).runtime if model else None,
        max_pixels=max_pixels,
        threads=threads,
    )
    found = dict(zip(exact, samples, strict=True))
    others = [number for number in range(len(files)) if number not in found]
    models = [headers[number].model_id for number in others]
    decoded = _by_model([files[number] for number in others], models, model, device, lambda codec, part: (
        codec.decode_batch(part, max_pixels=max_pixels, threads=threads)
    ))  # fmt: skip
    found.update(zip(others, decoded, strict=True))
    return [found[number] for number in range(len(files))]


def codes_batch(
    files: Sequence[bytes], *, model: str | Path | None = None, max_pixels: int = MAX_PIXELS, threads: int = 0
) -> list[list[np.ndarray]]:
    """`codes` of several files, whatever models they name."""
    models = [_core.read_header(data, max_pixels).model_id for data in files]
    return _by_model(files, models, model, "cpu", lambda codec, part: codec.codes_batch(
        part, max_pixels=max_pixels, threads=threads
    ))  # fmt: skip


def verify(
    data: bytes, model: str | Path | None = None, *, max_pixels: int = MAX_PIXELS, threads: int = 0
) -> _core.Header:
    """Check a file wholly: checksums, model, every code, sample and the alpha channel; returns its header."""
    header = _core.verify_checksums(data, max_pixels)
    if header.exact is not None:
        _decode_exact(data, model, max_pixels, threads)
    if header.levels:
        codec_for(data, model, max_pixels=max_pixels).codes(data, max_pixels=max_pixels, threads=threads)
    stored = _core.read_alpha(data, max_pixels)
    if stored is not None:
        from vqcodec.pixels import alpha_from_bytes

        alpha_from_bytes(stored, header.height, header.width)
    return header


def verify_batch(
    files: Sequence[bytes], *, model: str | Path | None = None, max_pixels: int = MAX_PIXELS, threads: int = 0
) -> None:
    """`verify` of several files, alpha channels apart, which are only checked for damage."""
    with_codes = []
    for data in files:
        header = _core.verify_checksums(data, max_pixels)
        if header.exact is not None:  # one at a time: all of a block could be more than the memory holds
            _decode_exact(data, model, max_pixels, threads)
        if header.levels:
            with_codes.append(data)
    codes_batch(with_codes, model=model, max_pixels=max_pixels, threads=threads)


def _decode_exact(data: bytes, model: str | Path | None, max_pixels: int, threads: int) -> ExactPicture:
    """The exact picture of a lossless file."""
    runtime = weights.resolve(model).runtime if model else None
    return decode_exact(data, model=runtime, max_pixels=max_pixels, threads=threads)


def _lossless(data: bytes, levels: int, max_pixels: int) -> bool:
    """Whether the samples of a file are asked for that holds them exactly."""
    header = _core.read_header(data, max_pixels)
    if levels > len(header.levels):
        raise InvalidInputError(f"there are no {levels} levels, but {len(header.levels)}")
    return header.exact is not None and not levels


def _by_model(
    files: Sequence[bytes],
    models: Sequence[str],
    model: str | Path | None,
    device: str,
    work: Callable[[Codec, list[bytes]], list[T]],
) -> list[T]:
    """Work on the files of each of the `models` that they name together; results in the order of the files."""
    if model is not None and weights.resolve(model).kind == "codes":
        return work(load(model, device), list(files))
    numbers: dict[str, list[int]] = {}
    for number, model_id in enumerate(models):
        numbers.setdefault(model_id, []).append(number)
    found: dict[int, T] = {}
    for model_id, chosen in numbers.items():
        codec = codec_of(weights.find(model_id), device)
        found.update(zip(chosen, work(codec, [files[number] for number in chosen]), strict=True))
    return [found[number] for number in range(len(files))]
