"""The Rust core through its Python API, against independent references."""

import functools
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from tiny_model import ALPHABET, COARSE_SLICES, SLICES, random_codes, tiny_model

from vqcodec import _core, errors
from vqcodec.model_file import load

HEADS = ("logistic", "categorical")


def write(model: _core.Model, codes: np.ndarray, quality: int = 5, threads: int = 0) -> bytes:
    """Return the file of codes whose picture has no partial cells."""
    height, width = codes.shape[1:]
    return _core.write_file(model, 16 * width, 16 * height, quality, [codes], threads=threads)[0]


@pytest.fixture(scope="module", params=HEADS)
def head(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(head: str) -> _core.Model:
    return _core.Model(tiny_model(head))


class TestRoundTrip:
    @pytest.mark.parametrize("shape", [(1, 1), (1, 250), (257, 3), (70, 130)])
    def test_codes_are_exact(self, model: _core.Model, head: str, shape: tuple[int, int]) -> None:
        codes = random_codes(*shape, head)
        files = {write(model, codes, threads=threads) for threads in (0, 1, 3)}
        assert len(files) == 1
        (data,) = files
        for threads in (0, 1, 3):
            (decoded,) = _core.read_codes(model, data, threads=threads)
            assert decoded.dtype == np.int32
            np.testing.assert_array_equal(decoded, codes)

    def test_bytes_are_the_cross_entropy(self, model: _core.Model, head: str) -> None:
        codes = random_codes(40, 60, head)
        data, bits = _core.write_file(model, 960, 640, 7, [codes])
        assert bits == _core.cross_entropy(model, 7, [codes]) == _core.cross_entropy(model, 7, [codes], 2)
        assert 0 <= 8 * _core.read_header(data).payload_bytes[0] - bits < 0.001 * bits + 32

    def test_picture_facts(self, model: _core.Model, head: str) -> None:
        codes = random_codes(2, 3, head)
        data, _ = _core.write_file(model, 33, 32, 17, [codes], gray=True, alpha=b"alpha")
        header = _core.verify_checksums(data)
        assert (header.width, header.height, header.quality, header.version) == (33, 32, 17, 2)
        assert (header.gray, header.has_alpha, header.alpha_bytes) == (True, True, 5)
        assert (header.model_id, header.levels) == (model.id, [(16, 64)])
        assert header.file_bytes == len(data) == header.header_bytes + sum(header.payload_bytes) + 5 + 8
        assert _core.read_header(data[: header.header_bytes]).file_bytes == len(data)
        assert _core.read_alpha(data) == b"alpha"
        plain = write(model, codes)
        assert _core.read_alpha(plain) is None
        assert not _core.read_header(plain).has_alpha

    def test_extreme_codes(self) -> None:
        model = _core.Model(tiny_model())
        codes = np.where(np.arange(5 * 9 * 9).reshape(5, 9, 9) % 2, 32767, -32768).astype(np.int32)
        np.testing.assert_array_equal(_core.read_codes(model, write(model, codes))[0], codes)

    def test_many_python_threads(self, model: _core.Model, head: str) -> None:
        codes = random_codes(20, 20, head)
        expected = write(model, codes)
        results: list[bytes] = []
        workers = [threading.Thread(target=lambda: results.append(write(model, codes))) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert results == [expected] * 4


class TestTwoLevels:
    @pytest.mark.parametrize("shape", [(1, 1), (5, 8), (65, 70)])
    def test_codes_are_exact(self, head: str, shape: tuple[int, int]) -> None:
        model = _core.Model(tiny_model(head, coarse=COARSE_SLICES))
        codes = two_levels(*shape, head)
        data, bits = _core.write_file(model, 16 * shape[1], 16 * shape[0], 5, codes, alpha=b"alpha")
        assert bits == _core.cross_entropy(model, 5, codes)
        header = _core.read_header(data)
        assert header.levels == [(32, 32), (16, 64)]
        tiles = math.ceil(shape[0] / 64) * math.ceil(shape[1] / 64)
        first = data[: header.header_bytes + header.payload_bytes[0] + 4 * tiles]
        for given, levels in ((data, 0), (data, 2), (data, 1), (first, 1)):
            decoded = _core.read_codes(model, given, levels=levels)
            assert len(decoded) == (levels or 2)
            for left, right in zip(decoded, codes, strict=False):
                np.testing.assert_array_equal(left, right)
        for given, levels in ((first, 0), (first, 2), (first[:-1], 1)):
            with pytest.raises(errors.TruncatedError):
                _core.read_codes(model, given, levels=levels)
        with pytest.raises(errors.InvalidInputError, match="no 3 levels"):
            _core.read_codes(model, data, levels=3)

    def test_misuse(self, head: str) -> None:
        model, one_level = (_core.Model(tiny_model(head, coarse=coarse)) for coarse in (COARSE_SLICES, ()))
        coarse, fine = two_levels(5, 8, head)
        for codes in ([fine], [fine, coarse], [coarse], [coarse, fine, fine], [coarse, fine[:, :4].copy()]):
            with pytest.raises(errors.InvalidInputError):
                _core.cross_entropy(model, 0, codes)
        for bad, codes, before in ((model, fine, None), (model, fine, fine), (one_level, fine, coarse)):
            with pytest.raises(errors.InvalidInputError):
                _core.head_outputs(bad, 0, codes, 0, 0, before)


def two_levels(height: int, width: int, head: str) -> list[np.ndarray]:
    """Return the codes of a tiny model's levels, coarse to fine."""
    coarse = (-(-height // 2), -(-width // 2))
    return [random_codes(*coarse, head, variables=sum(COARSE_SLICES), seed=1), random_codes(height, width, head)]


class TestDamage:
    def test_truncation(self, model: _core.Model, head: str) -> None:
        data = write(model, random_codes(3, 4, head))
        for length in range(len(data)):
            with pytest.raises(errors.TruncatedError):
                _core.read_codes(model, data[:length])
            with pytest.raises(errors.TruncatedError):
                _core.verify_checksums(data[:length])

    def test_flipped_bits(self, model: _core.Model, head: str) -> None:
        data, _ = _core.write_file(model, 64, 48, 5, [random_codes(3, 4, head)], alpha=b"chunk")
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            for read in (_core.verify_checksums, _core.read_alpha):
                with pytest.raises(errors.VqcodecError):
                    read(bytes(damaged))
            with pytest.raises(errors.VqcodecError):
                _core.read_codes(model, bytes(damaged))

    def test_causes_are_named(self, model: _core.Model, head: str) -> None:
        data = write(model, random_codes(3, 4, head))
        with pytest.raises(errors.NotVqcError):
            _core.read_header(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(errors.UnsupportedVersionError, match="version 99"):
            _core.read_header(data[:4] + b"c" + data[5:])
        with pytest.raises(errors.CorruptedError, match="trailing"):
            _core.read_codes(model, data + b"\0")
        with pytest.raises(errors.LimitError, match="3072 pixels"):
            _core.read_codes(model, data, max_pixels=3071)
        _core.read_codes(model, data, max_pixels=3072)

    def test_wrong_model(self, head: str) -> None:
        model, other = (_core.Model(tiny_model(head, seed=seed)) for seed in (0, 1))
        data = write(model, random_codes(3, 4, head))
        with pytest.raises(errors.ModelMismatchError, match=f"needs model {model.id}.* given {other.id}"):
            _core.read_codes(other, data[:40] + bytes(len(data) - 40))  # before payloads are looked at


class TestModel:
    def test_attributes(self) -> None:
        data = tiny_model()
        model = _core.Model(data)
        assert len(model.id) == 16 and int(model.id, 16)
        assert json.loads(model.config)["runtime"]["stride"] == 16
        with pytest.raises(AttributeError):
            model.id = "0" * 16  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"runtime": {"surprise": 1}}, "unknown field"),
            ({"runtime": {"stride": 10}}, "power of two"),
            ({"tensors": {"prior.9.weight": np.zeros(1, np.int8)}}, "describes"),
            ({"tensors": {"prior.0.hidden1.bias": np.full(8, 2**31 - 1, np.int32)}}, "overflows"),
            ({"tensors": {"prior.0.hidden1.bias": np.zeros(8, np.float32)}}, "not I32"),
            ({"tensors": {"prior.0.hidden1.bias": np.zeros(7, np.int32)}}, r"\[7\]"),
        ],
    )
    def test_bad_models(self, change: dict[str, Any], reason: str) -> None:
        with pytest.raises(errors.InvalidModelError, match=reason):
            _core.Model(tiny_model(**change))

    def test_no_models(self) -> None:
        for data in (b"", b"\0" * 100, tiny_model()[:-1]):
            with pytest.raises(errors.InvalidModelError):
                _core.Model(data)

    def test_kernel(self) -> None:
        code = "from vqcodec import _core; print(_core.kernel())"
        for name in ("scalar", _core.kernel()):
            run = run_with_kernel(code, name)
            assert (run.returncode, run.stdout.strip()) == (0, name)
        run = run_with_kernel(code, "quantum")
        assert run.returncode == 1
        assert "InvalidInputError" in run.stderr and "quantum" in run.stderr and "scalar" in run.stderr


def run_with_kernel(code: str, kernel: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VQCODEC_KERNEL": kernel}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


class TestMisuse:
    def test_arrays(self) -> None:
        model = _core.Model(tiny_model())
        good = random_codes(4, 4)
        for bad, error, reason in [
            (good.astype(np.int64), TypeError, "expected dtype int32, not int64"),
            (good.astype(np.float32), TypeError, "float32"),
            (good.astype(">i4"), TypeError, "int32"),
            (good.tolist(), TypeError, "numpy array, not list"),
            (good[0], errors.InvalidInputError, r"shape \(n, h, w\), not \[4, 4\]"),
            (good[:, :, ::-1], errors.InvalidInputError, "not C-contiguous"),
            (good[:4], errors.InvalidInputError, "4 variables"),
            (good[:, :3].copy(), errors.InvalidInputError, "4 x 4 positions"),
            (good[:0], errors.InvalidInputError, "0 codes"),
            (good + 32768, errors.InvalidInputError, "16-bit"),
        ]:
            with pytest.raises(error, match=reason):
                _core.write_file(model, 64, 64, 0, [bad])

    def test_arguments(self) -> None:
        model = _core.Model(tiny_model())
        codes = random_codes(4, 4)
        with pytest.raises(TypeError, match="list of arrays"):
            _core.write_file(model, 64, 64, 0, codes)  # type: ignore[arg-type]
        for levels in ([], [codes, codes]):
            with pytest.raises(errors.InvalidInputError, match="1 level"):
                _core.write_file(model, 64, 64, 0, levels)
        with pytest.raises(errors.InvalidInputError, match="33 is above the model's 32"):
            _core.write_file(model, 64, 64, 33, [codes])
        with pytest.raises(errors.LimitError, match="1048592 pixels on the longer side"):
            _core.write_file(model, 2**20 + 16, 16, 0, [random_codes(1, 2**16 + 1)])
        data = write(model, codes, threads=2**40)
        np.testing.assert_array_equal(_core.read_codes(model, data, threads=2**40)[0], codes)
        with pytest.raises(errors.InvalidInputError, match="threads: -1 is negative"):
            write(model, codes, threads=-1)
        with pytest.raises(errors.InvalidInputError, match="threads: -2 is negative"):
            _core.read_codes(model, data, threads=-2)
        with pytest.raises(errors.InvalidInputError, match="threads: -3 is negative"):
            _core.cross_entropy(model, 0, [codes], threads=-3)
        with pytest.raises(OverflowError):
            _core.write_file(model, -1, 64, 0, [codes])
        with pytest.raises(TypeError):
            _core.read_header("text")  # type: ignore[arg-type]
        with pytest.raises(errors.InvalidInputError, match="no such step"):
            _core.head_outputs(model, 0, codes, 0, 4)

    def test_alphabet(self) -> None:
        model = _core.Model(tiny_model("categorical"))
        codes = random_codes(4, 4, "categorical")
        for outside in (-1, ALPHABET):
            codes[1, 2, 3] = outside
            with pytest.raises(errors.InvalidInputError, match=f"code {outside} is outside"):
                write(model, codes)


class TestStaticPrior:
    def test_round_trip(self) -> None:
        codes = random_codes(30, 20)
        codes[0, 0] = 32767
        codes[1, 1] = -32768
        window = 12
        inside = np.clip(codes, -window - 1, window + 1) + window + 1
        counts = np.stack([np.bincount(row.ravel(), minlength=2 * window + 3) for row in inside])
        prior = _core.StaticPrior(np.ascontiguousarray(counts[:, 1:-1], dtype=np.int64))
        data = prior.encode(codes)
        np.testing.assert_array_equal(prior.decode(data, codes.shape), codes)
        with pytest.raises(errors.CorruptedError):
            prior.decode(data + bytes(8), codes.shape)

    def test_misuse(self) -> None:
        for counts in (np.ones((1, 4), np.int64), np.full((1, 3), -1), np.ones((0, 3), np.int64)):
            with pytest.raises(errors.InvalidInputError):
                _core.StaticPrior(counts)
        with pytest.raises(TypeError):
            _core.StaticPrior(np.ones((1, 3)))  # type: ignore[arg-type]
        prior = _core.StaticPrior(np.ones((2, 3), np.int64))
        for shape in ((1, 3, 3), (2, 0, 3)):
            with pytest.raises(errors.InvalidInputError):
                prior.decode(b"", shape)
        with pytest.raises(errors.LimitError):
            prior.decode(b"", (2, 2**40, 2**40))


class TestReference:
    """The prior against straightforward Python: position by position, integer by integer."""

    @pytest.mark.parametrize("quality", [0, 13, 32])
    def test_network(self, head: str, quality: int) -> None:
        data = tiny_model(head, seed=3)
        codes = random_codes(6, 7, head)
        codes[0, 0, :2] = 0 if head == "categorical" else (-30000, 30000)  # beyond the clamp
        tensors = load(data)
        for number in range(len(SLICES)):
            for step in range(2 if number else 4):
                expected = reference_outputs(tensors, codes, quality, number, step, head)
                outputs = _core.head_outputs(_core.Model(data), quality, codes, number, step)
                np.testing.assert_array_equal(outputs, expected)

    @pytest.mark.parametrize("quality", [0, 13, 32])
    def test_networks_of_two_levels(self, head: str, quality: int) -> None:
        data = tiny_model(head, coarse=COARSE_SLICES, seed=3)
        model, tensors = _core.Model(data), load(data)
        coarse, fine = two_levels(5, 8, head)
        coarse_tensors = {
            name.removeprefix("coarse."): tensor for name, tensor in tensors.items() if name.startswith("coarse.")
        }
        for number in range(2):
            for step in range(2 if number else 4):
                arguments = (quality, number, step, head)
                expected = reference_outputs(coarse_tensors, coarse, *arguments, sizes=COARSE_SLICES)
                outputs = _core.head_outputs(model, quality, coarse, number, step)
                np.testing.assert_array_equal(outputs, expected)
                expected = reference_outputs(tensors, fine, *arguments, coarse=coarse)
                outputs = _core.head_outputs(model, quality, fine, number, step, coarse)
                np.testing.assert_array_equal(outputs, expected)

    @pytest.mark.parametrize("adaptive", [False, True])
    def test_distributions(self, head: str, adaptive: bool) -> None:
        """The cross entropy is that of the format's frequencies."""
        model = _core.Model(tiny_model(head))
        codes = random_codes(12, 13, head)
        bits, first = 0.0, 0
        for number, variables in enumerate(SLICES):
            adaptation = Adaptation(variables) if adaptive else None
            for step in range(2 if number else 4):
                outputs = _core.head_outputs(model, 9, codes, number, step).tolist()
                for (y, x), parameters in zip(step_positions(number, step, 12, 13), outputs, strict=True):
                    for variable in range(variables):
                        code = int(codes[first + variable, y, x])
                        if head == "categorical":
                            bits += categorical_bits(parameters[variable * ALPHABET :][:ALPHABET], code)
                            continue
                        mean, scale_class = parameters[variable], parameters[variables + variable]
                        if adaptation:
                            scale_class = adaptation.adapt((variable, y, x), mean, scale_class, code)
                        bits += logistic_bits(mean, scale_class, code)
            first += variables
        assert _core.cross_entropy(model, 9, [codes], adaptive=adaptive) == pytest.approx(bits, rel=1e-12)

    @pytest.mark.parametrize("scale_class", [0, 50, 96, 133, 239])
    def test_logistic_against_float(self, scale_class: int) -> None:
        """The format's frequencies are those of a logistic distribution."""
        scale = 2 ** ((scale_class - 96) / 16)
        for mean in (-1000, 0, 77, 128):
            for code in range(round(mean / 256) - 3, round(mean / 256) + 4):
                edges = [(code + half - mean / 256) / scale for half in (-0.5, 0.5)]
                low, high = (1 / (1 + math.exp(-edge)) for edge in edges)
                assert 2 ** -logistic_bits(mean, scale_class, code) == pytest.approx(high - low, abs=2e-4)


def step_positions(number: int, step: int, height: int, width: int) -> list[tuple[int, int]]:
    """Return the positions of a step in raster order."""
    everywhere = [(y, x) for y in range(height) for x in range(width)]
    if number:
        return [(y, x) for y, x in everywhere if (y + x) % 2 == step]
    parity = [(0, 0), (1, 1), (0, 1), (1, 0)][step]
    return [(y, x) for y, x in everywhere if (y % 2, x % 2) == parity]


def step_taps(number: int, step: int) -> list[tuple[int, int, bool]]:
    """Return (dy, dx, own) for each tap: on the slice itself or on all earlier ones."""
    if number:
        square = [(dy, dx, False) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        return square + [(-1, 0, True), (0, -1, True), (0, 1, True), (1, 0, True)] * step
    offsets = {
        0: [(dy, dx) for dy in (-4, -2, 0) for dx in (-4, -2, 0, 2, 4) if dy < 0 or (dy == 0 and dx < 0)],
        1: [(dy, dx) for dy in (-3, -1, 1, 3) for dx in (-3, -1, 1, 3)],
        2: [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if dy % 2 != dx % 2],
        3: [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if dy % 2 or dx % 2],
    }
    return [(dy, dx, True) for dy, dx in offsets[step]]


def reference_outputs(
    tensors: dict[str, np.ndarray],
    codes: np.ndarray,
    quality: int,
    number: int,
    step: int,
    head: str,
    *,
    sizes: Sequence[int] = SLICES,
    coarse: np.ndarray | None = None,
) -> list[list[int]]:
    """Return the head's outputs at the positions of a step, in Python integers."""
    first = sum(sizes[:number])
    slices = {True: range(first, first + sizes[number]), False: range(first)}
    height, width = codes.shape[1:]

    def features(variable: int, y: int, x: int) -> list[int]:
        inside = 0 <= y < height and 0 <= x < width
        if head == "categorical":
            table = tensors["prior.embedding"][variable]
            return [int(feature) for feature in table[codes[variable, y, x]] * inside] if inside else [0, 0]
        return [8 * max(-2047, min(2047, int(codes[variable, y, x])))] if inside else [0]

    def coarse_features(y: int, x: int) -> list[int]:
        inside = 0 <= y < height and 0 <= x < width
        codes = [] if coarse is None else coarse[:, y // 2 * inside, x // 2 * inside].tolist()
        if head == "categorical":
            table = tensors.get("coarse.prior.embedding")
            rows = [] if table is None else [table[variable, code].tolist() for variable, code in enumerate(codes)]
            return [feature * inside for row in rows for feature in row]
        return [8 * clamp(code, -2047, 2047) * inside for code in codes]

    def layer(name: str, inputs: list[int], hidden: bool = True) -> list[int]:
        prefix = f"prior.{number}.{name}"
        weight, bias, shift = (tensors[f"{prefix}.{part}"] for part in ("weight", "bias", "shift"))
        outputs = []
        for row, shift_bits in enumerate(map(int, shift)):
            offset = blend(bias[:, row], quality) if bias.ndim == 2 else int(bias[row])
            total = sum(int(w) * x for w, x in zip(weight[row], inputs, strict=True)) + offset
            output = total + (1 << shift_bits >> 1) >> shift_bits
            outputs.append(max(0, min(32767, output)) if hidden else output)
        return outputs

    rows = []
    for y, x in step_positions(number, step, height, width):
        context: list[int] = []
        around = [(dy, dx, False) for dy in (-1, 0, 1) for dx in (-1, 0, 1)] if number == 0 else []
        for dy, dx, own in around + step_taps(number, step):
            context += [] if own else coarse_features(y + dy, x + dx)
            for variable in slices[own]:
                context += features(variable, y + dy, x + dx)
        activations = layer(f"{step}.context", context)
        activations = layer("hidden2", layer("hidden1", activations))
        rows.append(layer("head", activations, hidden=False))
    return rows


def blend(levels: np.ndarray, quality: int) -> int:
    """Return the bias at a quality position between levels."""
    level, fraction = divmod(quality, 16)
    lower = int(levels[level])
    upper = int(levels[min(level + 1, len(levels) - 1)])
    return lower + ((upper - lower) * fraction + 8 >> 4)


@functools.cache
def sigmoid_table() -> list[int]:
    """Return 2^32 sigmoid(t / 32) for t = -640..640, and the last one twice."""
    with localcontext() as context:
        context.prec = 60
        half = [int((2**32 / (1 + (Decimal(t) / 32).exp())).to_integral_value()) for t in range(640, -1, -1)]
    return [*half, *(2**32 - value for value in half[-2::-1]), 2**32 - half[0]]


def clamp(number: int, low: int, high: int) -> int:
    """Return the nearest number in low..=high."""
    return max(low, min(high, number))


def logistic_scale(scale_class: int) -> Decimal:
    """Return the scale of a class in symbols."""
    return Decimal(2) ** (Decimal(clamp(scale_class, 0, 239) - 96) / 16)


def mass_below(distance: int, scale_class: int) -> int:
    """Return 2^32 times the logistic mass below a distance from the mean in 1/256 symbol."""
    t = clamp(distance * int((2**21 / logistic_scale(scale_class)).to_integral_value()), -640 << 24, 640 << 24)
    low, high = sigmoid_table()[(t >> 24) + 640 :][:2]
    return low + ((high - low) * (t >> 8 & 0xFFFF) >> 16)


class Adaptation:
    """The slots of one slice and the residuals in it, by the page of the format."""

    def __init__(self, variables: int) -> None:
        self.of_variables = [0] * variables
        self.of_surprises = [3 * (k - 5) << 20 for k in range(11)]
        self.of_activities = [3 * (k - 5) << 18 for k in range(16)]
        self.residuals: dict[tuple[int, int, int], int] = {}
        self.observed = self.expected = 0

    def adapt(self, place: tuple[int, int, int], mean: int, scale_class: int, code: int) -> int:
        """Return the class that the code at a place (variable, y, x) has instead, and learn from the code."""
        variable, y, x = place
        if variable == 0:
            self.observed = self.expected = 0
        mean, scale_class = clamp(mean, -(2**22), 2**22), clamp(scale_class, 0, 239)
        near = [(variable, y + dy, x + dx) for dy in range(-2, 3) for dx in range(-2, 3) if abs(dy) + abs(dx) in (1, 2)]
        known = [self.residuals[place] for place in near if place in self.residuals]
        surprise = log2(self.observed + 2**16) - log2(self.expected + 2**16) + 64 >> 7
        activity = 10 + (log2(4 * sum(known) + 1) - log2(4 * len(known) + 2) >> 7)
        slots = [
            (self.of_variables, variable, 11),
            (self.of_surprises, 5 + clamp(surprise, -5, 5), 11),
            (self.of_activities, clamp(activity, 0, 15), 12),
        ]
        changed = clamp(scale_class + (sum(table[k] for table, k, _ in slots) + 2**19 >> 20), 0, 239)
        centre = mean + 128 >> 8
        residual = min(abs(code - centre), 8)
        expected, gain = moments(changed, mean - 256 * centre)
        for table, k, shift in slots:
            table[k] = clamp(table[k] + (((residual << 16) - expected) * gain >> shift), -(2**26), 2**26)
        self.residuals[place] = residual
        self.observed += (residual << 16) - (self.observed >> 4)
        self.expected += moments(scale_class, mean - 256 * centre)[0] - (self.expected >> 4)
        return changed


def log2(number: int) -> int:
    """Return the base-2 logarithm in 1/256, linear between powers of two."""
    octave = number.bit_length() - 1
    return 256 * octave + (number * 256 >> octave) % 256


@functools.cache
def moments(scale_class: int, fraction: int) -> tuple[int, int]:
    """Return what a distribution expects of a residual, and what each symbol more says about its scale."""
    scale_class, fraction = clamp(scale_class, 16, 235), -16 * (abs(fraction) + 8 >> 4)

    def tails(scale_class: int) -> list[int]:
        centre = fraction + 128 >> 8
        rest = 128 + fraction - 256 * centre
        below = [mass_below(256 * (1 - j) - rest, scale_class) for j in range(1, 9)]
        above = [2**32 - mass_below(256 * j - rest, scale_class) for j in range(1, 9)]
        return [sum(pair) for pair in zip(below, above, strict=True)]

    mean = sum(tails(scale_class))
    variance = sum((2 * j + 1) * tail for j, tail in enumerate(tails(scale_class))) - (mean**2 >> 32)
    slope = sum(tails(scale_class + 4)) - sum(tails(scale_class - 4))
    return mean >> 16, (slope << 13) // variance


def logistic_bits(mean: int, scale_class: int, code: int) -> float:
    """Return the bits of a code under a logistic distribution, escape included."""
    mean = clamp(mean, -(2**22), 2**22)
    window = max(4, math.ceil(14 * logistic_scale(scale_class)) + 1)
    centre = mean + 128 >> 8
    offset = code - centre

    def left(d: int) -> int:
        below = mass_below(256 * d - 128 - (mean - 256 * centre), scale_class)
        return (below * (2**24 - (2 * window + 2)) >> 32) + d

    if abs(offset) <= window:
        return 24 - math.log2(left(offset + 1) - left(offset))
    width = 2**24 - (left(window + 1) - left(-window))
    return 24 - math.log2(width) + 2 * (abs(offset) - window).bit_length()


def categorical_bits(logits: list[int], code: int) -> float:
    """Return the bits of a code under logits in 1/256 octave."""
    logits = [max(-32768, min(32767, logit)) for logit in logits]
    weights = []
    for logit in logits:
        octaves, fraction = divmod(min(max(logits) - logit, 20 * 256 - 1), 256)
        slope = 725_009 - ((241_756 - (41_035 * fraction >> 8)) * fraction >> 8)
        weights.append(2**20 - (slope * fraction >> 8) >> octaves)
    scale = (2**24 - len(weights) << 28) // sum(weights)
    lefts = [(sum(weights[:symbol]) * scale >> 28) + symbol for symbol in range(len(weights))] + [2**24]
    return 24 - math.log2(lefts[code + 1] - lefts[code])
