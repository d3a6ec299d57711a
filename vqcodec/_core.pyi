"""The exact half of vqcodec, in Rust: codes to bytes and back, on any machine the same.

All functions release the GIL while they work. Bytes are `bytes`; arrays must have exactly the
stated dtype and be C-contiguous, they are never converted silently (TypeError for a wrong dtype,
InvalidInputError for a wrong shape or layout). Errors are those of :mod:`vqcodec.errors`.

`threads = 0` means as many as there are cores, more than 256 mean 256 and negative numbers are an
InvalidInputError; results never depend on it. `max_pixels` bounds width x height of the pictures
that are read (LimitError above it).
"""

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ArchiveIndex",
    "Block",
    "BlockWriter",
    "Header",
    "Model",
    "PixelModel",
    "StaticPrior",
    "analyze",
    "cross_entropy",
    "decode",
    "decode_batch",
    "filtered",
    "fit_filter",
    "head_outputs",
    "kernel",
    "model_config",
    "model_id",
    "read_alpha",
    "read_archive_start",
    "read_batch",
    "read_block_header",
    "read_codes",
    "read_exact",
    "read_exact_batch",
    "read_header",
    "read_metadata",
    "sample",
    "search",
    "synthesize",
    "verify_checksums",
    "write_archive_end",
    "write_archive_start",
    "write_exact",
    "write_file",
]

@final
class Model:
    """A model file's integer networks, proven free of overflow."""

    def __new__(cls, data: bytes) -> Model:
        """Read the bytes of a model file (safetensors); InvalidModelError says what is wrong."""

    @property
    def id(self) -> str:
        """The start of the file's SHA-256, 16 hex digits: what streams name the model by."""

    @property
    def config(self) -> str:
        """The config, JSON as it stands in the file."""

    @property
    def has_transform(self) -> bool:
        """Whether there are networks between pixels and codes, as `analyze` and `synthesize` need."""

@final
class PixelModel:
    """A model of pixels, of small pictures or an expert for photos, for `write_exact` and `read_exact`."""

    def __new__(cls, data: bytes) -> PixelModel:
        """Read the bytes of a model file (safetensors); InvalidModelError says what is wrong."""

    @property
    def id(self) -> str:
        """The start of the file's SHA-256, 16 hex digits: what streams name the model by."""

    @property
    def config(self) -> str:
        """The config, JSON as it stands in the file."""

    def cross_entropy(self, pixels: NDArray[np.uint8]) -> float:
        """Bits of information in sRGB pixels (height, width, 3) under the model, with no file around them.

        InvalidInputError for an expert, which has no distribution of its own.
        """

