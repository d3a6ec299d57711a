"""Packed weights of model files: the same integers in fewer bytes, for Python and for the runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from test_integer_transform import random_network, random_pixels
from test_models import SMALL

from vqcodec import _core, model_file
from vqcodec.errors import InvalidModelError
from vqcodec.export import export_model


@given(st.data())
def test_every_weight_comes_back(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    rows = data.draw(arrays(np.int16, shape)) >> data.draw(arrays(np.int16, (shape[0], 1), elements=st.integers(0, 15)))
    again = model_file.load(model_file.save({"one.weight": rows, "one.bias": rows}, {}))
    assert sorted(again) == ["one.bias", "one.weight"]
    assert again["one.weight"].dtype == np.int16
    np.testing.assert_array_equal(again["one.weight"], rows)


def stored(packed: bytes, tensors: dict[str, np.ndarray]) -> bytes:
    """The model file `packed` with other tensors."""
    header = json.loads(packed[8 : 8 + int.from_bytes(packed[:8], "little")])
    return save_tensors(tensors, header["__metadata__"])


def test_the_runtime_reads_packed_weights_as_plain_ones() -> None:
    packed = export_model(random_network(SMALL, 1.0), name="tiny", description="")
    plain = stored(packed, model_file.load(packed))
    assert len(packed) < len(plain)
    pixels, models = random_pixels(50, 70), (_core.Model(packed), _core.Model(plain))
    codes = [_core.analyze(model, pixels, 30) for model in models]
    np.testing.assert_array_equal(codes[0][0], codes[1][0])
    assert codes[0][0].std() > 0
    shown = [_core.synthesize(model, codes[0], 50, 70, 30) for model in models]
    np.testing.assert_array_equal(shown[0], shown[1])


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("analysis.stem.bits", lambda bits: bits[:-1], "analysis.stem.bits"),
        ("analysis.stem.bits", lambda bits: np.full_like(bits, 17), "17 bits"),
        ("analysis.stem.bits", lambda bits: np.zeros_like(bits), "0 bits"),
        ("analysis.stem.bits", lambda bits: bits - 1, "analysis.stem.weight"),
        ("analysis.stem.weight", lambda packed: packed[:-1], "analysis.stem.weight"),
        ("analysis.stem.weight", lambda packed: packed.astype(np.int8), "analysis.stem.weight"),
    ],
)
def test_wrong_sizes_are_refused(name: str, change, reason: str) -> None:  # type: ignore[no-untyped-def]
    packed = export_model(random_network(SMALL, 1.0), name="tiny", description="")
    tensors = load_tensors(packed)
    tensors[name] = change(tensors[name])
    with pytest.raises(InvalidModelError, match=reason):
        _core.Model(stored(packed, tensors))
