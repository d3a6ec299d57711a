"""Pillow reads and writes .vqc files after `register_pillow()`, or after `import vqcodec.pillow_plugin`."""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, ImageFile

from vqcodec import _core
from vqcodec.api import decode_image, encode_lossless
from vqcodec.codec import DEFAULT_EFFORT, load
from vqcodec.errors import CorruptedError, NotVqcError, TruncatedError, VqcodecError

FORMAT = "VQC"
MAGIC = b"VQC\x1a"
NO_LIMIT = (1 << 63) - 1  # Pillow has its own one, which users may change
HEAD_BYTES = 4096
MAX_HEAD_BYTES = 8 << 20  # no header is longer


class VqcImageFile(ImageFile.ImageFile):
    """A .vqc file in Pillow: its header is read when it is opened, all else when it is loaded."""

    format = FORMAT
    format_description = "vqcodec, a learned image codec"

    def _open(self) -> None:
        assert self.fp is not None
        piece = self.fp.read(HEAD_BYTES)
        try:
            header = _header(piece)
        except TruncatedError:
            header = _header(piece + self.fp.read(MAX_HEAD_BYTES))
        self._size = header.width, header.height
        self._mode = _mode(header)
        if header.levels or header.needs_pixel_model:
            self.info["model_id"] = header.model_id
        if header.levels:
            self.info["quality_position"] = header.quality
        self._decoded = False

    def load(self) -> Any:
        """Decode the file, once."""
        if not self._decoded and self.fp is not None:
            data = self._whole()
            try:
                image = decode_image(data, max_pixels=NO_LIMIT)
            except (TruncatedError, CorruptedError) as error:
                raise OSError(str(error)) from error
            if (image.size, image.mode) != (self.size, self.mode):
                raise OSError("the picture is not what its header said")
            self._decoded = True
            self.info.update(image.info)
            self.im = image.im
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def verify(self) -> None:
        """Check length and checksums of the file; it cannot be used afterwards, as Pillow has it."""
        try:
            _core.verify_checksums(self._whole(), NO_LIMIT)
        except VqcodecError as error:
            raise OSError(str(error)) from error
        super().verify()

    def _whole(self) -> bytes:
        assert self.fp is not None
        self.fp.seek(0)
        return bytes(self.fp.read())


def _header(data: bytes) -> _core.Header:
    try:
        return _core.read_header(data, NO_LIMIT)
    except NotVqcError as error:
        raise SyntaxError(str(error)) from error  # what Pillow takes for "ask another plugin"
    except TruncatedError:
        if len(data) < HEAD_BYTES:
            raise OSError("the header of the file is truncated") from None
        raise
    except VqcodecError as error:
        raise OSError(str(error)) from error


def _mode(header: _core.Header) -> str:
    """Pillow's mode for a file's picture."""
    if header.exact is None:
        return ("L" if header.gray else "RGB") + ("A" if header.has_alpha else "")
    channels, bits = header.exact
    if bits > 8 and channels > 1:
        raise OSError(f"Pillow has no colour images of {bits} bits a sample: use vqcodec.decode")
    return "I;16" if bits > 8 else ("L", "LA", "RGB", "RGBA")[channels - 1]


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    options: dict[str, Any] = image.encoderinfo
    quality, effort = options.get("quality", 50.0), options.get("effort", DEFAULT_EFFORT)
    try:
        if options.get("lossless", False):
            data = encode_lossless(image, model=options.get("model"))[0]
        else:
            codec = load(options.get("model", "photo"))
            data = codec.encode(image, quality, label=options.get("label"), effort=effort)
    except VqcodecError as error:
        raise OSError(f"cannot write the image as VQC: {error}") from error
    stream.write(data)


def register_pillow() -> None:
    """Teach Pillow .vqc files: `Image.open`, `image.save("x.vqc", quality=50, effort=1)`, or with `lossless=True`."""
    Image.register_open(FORMAT, VqcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".vqc")
    Image.register_mime(FORMAT, "image/x-vqc")