@final
class Header:
    """What a file says about itself, without decoding it."""

    @property
    def version(self) -> int:
        """Version of the format."""

    @property
    def width(self) -> int:
        """Columns of pixels."""

    @property
    def height(self) -> int:
        """Rows of pixels."""

    @property
    def gray(self) -> bool:
        """Whether the picture has one colour channel."""

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha chunk."""

    @property
    def model_id(self) -> str:
        """Id of the model that decodes the file, 16 hex digits."""

    @property
    def needs_pixel_model(self) -> bool:
        """Whether the exact samples need a model of pixels."""

    @property
    def needs_preview(self) -> bool:
        """Whether the exact samples need the picture of the preview before them, and so its model."""

    @property
    def quality(self) -> int:
        """Position between the model's quality levels, in 1/16 of a level."""

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(stride in pixels, tile side in codes) of each level, coarse to fine."""

    @property
    def payload_bytes(self) -> list[int]:
        """Bytes of each level's payloads, checksums not counted."""

    @property
    def alpha_bytes(self) -> int:
        """Bytes of the alpha chunk, checksum not counted; 0 without one."""

    @property
    def exact(self) -> tuple[int, int] | None:
        """Channels and bits of a sample where the file holds all samples exactly."""

    @property
    def filter(self) -> bytes:
        """What the picture in the codes goes through at last, as `fit_filter` gives it; empty without one."""

    @property
    def metadata_bytes(self) -> int:
        """Bytes of the metadata chunk, checksum not counted; 0 without one."""

    @property
    def exact_bytes(self) -> int:
        """Bytes of the exact samples' payloads, checksums not counted; 0 without them."""

    @property
    def header_bytes(self) -> int:
        """Bytes before the first payload."""

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file, as the header says."""

@final
class BlockWriter:
    """Collects .vqc files into a block of an archive."""

    def add(self, file: bytes, name: str | None = None, label: int | None = None, extra: bytes | None = None) -> None:
        """Add a file, whose checksums are verified; a label has 32 bits (OverflowError above)."""

    def skip(self) -> None:
        """Note that an input was left out."""

    @property
    def full(self) -> bool:
        """Whether the block has to be closed: 256 records, or 256 KiB of files."""

    def __len__(self) -> int:
        """Number of records."""

    def finish(self) -> bytes:
        """Return the bytes of the block, which has at least one record, and begin the next one."""

@final
class Block:
    """A block of an archive that was read and checked."""

    def __new__(cls, data: bytes, front_only: bool = False) -> Block:
        """Read a whole block, or only what is before its payloads: `file` then raises InvalidInputError."""

    def __len__(self) -> int:
        """Number of records."""

    @property
    def skipped(self) -> int:
        """Inputs that were left out since the block before."""

    def file(self, record: int) -> bytes:
        """Return the .vqc file of a record, as it was added."""

    def header(self, record: int, max_pixels: int = 178_956_970) -> Header:
        """Return what the file of a record says about itself."""

    def tag(self, record: int) -> tuple[str | None, int | None, bytes]:
        """Return name, label and extra of a record."""

@final
class ArchiveIndex:
    """Where the blocks of a sealed archive are."""

    def __new__(cls, data: bytes, start: int, end: tuple[int, int]) -> ArchiveIndex:
        """Read the bytes of an index; `start` is the offset of the first block, `end` what `read_trailer` gave."""

    @staticmethod
    def read_trailer(trailer: bytes) -> tuple[int, int]:
        """Return the offset of the index and the number of records from the last 24 bytes of an archive."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""

    @property
    def records(self) -> int:
        """Number of records."""

    def place(self, block: int) -> tuple[int, int, int]:
        """Return offset, bytes and the number of the first record of a block."""

    def first(self, block: int) -> int:
        """Return the number of the first record of a block, or of what would come behind the last one."""

    def locate(self, record: int) -> tuple[int, int]:
        """Return the number of the block that a record is in, and its number in there."""

def write_exact(
    samples: NDArray[np.uint8] | NDArray[np.uint16],
    bits: int,
    metadata: bytes | None = None,
    preview: tuple[Model, int, Sequence[NDArray[np.int32]], bool] | None = None,
    threads: int = 0,
    pixels: PixelModel | None = None,
) -> bytes:
    """The file of all samples (height, width, 1 to 4 channels), each below 2^bits, exactly.

    Channels are gray, gray and alpha, sRGB, or sRGB and alpha; `preview` are a model, a quality position, the codes
    that stand in front of the samples, and whether 8-bit colours may count on their picture; `metadata` are bytes that
    mean nothing here. `pixels` may make a picture smaller, which then needs this model; it goes without a preview.
    """

def read_exact(
    data: bytes, max_pixels: int = 178_956_970, threads: int = 0, model: Model | PixelModel | None = None
) -> tuple[tuple[bytearray, tuple[int, int, int]], int]:
    """Mirror of `write_exact`: the samples, their shape and bits; above 8 bits a sample is two bytes, low first.

    ModelMismatchError where `model` is not the one that the file needs, InvalidInputError without one of its kind.
    """

def read_exact_batch(
    files: Sequence[bytes], max_pixels: int = 178_956_970, threads: int = 0, model: Model | PixelModel | None = None
) -> list[tuple[tuple[bytearray, tuple[int, int, int]], int]]:
    """Return what `read_exact` does for each of many files, which share the threads."""

def lessons(pixels: np.ndarray) -> list[np.ndarray]:
    """What a learned expert is trained by: int16 (H * W, inputs + 1) for green, red, blue of (H, W, 3) uint8 pixels.

    In raster order the inputs of its network at each pixel and, last, what the blend missed, in 1/16.
    """

