"""Hit a file size: the highest quality whose file fits, then a dead zone between two qualities.

File sizes rise with the quality position, by 1 to 5 % from one to the next; what lies between is reached from
above, by rounding latents towards zero a little more than to the nearest code. Files of codes that were searched
for may jump over the target all the same: then from below, by a search to which errors are worth more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vqcodec.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

CLOSE = 0.99  # of the target: good enough
CLOSE_ENOUGH = 0.975  # after a search, which cannot be aimed so well
SEARCHES = 8
DEAREST = 1.5  # factor of what errors are worth to a search, to which it answers smoothly
STEEPNESS = 3.0  # a file grows by about the third root of that factor
MAX_BYTES = 1 << 62
WIDEST = 96  # dead zone in 1/256: shrinks a file by 10 % and more

Setting = tuple[int, int]  # position of the quality, dead zone


@dataclass(frozen=True)
class Attempt:
    """One way to encode a picture: `position` of the quality, `dead_zone`, `codes`, file; `bits` of their entropy."""

    position: int
    dead_zone: int
    codes: list[np.ndarray]
    data: bytes
    bits: float


class Searching(Protocol):
    """Makes attempts; an effort above 0 searches for codes, with errors worth so many times as much as they are."""

    def __call__(self, position: int, dead_zone: int, effort: int, worth: float = 1.0) -> Attempt: ...


def largest_within(attempt: Callable[[int, int], Attempt], positions: int, target_bytes: int) -> Attempt:
    """The attempt (of a quality position below `positions` and a dead zone) nearest to `target_bytes` from below.

    InvalidInputError where even the lowest quality takes more.
    """

    def fitting(tries: Callable[[int], Attempt], count: int) -> Attempt | None:
        """The last of `count` tries that fits, their sizes rising."""
        best, low, high = None, 0, count
        while low < high and not (best and len(best.data) >= CLOSE * target_bytes):
            middle = (low + high) // 2
            tried = tries(middle)
            if len(tried.data) <= target_bytes:
                best, low = tried, middle + 1
            else:
                high = middle
        return best

    best = fitting(lambda position: attempt(position, 0), positions)
    if best is None:
        smallest = len(attempt(0, 0).data)
        raise InvalidInputError(f"the smallest file takes {smallest} bytes, over the target of {target_bytes}")
    if len(best.data) >= CLOSE * target_bytes or best.position == positions - 1:
        return best
    above = best.position + 1
    between = fitting(lambda step: attempt(above, WIDEST - step), WIDEST)
    return max((one for one in (best, between) if one), key=lambda one: len(one.data))


def searched_within(attempt: Searching, positions: int, target_bytes: int, effort: int) -> Attempt:
    """`largest_within` for attempts of an effort as well, whose search for codes moves a size by some per cent.

    A search takes too long to be made at every size: the sizes of plain attempts, and by how much the last search
    changed one, say where the next is to begin.
    """
    if not effort:
        return largest_within(lambda position, dead_zone: attempt(position, dead_zone, 0), positions, target_bytes)
    sizes: dict[Setting, int] = {}

    def plain(position: int, dead_zone: int) -> Attempt:
        tried = attempt(position, dead_zone, 0)
        sizes[position, dead_zone] = len(tried.data)
        return tried

    def size(position: int, dead_zone: int) -> int:
        return sizes.get((position, dead_zone)) or len(plain(position, dead_zone).data)

    too_small: InvalidInputError | None = None
    try:
        start = largest_within(plain, positions, target_bytes)
    except InvalidInputError as error:
        start, too_small = plain(0, 0), error  # a search may bring it down yet
    setting: Setting | None = (start.position, start.dead_zone)
    best: Attempt | None = None
    low, high = 0, MAX_BYTES  # plain sizes that came out below the target, and above it
    for _ in range(SEARCHES):
        if setting is None:
            break
        found, begun = attempt(*setting, effort), size(*setting)
        reached = len(found.data)
        if reached <= target_bytes:
            best = max(best or found, found, key=lambda one: len(one.data))
            if reached >= CLOSE_ENOUGH * target_bytes or setting == (positions - 1, 0):
                break
            low = max(low, begun)
        else:
            high = min(high, begun)
        aim = int(begun * CLOSE * target_bytes / reached)
        setting = _nearest(size, positions, aim if low < aim < high else (low + high) // 2, (low, high))
    if best is None and too_small:
        raise too_small
    if best and low < high < MAX_BYTES and len(best.data) < CLOSE_ENOUGH * target_bytes:
        return _dearer(attempt, best, target_bytes, effort)
    return best or start


def _dearer(attempt: Searching, best: Attempt, target_bytes: int, effort: int) -> Attempt:
    """A searched attempt that fits with errors worth more, so that it takes more bytes: up to the target."""
    worth, low, high = 1.0, 1.0, DEAREST
    last = best
    for _ in range(SEARCHES // 2):
        worth *= (CLOSE * target_bytes / len(last.data)) ** STEEPNESS
        worth = worth if low < worth < high else (low * high) ** 0.5
        last = attempt(best.position, best.dead_zone, effort, worth)
        if len(last.data) > target_bytes:
            high = worth
            continue
        low, best = worth, max(best, last, key=lambda one: len(one.data))
        if len(best.data) >= CLOSE_ENOUGH * target_bytes:
            break
    return best


def _nearest(size: Callable[[int, int], int], positions: int, aim: int, between: tuple[int, int]) -> Setting | None:
    """The setting whose plain file is nearest to the aim, of those between two sizes; None where none is."""
    above = bisect_right(range(positions), aim, key=lambda position: size(position, 0))
    settings = [(above - 1, 0)] if above else []
    if 0 < above < positions:
        dead_zone = bisect_left(range(WIDEST), -aim, key=lambda zone: -size(above, zone))
        settings += [(above, zone) for zone in (dead_zone - 1, dead_zone) if 0 <= zone < WIDEST]
    settings = [setting for setting in settings if between[0] < size(*setting) < between[1]]
    return min(settings, key=lambda setting: abs(size(*setting) - aim), default=None)
