"""Models by hf:// address, out of a cache laid out as the hub does it; nothing is asked of a network."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import vqcodec
from vqcodec import weights
from vqcodec.errors import InvalidInputError, InvalidModelError, ModelMissingError

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUILTIN = weights.BUILTIN / "photo.safetensors"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with owner/photo, whose branch main and tag v1 are one commit."""
    root = tmp_path / "hub" / "models--owner--photo"
    blob = root / "blobs" / hashlib.sha256(BUILTIN.read_bytes()).hexdigest()
    snapshot = root / "snapshots" / COMMIT
    for folder in (blob.parent, snapshot / "other", root / "refs"):
        folder.mkdir(parents=True)
    blob.write_bytes(BUILTIN.read_bytes())
    os.symlink(os.path.relpath(blob, snapshot), snapshot / "model.safetensors")
    (snapshot / "other" / "broken.safetensors").write_bytes(b"not a model")
    for name in ("main", "v1"):
        (root / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize("revision", ["", "@main", "@v1", f"@{COMMIT}"])
def test_models_are_found(cache: Path, revision: str) -> None:
    codec, builtin = vqcodec.load(f"hf://owner/photo{revision}"), vqcodec.load("photo")
    assert codec.model_id == builtin.model_id
    image = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    assert codec.encode(image) == builtin.encode(image)
    assert vqcodec.load(f"hf://owner/photo{revision}#{builtin.model_id}").model_id == builtin.model_id


@pytest.mark.parametrize(
    ("address", "error", "cause"),
    [
        ("hf://owner/photo#0000000000000000", InvalidModelError, "holds the model"),
        ("hf://owner/photo/other/broken.safetensors", InvalidModelError, "not a vqcodec model file"),
        ("hf://owner/photo@v2", ModelMissingError, "hf://owner/photo@v2: "),
        ("hf://owner/photo/none.safetensors", ModelMissingError, "none.safetensors: "),
        ("hf://nobody/nothing", ModelMissingError, "hf://nobody/nothing: "),
        ("hf://owner", InvalidInputError, "is not hf://"),
        ("hf://owner/photo/model.pkl", InvalidInputError, "is not hf://"),
        ("hf://owner/photo/../model.safetensors", InvalidInputError, "is not hf://"),
    ],
)
def test_what_is_not_there_is_named(cache: Path, address: str, error: type[Exception], cause: str) -> None:
    with pytest.raises(error, match=cause):
        vqcodec.load(address)