def read_metadata(data: bytes, max_pixels: int = 178_956_970) -> bytes | None:
    """The metadata chunk of a file, None without one; the whole file is checked first."""

@final
class StaticPrior:
    """A fixed table of probabilities for each variable: the floor that a learned prior must beat."""

    def __new__(cls, counts: NDArray[np.int64]) -> StaticPrior:
        """Fit to int64 (n, 2 * W + 1) counts of the codes -W..=W, W <= 8191; each is raised by one.

        Codes outside the window can be coded, too: they cost an escape with the count of one.
        """

    def encode(self, codes: NDArray[np.int32]) -> bytes:
        """Return the payload, without any header, of int32 (n, h, w) codes within 16 bits."""

    def decode(self, data: bytes, shape: tuple[int, int, int]) -> NDArray[np.int32]:
        """Return the codes of a payload; `shape` is (n, h, w). CorruptedError where they do not fit."""

def read_header(data: bytes, max_pixels: int = 178_956_970) -> Header:
    """Read and check the header of a file, of which no more than the header has to be there."""

def verify_checksums(data: bytes, max_pixels: int = 178_956_970) -> Header:
    """Check the length of a whole file and all checksums in it; no model is needed."""

def read_alpha(data: bytes, max_pixels: int = 178_956_970) -> bytes | None:
    """Return the alpha chunk of a file, or None without one; the whole file is checked."""

def write_file(
    model: Model,
    width: int,
    height: int,
    quality: int,
    codes: Sequence[NDArray[np.int32]],
    gray: bool = False,
    alpha: bytes | None = None,
    threads: int = 0,
    filter: bytes | None = None,
) -> tuple[bytes, float]:
    """Return the file of a picture, and the bits of information in its codes (see cross_entropy).

    `codes` holds one int32 (n, h, w) array for each level, coarse to fine, within 16 bits, h and w being height
    and width divided by the level's stride, rounded up. `quality` is in 1/16 of a level, `filter` what
    `fit_filter` gave for these codes. LimitError where no reader would take the file, whatever its `max_pixels`.
    """

def read_codes(
    model: Model, data: bytes, max_pixels: int = 178_956_970, threads: int = 0, levels: int = 0
) -> list[NDArray[np.int32]]:
    """Return the codes of a file, int32 (n, h, w) for each level, coarse to fine; the whole file is checked first.

    Of the first `levels` only, where that is not 0: what is behind them is then not checked and may be
    missing (InvalidInputError for more levels than there are). ModelMismatchError, before anything is
    decoded, where the file names another model.
    """

def read_batch(
    model: Model, files: Sequence[bytes], max_pixels: int = 178_956_970, threads: int = 0
) -> list[list[NDArray[np.int32]]]:
    """Return what `read_codes` does for each of many files, which share the threads."""

def decode_batch(
    model: Model, files: Sequence[bytes], max_pixels: int = 178_956_970, threads: int = 0
) -> list[NDArray[np.uint8]]:
    """Return what `synthesize` makes of the codes of each of many files: uint8 (height, width, 3) pixels."""

def read_archive_start(data: bytes) -> tuple[bytes, int]:
    """Return the note of an archive and the offset of its first block, from its first 65552 bytes or all."""

def write_archive_start(note: bytes) -> bytes:
    """Return what comes before the first block of an archive."""

def write_archive_end(blocks: Sequence[tuple[int, int]], start: int) -> bytes:
    """Return what seals an archive of blocks, (bytes, records) each, the first of which begins at `start`."""

def read_block_header(data: bytes) -> tuple[int, int, int]:
    """Return a block's bytes up to its payloads, all of its bytes, and its records, from its first 18 bytes."""

def model_config(data: bytes) -> str:
    """Return the config of a model file, JSON as it stands there."""

def model_id(data: bytes) -> str:
    """Return the id of the model file with these bytes: the start of their SHA-256, 16 hex digits."""

