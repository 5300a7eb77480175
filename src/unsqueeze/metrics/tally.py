"""Counts of samples and of correct ones for every problem: the start of every estimate.

Axes: P problems.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.vote import majority


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts per problem, in the order in which the problems were first seen. Arrays have shape (P,).

    ``num_samples_P`` counts judged samples only; ``num_not_judged`` the others. ``majority_P`` is maj@n of every
    problem, None where the answers are not known.
    """

    problem_ids: tuple[str, ...]
    benchmarks: tuple[str, ...]
    num_samples_P: NDArray[np.int64]
    num_correct_P: NDArray[np.int64]
    majority_P: NDArray[np.float64] | None
    num_not_judged: int
    golds: tuple[str | None, ...] = ()
    """Gold answers, None where samples came without."""

    @property
    def max_samples(self) -> int:
        return int(self.num_samples_P.max(initial=0))

    @property
    def strata(self) -> list[str]:
        """The benchmarks there are, in the order in which they were first seen."""
        return list(dict.fromkeys(self.benchmarks))


def called_alike(first: Tally, second: Tally) -> tuple[Tally, Tally]:
    """Both, and where one names no benchmark and the other a single one, with that name in both."""
    for nameless, named in ((first, second), (second, first)):
        if nameless.strata == [""] and len(named.strata) == 1:
            name = (named.strata[0],) * len(nameless.benchmarks)
            renamed = replace(nameless, benchmarks=name)
            return (renamed, second) if nameless is first else (first, renamed)
    return first, second


class Tallier:
    """Counts samples one by one. Memory grows with the problems and their distinct answers, not with the samples."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._votes: dict[tuple[str, str], Counter[Hashable]] = {}
        self._golds: dict[tuple[str, str], str] = {}
        self._all_answers_known = True
        self.num_not_judged = 0

    def add(
        self,
        problem_id: str,
        correct: bool | None,
        *,
        benchmark: str = "",
        answer: Hashable | None = None,
        gold: str | None = None,
        count: int = 1,
    ) -> None:
        """One sample, or ``count`` equal ones. ``correct`` None: not judged.

        ``answer``: what it said, where a vote is wanted; None: nothing. ``gold``: the right answer, where it is known.
        """
        key = (benchmark, problem_id)
        if gold is not None:
            self._golds.setdefault(key, gold)
        counts = self._counts.setdefault(key, [0, 0])
        if correct is None:
            self.num_not_judged += count
            return
        counts[0] += count
        counts[1] += count * correct
        if not correct and answer is not None:
            self._votes.setdefault(key, Counter())[answer] += count

    def answers_unknown(self) -> None:
        """Say that some samples came without their answers: then there is no majority vote."""
        self._all_answers_known = False

    def tally(self) -> Tally:
        counts = np.array(list(self._counts.values()), dtype=np.int64).reshape(-1, 2)
        votes = [
            majority(num_correct, self._votes.get(key, {}).values()) for key, (_, num_correct) in self._counts.items()
        ]
        return Tally(
            problem_ids=tuple(problem_id for _, problem_id in self._counts),
            benchmarks=tuple(benchmark for benchmark, _ in self._counts),
            num_samples_P=counts[:, 0],
            num_correct_P=counts[:, 1],
            majority_P=np.array(votes, dtype=np.float64) if self._all_answers_known else None,
            num_not_judged=self.num_not_judged,
            golds=tuple(self._golds.get(key) for key in self._counts),
        )
