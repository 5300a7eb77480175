"""Calls of an engine that draw the samples an evaluation lacks. Two ways to cut them:

``blocks``   by number: samples of a problem are drawn in blocks of 16, those of all problems before their next ones. An
             interrupted evaluation has about the same number for every problem, and a larger n adds to what is there.
``whole``    by problem: all n samples of a problem in one call, as an evaluation inside a run draws them.

Either way a seed depends on the problem and the number of the first sample that is drawn with it alone: what is drawn
does not depend on where an evaluation was interrupted, nor on how many problems a call has.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import groupby, islice

from unsqueeze.seeds import derive_seed, prompt_seeds

BLOCK = 16
"""Samples of one problem that are drawn together, at most."""

ROWS_A_CALL = 8
"""An engine that fills up by itself is given up to so many times the rows that it decodes side by side, so that it
seldom waits for the last of a call.
"""


@dataclass(frozen=True, slots=True)
class Call:
    """``count`` samples of the problems at ``places``: of each those from its ``starts`` on, drawn with its seed."""

    places: tuple[int, ...]
    starts: tuple[int, ...]
    count: int
    seeds: tuple[int, ...]


def blocks(have_P: Sequence[Set[int]], n: int, rows_a_call: int, seed_of: Callable[[int, int], int]) -> Iterator[Call]:
    """Yield the calls that bring every problem to ``n`` samples. ``have_P``: the numbers of those that each has.

    ``seed_of`` gives the seed of a block from the place of its problem and the number of its first sample. Of a block
    that lacks some the samples from the first gap on are drawn.
    """
    lacking = sorted(
        (start, place, count) for place, have in enumerate(have_P) for start, count in _lacking_blocks(have, n)
    )
    for count, some in groupby(lacking, key=lambda block: block[2]):
        while chosen := list(islice(some, max(1, rows_a_call // count))):
            starts, places, _ = zip(*chosen, strict=True)
            yield Call(places, starts, count, tuple(map(seed_of, places, starts)))


def _lacking_blocks(have: Set[int], n: int) -> Iterator[tuple[int, int]]:
    """Yield the first sample and the number of samples of every block that is not complete."""
    for first in range(0, n, BLOCK):
        end = min(first + BLOCK, n)
        start = next((number for number in range(first, end) if number not in have), end)
        if start < end:
            yield start, end - start


def have_of(problem_ids: Sequence[str], stored: Set[tuple[str, int]]) -> list[set[int]]:
    """Return the numbers of the samples that every problem has."""
    have: dict[str, set[int]] = {problem_id: set() for problem_id in problem_ids}
    for problem_id, number in stored:
        if problem_id in have:
            have[problem_id].add(number)
    return [have[problem_id] for problem_id in problem_ids]


def eval_seed(seed: int, benchmark: str, problem_ids: Sequence[str]) -> Callable[[int, int], int]:
    """Return the seeds of the blocks of a benchmark."""
    return lambda place, start: derive_seed(seed, "eval", benchmark, problem_ids[place], start)


def whole(have_P: Sequence[Set[int]], n: int, lengths_P: Sequence[int], max_rows: int, seed: int) -> Iterator[Call]:
    """Yield the calls that draw all ``n`` samples of every problem that lacks one, the shortest prompts first.

    A call has ``max_rows`` samples at most, those of one problem at least; a problem's seed is the one it has in one
    call for all problems.
    """
    seeds = prompt_seeds(seed, len(have_P))
    order = sorted(range(len(have_P)), key=lengths_P.__getitem__)
    size, every = max(1, max_rows // n), set(range(n))
    for first in range(0, len(order), size):
        places = tuple(place for place in order[first : first + size] if not have_P[place] >= every)
        if places:
            yield Call(places, (0,) * len(places), n, tuple(seeds[place] for place in places))
