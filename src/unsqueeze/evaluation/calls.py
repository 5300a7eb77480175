"""Which samples an evaluation still lacks, cut into calls of an engine.

Samples of a problem are numbered from 0 and drawn in blocks, for all problems before the next block begins: an
interrupted evaluation has about the same number for every problem, and what it lacks is asked for in the same calls as
if it had never stopped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BLOCK = 16
"""Samples of one problem in one call, at most."""


@dataclass(frozen=True, slots=True)
class Call:
    """Samples ``start`` to ``start + count − 1`` of the problems at ``places``."""

    places: tuple[int, ...]
    start: int
    count: int


def missing_calls(have_P: Sequence[int], n: int, problems_a_call: int) -> Iterator[Call]:
    """The calls that bring every problem to ``n`` samples. ``have_P``: how many each has, numbered from 0 on."""
    have = list(have_P)
    while have and (low := min(have)) < n:
        count = min(BLOCK - low % BLOCK, n - low)
        places = [place for place, number in enumerate(have) if number == low]
        for first in range(0, len(places), problems_a_call):
            yield Call(tuple(places[first : first + problems_a_call]), low, count)
        for place in places:
            have[place] = low + count
