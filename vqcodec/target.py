"""Hit a file size: the highest quality whose file fits, then a dead zone between two qualities.

File sizes rise with the quality position, by 1 to 5 % from one to the next; what lies between is reached from
above, by rounding latents towards zero a little more than to the nearest code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqcodec.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np

CLOSE = 0.99  # of the target: good enough
CLOSE_ENOUGH = 0.975  # after a search, which cannot be aimed so well
SEARCHES = 8
MAX_BYTES = 1 << 62
WIDEST = 96  # dead zone in 1/256: shrinks a file by 10 % and more


@dataclass(frozen=True)
class Attempt:
    """One way to encode a picture: `position` of the quality, `dead_zone`, `codes`, file; `bits` of their entropy."""

    position: int
    dead_zone: int
    codes: list[np.ndarray]
    data: bytes
    bits: float


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


def searched_within(
    attempt: Callable[[int, int, int], Attempt], positions: int, target_bytes: int, effort: int
) -> Attempt:
    """`largest_within` for attempts of an effort as well, whose search for codes moves a size by some per cent.

    A search takes too long to be made at every size: each follows a plain attempt that the last one helped to aim.
    """

    def plain(position: int, dead_zone: int) -> Attempt:
        return attempt(position, dead_zone, 0)

    too_small: InvalidInputError | None = None
    try:
        start = largest_within(plain, positions, target_bytes)
    except InvalidInputError as error:
        start, too_small = plain(0, 0), error  # a search may bring it down yet
    searched: list[Attempt] = []
    low, high = 0, MAX_BYTES  # plain sizes that came out below the target, and above it
    for _ in range(SEARCHES if effort else 0):
        found = attempt(start.position, start.dead_zone, effort)
        size = len(found.data)
        if size <= target_bytes:
            searched.append(found)
            if size >= CLOSE_ENOUGH * target_bytes or start.position == positions - 1:
                break
            low = max(low, len(start.data))
        else:
            high = min(high, len(start.data))
        aim = int(len(start.data) * CLOSE * target_bytes / size)
        if not low < aim < high:
            aim = (low + high) // 2
        last = len(start.data)
        try:
            start = largest_within(plain, positions, aim)
            while len(start.data) == last and aim < high - 1 < MAX_BYTES - 1:  # near enough to the aim, but tried
                aim = (aim + high) // 2
                start = largest_within(plain, positions, aim)
        except InvalidInputError:  # no plain file is so small
            break
    if too_small and not searched:
        raise too_small
    return max(searched or [start], key=lambda one: len(one.data))