def cross_entropy(
    model: Model, quality: int, codes: Sequence[NDArray[np.int32]], threads: int = 0, adaptive: bool = True
) -> float:
    """Return the bits of information in codes under the integer prior: what an ideal coder writes.

    The number is that of `write_file`, but nothing is written. Without `adaptive` scales do not
    adapt to the codes: the bits of the network alone.
    """

def analyze(
    model: Model, pixels: NDArray[np.uint8], quality: int, threads: int = 0, dead_zone: int = 0
) -> list[NDArray[np.int32]]:
    """Return the codes of uint8 (H, W, 3) sRGB pixels, int32 (n, h, w) for each level, coarse to fine.

    `quality` is in 1/16 of a level. Codes that count from their means are in 1/256.
    Before they are rounded, latents of a grid go towards its zero by `dead_zone` / 256 (0 to 255).
    """

def synthesize(
    model: Model,
    codes: Sequence[NDArray[np.int32]],
    height: int,
    width: int,
    quality: int,
    threads: int = 0,
    filter: bytes | None = None,
) -> NDArray[np.uint8]:
    """Mirror of `analyze`: the uint8 (height, width, 3) pixels of int32 (n, h, w) codes for each level.

    They go through the `filter` of a file, if there is one. The first of two levels may come alone: it gives a coarse
    picture of the same size.
    """

def sample(model: Model, quality: int, height: int, width: int, seed: int) -> list[NDArray[np.int32]]:
    """Codes of a picture drawn at random from the prior at a quality position: the same for a seed on every machine."""

def decode(
    model: Model, data: bytes, max_pixels: int = 178_956_970, threads: int = 0, levels: int = 0
) -> tuple[bytearray, tuple[int, int, int]]:
    """The picture in a file's first `levels` (0: all): its samples, and their shape (height, width, channels).

    A picture has 3 channels (sRGB), a gray one 1, the mean of these. Does not load numpy.
    """

def search(
    model: Model,
    codes: Sequence[NDArray[np.int32]],
    pixels: NDArray[np.uint8],
    quality: int,
    weight: float,
    effort: int,
    threads: int = 0,
) -> list[NDArray[np.int32]]:
    """Codes that cost fewer `bits + weight * squared error` (of 0..255, all colours) than `codes` of the pixels.

    Codes of fewer bits may cost up to 3 % more. The result depends on the arguments alone, not on threads or machine;
    effort 0 and codes that do not count from their means stay as they are. Pixels are uint8 (height, width, 3), codes
    int32 (n, h, w).
    """

def fit_filter(
    model: Model,
    codes: Sequence[NDArray[np.int32]],
    pixels: NDArray[np.uint8],
    quality: int,
    weight: float,
    threads: int = 0,
) -> bytes:
    """Return the filter that saves most of `bits + weight * squared error`; empty where none is worth its own bits.

    It is linear, and takes what `synthesize` makes of the codes nearer to the pixels. Arguments are those of
    `search`, on which alone the result depends.
    """

def filtered(filter: bytes, pixels: NDArray[np.int16], threads: int = 0) -> NDArray[np.uint8]:
    """Return pixels (height, width, 3) in 1/64 of 255, not rounded yet, as decoders show them, uint8.

    CorruptedError where `filter` is none that `fit_filter` gives.
    """

def settle(
    model: Model, quality: int, codes: Sequence[NDArray[np.int32]], dead_zone: int = 0, threads: int = 0
) -> list[NDArray[np.int32]]:
    """Return the codes that count from their means, nearest to numbers in 1/256; other codes stay as they are.

    Numbers, int32 (n, h, w), first go towards the means by up to `dead_zone` / 256 (0 to 255).
    """

def head_outputs(
    model: Model,
    quality: int,
    codes: NDArray[np.int32],
    slice: int,
    step: int,
    coarse: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Return the prior's parameters at the positions of one step, all codes being known.

    int32 (positions in raster order, outputs): all means then all classes of the slice's
    variables, or the logits variable by variable, neither clamped. For tests of the network. In a model
    of two levels `codes` are the coarse ones, or with `coarse` the fine ones that come after these.
    """

def kernel() -> str:
    """Return the name of the kernel that new models run on; VQCODEC_KERNEL forces one by name."""
