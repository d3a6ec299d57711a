"""vqcodec: a learned image codec whose files decode everywhere."""

from vqcodec._core import Header, read_header
from vqcodec.codec import Codec, Report, codes, decode, encode, load, verify
from vqcodec.errors import VqcodecError
from vqcodec.weights import ModelInfo, models

__version__ = "0.1.0"

__all__ = [
    "Codec",
    "Header",
    "ModelInfo",
    "Report",
    "VqcodecError",
    "codes",
    "decode",
    "encode",
    "load",
    "models",
    "read_header",
    "verify",
]
