"""Files of a wished-for size: never above it, hardly below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st

import vqcodec
from vqcodec.errors import InvalidInputError
from vqcodec.target import CLOSE, CLOSE_ENOUGH, WIDEST, Attempt, largest_within, searched_within

POSITIONS = 113


class Rising:
    """Files that grow by `growth` from one position to the next, and shrink by a tenth over all dead zones.

    An effort changes their sizes by the factor `change`.
    """

    def __init__(self, smallest: int, growth: float, change: float = 1.0) -> None:
        self.smallest, self.growth, self.change, self.tries = smallest, growth, change, 0

    def __call__(self, position: int, dead_zone: int, effort: int = 0) -> Attempt:
        self.tries += 1
        size = round(self.smallest * self.growth**position * (1.0 - 0.1 * dead_zone / WIDEST) * self.change**effort)
        return Attempt(position, dead_zone, [], bytes(size), 8.0 * size)


@given(st.integers(400, 5000), st.floats(1.005, 1.05), st.floats(0.0, 1.0))
def test_the_largest_that_fits(smallest: int, growth: float, where: float) -> None:
    attempt = Rising(smallest, growth)
    largest = len(attempt(POSITIONS - 1, 0).data)
    target = round(smallest * (largest / smallest) ** where)
    attempt.tries = 0
    size = len(largest_within(attempt, POSITIONS, target).data)
    assert (CLOSE - 0.005) * target - 2 <= size <= target
    assert attempt.tries <= 14


@given(st.integers(400, 5000), st.floats(1.005, 1.05), st.floats(0.05, 0.9), st.floats(0.93, 1.03))
def test_the_largest_that_fits_after_a_search(smallest: int, growth: float, where: float, change: float) -> None:
    attempt = Rising(smallest, growth, change)
    largest = len(attempt(POSITIONS - 1, 0).data)
    target = round(smallest * (largest / smallest) ** where)
    found = searched_within(attempt, POSITIONS, target, 1)
    size = len(found.data)
    assert size <= target
    if 1.1 * smallest < target < 0.9 * largest:
        assert size >= (CLOSE_ENOUGH - 0.005) * target - 2
        assert size == len(attempt(found.position, found.dead_zone, 1).data)  # a searched one
    assert searched_within(attempt, POSITIONS, target, 0) == largest_within(attempt, POSITIONS, target)


class Jumping(Rising):
    """Searched files that jump by a twelfth from one kind of codes to another, but for what errors are worth."""

    def __call__(self, position: int, dead_zone: int, effort: int = 0, worth: float = 1.0) -> Attempt:
        plain = super().__call__(position, dead_zone)
        if not effort:
            return plain
        size = round(self.smallest * 1.08 ** (np.log(len(plain.data) / self.smallest) // np.log(1.08)) * worth**0.3)
        return Attempt(position, dead_zone, [], bytes(size), 8.0 * size)


@given(st.integers(400, 5000), st.floats(1.005, 1.05), st.floats(0.1, 0.9))
def test_searched_sizes_that_jump_over_the_target(smallest: int, growth: float, where: float) -> None:
    attempt = Jumping(smallest, growth)
    largest = len(attempt(POSITIONS - 1, 0, 1).data)
    target = round(smallest * (largest / smallest) ** where)
    size = len(searched_within(attempt, POSITIONS, target, 1).data)
    assert size <= target
    if 1.1 * smallest < target < 0.9 * largest:
        assert size >= (CLOSE_ENOUGH - 0.005) * target - 2


def test_limits_of_the_target() -> None:
    assert largest_within(Rising(500, 1.03), POSITIONS, 10**6).position == POSITIONS - 1
    with pytest.raises(InvalidInputError, match="smallest file takes 500 bytes, over the target of 499"):
        largest_within(Rising(500, 1.03), POSITIONS, 499)
    with pytest.raises(InvalidInputError, match="smallest file takes 500"):
        largest_within(Rising(500, 1.03), 1, 499)
    assert 475 <= len(searched_within(Rising(500, 1.03, 0.95), POSITIONS, 490, 1).data) <= 490  # by the search alone
    for target, effort in ((490, 0), (470, 1)):
        with pytest.raises(InvalidInputError, match="smallest file takes 500"):
            searched_within(Rising(500, 1.03, 0.95), POSITIONS, target, effort)


def test_a_real_photo(photo: np.ndarray) -> None:
    codec = vqcodec.load()
    quality_of = {}
    for target in (3000, 4000, 6000, 9000):
        data, report = codec.encode_report(photo, target_bytes=target)
        assert 0.97 * target <= len(data) <= target
        assert codec.decode(data).shape == photo.shape
        quality_of[target] = report.quality
    assert sorted(quality_of.values()) == list(quality_of.values())


def test_on_the_command_line(run: Run, photo_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.vqc"
    for options in (("--target-bytes", 4000), ("--target-bpp", 4000.9 * 8 / (512 * 384))):
        ended = run("encode", photo_path, "-o", target, "-f", *options)
        assert ended.status == 0, ended.errors
        assert 0.97 * 4000 <= target.stat().st_size <= 4000
    ended = run("encode", photo_path, "-o", tmp_path / "none.vqc", "--target-bytes", 100)
    assert ended.status == 1 and "over the target of 100" in ended.errors
    assert not (tmp_path / "none.vqc").exists()
    for options in (("--target-bpp", 0), ("--target-bpp", "nan"), ("--target-bytes", 0), ("-q", 3, "--target-bpp", 1)):
        assert run("encode", photo_path, "-o", target, "-f", *options).status == 2
