"""Calls of an engine that draw the samples an evaluation lacks. Two ways to cut them:

``blocks``   by number: samples of a problem are drawn in blocks, for all problems before the next block begins. An
             interrupted evaluation has about the same number for every problem, and a larger n adds to what is there.
``whole``    by problem: all n samples of a problem in one call, as an evaluation inside a run draws them.

Either way a seed depends on the problem and the number of its sample alone: what is drawn does not depend on where an
evaluation was interrupted, nor on how many problems a call has.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

from unsqueeze.seeds import derive_seed, prompt_seeds

BLOCK = 16
"""Samples of one problem in one call, at most."""

ROWS_A_CALL = 8
"""An engine that fills up by itself is given so many times the rows that it decodes side by side, so that it seldom
waits for the last of a call.
"""


@dataclass(frozen=True, slots=True)
class Call:
    """Samples ``start`` to ``start + count − 1`` of the problems at ``places``, with a seed a problem."""

    places: tuple[int, ...]
    start: int
    count: int
    seeds: tuple[int, ...]


def have_of(problem_ids: Sequence[str], stored: Set[tuple[str, int]]) -> list[int]:
    """Count the samples that every problem has: 0 to h − 1 without a gap."""
    counts = []
    for problem_id in problem_ids:
        have = 0
        while (problem_id, have) in stored:
            have += 1
        counts.append(have)
    return counts


def blocks(have_P: Sequence[int], n: int, problems_a_call: int, seed_of: Callable[[int, int], int]) -> Iterator[Call]:
    """Yield the calls that bring every problem to ``n`` samples. ``have_P``: how many each has, numbered from 0 on.

    ``seed_of`` gives the seed of a block from the place of its problem and the number of its first sample.
    """
    have = list(have_P)
    while have and (low := min(have)) < n:
        count = min(BLOCK - low % BLOCK, n - low)
        places = [place for place, number in enumerate(have) if number == low]
        for first in range(0, len(places), problems_a_call):
            chosen = tuple(places[first : first + problems_a_call])
            yield Call(chosen, low, count, tuple(seed_of(place, low) for place in chosen))
        for place in places:
            have[place] = low + count


def eval_seed(seed: int, benchmark: str, problem_ids: Sequence[str]) -> Callable[[int, int], int]:
    """Return the seeds of the blocks of a benchmark."""
    return lambda place, start: derive_seed(seed, "eval", benchmark, problem_ids[place], start)


def whole(have_P: Sequence[int], n: int, lengths_P: Sequence[int], max_rows: int, seed: int) -> Iterator[Call]:
    """Yield the calls that draw all ``n`` samples of every problem that lacks one, the shortest prompts first.

    A call has ``max_rows`` samples at most, those of one problem at least; a problem's seed is the one it has in one
    call for all problems.
    """
    seeds = prompt_seeds(seed, len(have_P))
    order = sorted(range(len(have_P)), key=lengths_P.__getitem__)
    size = max(1, max_rows // n)
    for first in range(0, len(order), size):
        places = tuple(place for place in order[first : first + size] if have_P[place] < n)
        if places:
            yield Call(places, 0, n, tuple(seeds[place] for place in places))
