"""Model files: find one by name, path or content hash, load its networks.

A model file is safetensors: integer transform and prior, or integer networks for pixels, and a JSON config in the
metadata. Its SHA-256, cut to 16 hex digits, is the model id that every stream names.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqcodec import _core, architecture, hub
from vqcodec.config import ModelConfig, from_json
from vqcodec.errors import InvalidModelError, ModelMissingError

if TYPE_CHECKING:
    from vqcodec.models import VQVAE

BUILTIN = Path(__file__).parent / "builtin"
MAX_MODEL_BYTES = 1 << 30
DEFAULT = "photo"
EXPERT = "photo-exact"  # of lossless files

_loading = threading.Lock()


@dataclass(frozen=True)
class ModelInfo:
    """A model file on this machine; `model_id` is 16 hex digits, `bytes` the file's size.

    It is of codes, for lossy files and previews, or of pixels, for lossless files of small pictures.
    """

    name: str
    path: Path
    model_id: str
    bytes: int
    description: str
    quality_levels: int
    labels: int  # classes that take the place of the quality levels, 0: none
    stride: int
    runtime: _core.Model | _core.PixelModel = field(repr=False, compare=False)

    @property
    def kind(self) -> Literal["codes", "pixels"]:
        """What it is a model of."""
        return "codes" if isinstance(self.runtime, _core.Model) else "pixels"

    @property
    def codes(self) -> _core.Model:
        """The networks of a model of codes; InvalidModelError for any other."""
        if isinstance(self.runtime, _core.Model):
            return self.runtime
        raise InvalidModelError(f"{self.name} is a model of pixels, for lossless files alone")

    @property
    def pixels(self) -> _core.PixelModel:
        """The networks of a model of pixels; InvalidModelError for any other."""
        if isinstance(self.runtime, _core.PixelModel):
            return self.runtime
        raise InvalidModelError(f"{self.name} is a model of codes, which a lossless file has in its preview alone")


def list_models() -> list[ModelInfo]:
    """The built-in models, sorted by name."""
    return [_load(path) for path in _builtin_paths()]


def resolve(name: str | Path) -> ModelInfo:
    """The model of a built-in name, of a .safetensors path or of an `hf://` address (see `vqcodec.hub`).

    ModelMissingError when there is none of these.
    """
    if str(name).startswith(hub.PREFIX):
        path, model_id = hub.fetch(str(name))
        info = _load(path)
        if model_id not in (None, info.model_id):
            raise InvalidModelError(f"{name} holds the model {info.model_id}")
        return info
    builtin = BUILTIN / f"{name}.safetensors"
    if Path(name).name == str(name) and builtin.is_file():
        return _load(builtin)
    path = Path(name)
    if path.is_file():
        return _load(path)
    known = ", ".join(p.stem for p in _builtin_paths()) or "none"
    raise ModelMissingError(f"no model {str(name)!r}: neither a built-in name ({known}) nor a model file")


def find(model_id: str) -> ModelInfo:
    """The built-in model with this id; ModelMissingError naming the id when this machine lacks it."""
    default = resolve(DEFAULT)
    if default.model_id == model_id:
        return default
    for path in _builtin_paths():  # a hash takes a fraction of the time of loading
        stat = path.stat()
        if path != default.path and _id(path, stat.st_size, stat.st_mtime_ns) == model_id:
            return _load(path)
    raise ModelMissingError(f"the file needs model {model_id}, which is not built in; give its file with --model")


def load_networks(info: ModelInfo) -> VQVAE:
    """All networks in torch, float32, evaluation mode: what the integers stand for."""
    import torch

    from vqcodec import model_file
    from vqcodec.integer_prior import load_integer_prior
    from vqcodec.integer_transform import load_integer_transform
    from vqcodec.models import VQVAE

    model = VQVAE(model_config(info)).eval()
    data = _read(info.path)
    if _core.model_id(data) != info.model_id:
        raise InvalidModelError(f"{info.path} has changed since it was loaded")
    try:
        tensors = {name: torch.from_numpy(tensor) for name, tensor in model_file.load(data).items()}
        load_integer_transform(model, tensors)
        load_integer_prior(model, tensors)
    except (KeyError, RuntimeError) as error:
        raise InvalidModelError(f"{info.path}: a tensor is missing or of another shape: {error}") from error
    return model


def model_config(info: ModelInfo) -> ModelConfig:
    """The networks' shape from a model file's metadata, which must agree with what the runtime reads there."""
    stored = json.loads(info.codes.config)
    try:
        config = from_json(ModelConfig, json.dumps(stored["model"]))
        if architecture.runtime(config) != stored["runtime"]:
            raise ValueError("the networks' and the runtime's shape differ")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidModelError(f"{info.path}: model config: {error}") from error
    return config


def _builtin_paths() -> list[Path]:
    return sorted(BUILTIN.glob("*.safetensors"))


def _load(path: Path) -> ModelInfo:
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelMissingError(f"{path}: {error.strerror}") from error
    with _loading:  # once, though threads may ask at the same time
        return _load_version(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _load_version(path: Path, size: int, _modified: int) -> ModelInfo:
    try:
        data = _read(path)
        config = json.loads(_core.model_config(data))
        of_pixels = any(kind in config["runtime"] for kind in ("pixels", "expert"))
        runtime = (_core.PixelModel if of_pixels else _core.Model)(data)
        name, description = str(config["name"]), str(config["description"])
        levels, stride = (1 if of_pixels else int(config["runtime"][key]) for key in ("quality_levels", "stride"))
        labels = 0 if of_pixels else int(config.get("model", {}).get("labels", 0))
        if labels not in (0, levels):
            raise ValueError(f"it has {levels} quality levels, and cannot have {labels} labels")
    except (InvalidModelError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidModelError(f"{path} is not a vqcodec model file: {error}") from error
    return ModelInfo(name, path, runtime.id, size, description, levels, labels, stride, runtime)


@lru_cache(maxsize=16)
def _id(path: Path, _size: int, _modified: int) -> str:
    return _core.model_id(_read(path))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise InvalidModelError(f"{path} is larger than {MAX_MODEL_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelMissingError(f"{path}: {error.strerror}") from error
