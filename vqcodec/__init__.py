"""vqcodec: a learned image codec whose files decode everywhere.

    codec = vqcodec.load("photo")
    data = codec.encode(image, quality=50)  # bytes of a .vqc file
    image = vqcodec.decode(data)            # uint8 array

Names are imported on first use, so that `import vqcodec` is quick and loads neither torch nor Pillow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcodec._core import Header, read_header
    from vqcodec.api import codes, decode, decode_image, encode, verify
    from vqcodec.archive import ArchiveReader, Record
    from vqcodec.archive_writer import ArchiveWriter, merge, recover
    from vqcodec.codec import Codec, Report, load
    from vqcodec.dataset import ArchiveDataset
    from vqcodec.errors import VqcodecError
    from vqcodec.packing import pack
    from vqcodec.pillow import register_pillow
    from vqcodec.unpacking import unpack
    from vqcodec.weights import ModelInfo, list_models

__version__ = "0.1.0"

__all__ = [
    "ArchiveDataset",
    "ArchiveReader",
    "ArchiveWriter",
    "Codec",
    "Header",
    "ModelInfo",
    "Record",
    "Report",
    "VqcodecError",
    "codes",
    "decode",
    "decode_image",
    "encode",
    "list_models",
    "load",
    "merge",
    "pack",
    "read_header",
    "recover",
    "register_pillow",
    "unpack",
    "verify",
]

_HOMES = {
    "_core": ("Header", "read_header"),
    "archive": ("ArchiveReader", "Record"),
    "archive_writer": ("ArchiveWriter", "merge", "recover"),
    "api": ("codes", "decode", "decode_image", "encode", "verify"),
    "codec": ("Codec", "Report", "load"),
    "dataset": ("ArchiveDataset",),
    "errors": ("VqcodecError",),
    "packing": ("pack",),
    "pillow": ("register_pillow",),
    "unpacking": ("unpack",),
    "weights": ("ModelInfo", "list_models"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"vqcodec.{module}"), name)
    raise AttributeError(f"module 'vqcodec' has no attribute {name!r}")
