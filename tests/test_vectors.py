"""Golden files of every format version: they decode to the same codes and pixels; new ones encode to the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vqcodec import _core

VECTORS = Path(__file__).parent / "vectors"
FILES = sorted(VECTORS.glob("*.vqc"))
FILTERED = sorted((VECTORS / "filtered").glob("*.vqc"))
LOSSLESS = sorted((VECTORS / "lossless").glob("*.vqc"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file_decodes_the_same(path: Path) -> None:
    _, kind, name = path.stem.split("-")
    model = _core.Model((VECTORS / f"{kind}.safetensors").read_bytes())
    facts = json.loads((VECTORS / f"{kind}.json").read_text())[name]
    data = path.read_bytes()
    header = _core.verify_checksums(data)
    codes = _core.read_codes(model, data)
    assert codes[-1].shape == tuple(facts["shape"])
    assert sha256(*codes) == facts["codes_sha256"]
    if "pixels_sha256" in facts:
        pixels = _core.synthesize(model, codes, header.height, header.width, header.quality)
        assert sha256(pixels) == facts["pixels_sha256"]
    if "coarse_sha256" in facts:
        first = _core.read_codes(model, data, levels=1)
        assert (
            sha256(_core.synthesize(model, first, header.height, header.width, header.quality))
            == facts["coarse_sha256"]
        )
    again, bits = _core.write_file(model, header.width, header.height, header.quality, codes)
    if _core.read_header(again).version == header.version:
        assert again == data
        assert bits / 8 < len(data) < bits / 8 * 1.001 + 60


@pytest.mark.parametrize("path", LOSSLESS, ids=lambda path: path.stem)
def test_golden_lossless_file_decodes_the_same(path: Path) -> None:
    facts = json.loads((path.parent / "facts.json").read_text())[path.stem.partition("-")[2]]
    data = path.read_bytes()
    header = _core.verify_checksums(data)
    pixels = model = None
    if header.needs_pixel_model:
        pixels = _core.PixelModel((path.parent / f"{path.stem.partition('-')[2]}.safetensors").read_bytes())
        assert pixels.id == header.model_id
    elif header.levels:
        model = _core.Model((VECTORS / "picture.safetensors").read_bytes())
    assert header.needs_preview == path.stem.startswith("v9")
    (samples, shape), bits = _core.read_exact(data, model=pixels or (model if header.needs_preview else None))
    assert list(shape) == facts["shape"] and hashlib.sha256(samples).hexdigest() == facts["samples_sha256"]
    array = np.frombuffer(samples, "<u2" if bits > 8 else np.uint8).reshape(shape).astype(f"u{1 + (bits > 8)}")
    preview = None
    if model:
        preview = (model, header.quality, _core.read_codes(model, data, levels=1), header.needs_preview)
    again = _core.write_exact(array, bits, _core.read_metadata(data), preview, pixels=pixels)
    if _core.read_header(again).version == header.version:
        assert again == data


@pytest.mark.parametrize("path", FILTERED, ids=lambda path: path.stem)
def test_golden_filtered_file_decodes_the_same(path: Path) -> None:
    kind = path.stem.partition("-")[2]
    model = _core.Model((VECTORS / f"{kind}.safetensors").read_bytes())
    facts = json.loads((path.parent / "facts.json").read_text())[kind]
    data = path.read_bytes()
    header, codes = _core.verify_checksums(data), _core.read_codes(model, data)
    size = (header.height, header.width, header.quality)
    assert header.filter.hex() == facts["filter"]
    assert hashlib.sha256(_core.decode(model, data)[0]).hexdigest() == facts["pixels_sha256"]
    shown = _core.synthesize(model, codes, *size)
    assert hashlib.sha256(shown).hexdigest() != facts["pixels_sha256"]
    filter = _core.fit_filter(model, codes, np.roll(shown, 1, axis=1), header.quality, 0.02)
    assert filter == header.filter
    again, _ = _core.write_file(model, header.width, header.height, header.quality, codes, filter=filter)
    assert again == data


def sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_there_are_vectors() -> None:
    assert Counter(path.name[:2] for path in FILES) == {"v1": 12, "v2": 21}
    assert Counter(path.name[:2] for path in LOSSLESS) == {"v3": 7, "v4": 1, "v5": 1, "v6": 1, "v8": 1, "v9": 1}
    assert Counter(path.name[:2] for path in FILTERED) == {"v7": 2}
