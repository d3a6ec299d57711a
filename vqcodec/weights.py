"""Model files: find one by name, path or content hash, read its config, load its networks.

A model file is safetensors: integer transform, integer prior, and a JSON config in the metadata. Its
SHA-256, cut to 16 hex digits, is the model id that every stream names.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqcodec import _core, architecture
from vqcodec.config import ModelConfig, from_json
from vqcodec.errors import InvalidModelError, ModelMissingError

if TYPE_CHECKING:
    from vqcodec.models import VQVAE

BUILTIN = Path(__file__).parent / "builtin"
MAX_MODEL_BYTES = 1 << 30
MAX_METADATA_BYTES = 8 << 20
DEFAULT = "photo"


@dataclass(frozen=True)
class ModelInfo:
    """A model file on this machine; `model_id` is 16 hex digits, `bytes` the file's size."""

    name: str
    path: Path
    model_id: str
    bytes: int
    description: str
    quality_levels: int
    stride: int


def list_models() -> list[ModelInfo]:
    """The built-in models, sorted by name."""
    return [_describe(path) for path in sorted(BUILTIN.glob("*.safetensors"))]


def resolve(name: str | Path) -> ModelInfo:
    """The model of a built-in name or of a .safetensors path; ModelMissingError when there is neither."""
    builtin = BUILTIN / f"{name}.safetensors"
    if Path(name).name == str(name) and builtin.is_file():
        return _describe(builtin)
    path = Path(name)
    if path.is_file():
        return _describe(path)
    known = ", ".join(sorted(p.stem for p in BUILTIN.glob("*.safetensors"))) or "none"
    raise ModelMissingError(f"no model {str(name)!r}: neither a built-in name ({known}) nor a model file")


def find(model_id: str) -> ModelInfo:
    """The built-in model with this id; ModelMissingError naming the id when this machine lacks it."""
    for info in list_models():
        if info.model_id == model_id:
            return info
    raise ModelMissingError(f"the file needs model {model_id}, which is not built in; give its file with --model")


def load_runtime(info: ModelInfo) -> _core.Model:
    """The integer networks and prior of a model file, checked to be the one that was described."""
    model = _core.Model(_read(info.path))
    if model.id != info.model_id:
        raise InvalidModelError(f"{info.path} changed while it was being read")
    return model


def load_networks(info: ModelInfo) -> VQVAE:
    """All networks in torch, float32, evaluation mode: what the integers stand for."""
    from safetensors.torch import load

    from vqcodec.integer_prior import load_integer_prior
    from vqcodec.integer_transform import load_integer_transform
    from vqcodec.models import VQVAE

    model = VQVAE(model_config(info.path)).eval()
    try:
        tensors = load(_read(info.path))
        load_integer_transform(model, tensors)
        load_integer_prior(model, tensors)
    except (KeyError, RuntimeError) as error:
        raise InvalidModelError(f"{info.path}: a tensor is missing or of another shape: {error}") from error
    return model


def model_config(path: Path) -> ModelConfig:
    """The networks' shape from a model file's metadata, which must agree with what the runtime reads there."""
    stored = _metadata(path)
    try:
        config = from_json(ModelConfig, json.dumps(stored["model"]))
        if architecture.runtime(config) != stored["runtime"]:
            raise ValueError("the networks' and the runtime's shape differ")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidModelError(f"{path}: model config: {error}") from error
    return config


def _describe(path: Path) -> ModelInfo:
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelMissingError(f"{path}: {error.strerror}") from error
    return _describe_version(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _describe_version(path: Path, size: int, _modified: int) -> ModelInfo:
    config = _metadata(path)
    try:
        runtime = config["runtime"]
        levels, stride = int(runtime["quality_levels"]), int(runtime["stride"])
        name, description = str(config["name"]), str(config["description"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidModelError(f"{path}: config lacks {error}") from error
    return ModelInfo(name, path, _model_id(_read(path)), size, description, levels, stride)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise InvalidModelError(f"{path} is larger than {MAX_MODEL_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelMissingError(f"{path}: {error.strerror}") from error


def _metadata(path: Path) -> dict[str, Any]:
    """Config of a model file, from its safetensors header alone."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_METADATA_BYTES:
                raise ValueError("header too long")
            config = json.loads(json.loads(file.read(length))["__metadata__"]["config"])
            if not isinstance(config, dict):
                raise ValueError("config is not an object")
            return config
    except OSError as error:
        raise ModelMissingError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise InvalidModelError(f"{path} is not a vqcodec model file") from error


def _model_id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
