"""Counts of samples and of correct ones for every problem: the start of every estimate.

Axes: P problems.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.vote import majority

Key = tuple[str, str]
"""Benchmark and problem id."""


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts per problem, in the order in which the problems were first seen. Arrays have shape (P,).

    ``num_samples_P`` counts all samples of a problem, and ``num_open_P`` those among them that were not judged: they
    count as wrong, and would be right at best. No sample and no problem is left out for what was answered. Problems
    whose gold answer cannot be read are left out whole; ``unreadable`` names them. ``majority_P`` is maj@n of every
    problem, None where the answers are not known, and ``best_majority_P`` the same were all open samples right.
    """

    problem_ids: tuple[str, ...]
    benchmarks: tuple[str, ...]
    num_samples_P: NDArray[np.int64]
    num_correct_P: NDArray[np.int64]
    num_open_P: NDArray[np.int64]
    majority_P: NDArray[np.float64] | None = None
    best_majority_P: NDArray[np.float64] | None = None
    golds: tuple[str | None, ...] = ()
    """Gold answers, None where samples came without."""
    unreadable: tuple[Key, ...] = ()

    @property
    def keys(self) -> list[Key]:
        return list(zip(self.benchmarks, self.problem_ids, strict=True))

    @property
    def num_not_judged(self) -> int:
        return int(self.num_open_P.sum())

    @property
    def max_samples(self) -> int:
        return int(self.num_samples_P.max(initial=0))

    @property
    def strata(self) -> list[str]:
        """The benchmarks there are, in the order in which they were first seen."""
        return list(dict.fromkeys([*self.benchmarks, *(benchmark for benchmark, _ in self.unreadable)]))


def called_alike(tallies: Sequence[Tally]) -> list[Tally]:
    """The tallies, and where some name no benchmark and the others all one and the same, with that name in all."""
    named = {tuple(tally.strata) for tally in tallies if tally.strata != [""]}
    if len(named) != 1 or len(only := next(iter(named))) != 1:
        return list(tallies)
    return [
        replace(
            tally,
            benchmarks=only * len(tally.benchmarks),
            unreadable=tuple((only[0], problem_id) for _, problem_id in tally.unreadable),
        )
        for tally in tallies
    ]


class Tallier:
    """Counts samples one by one. Memory grows with the problems and their distinct answers, not with the samples."""

    def __init__(self) -> None:
        self._counts: dict[Key, list[int]] = {}
        self._votes: dict[Key, Counter[Hashable]] = {}
        self._golds: dict[Key, str] = {}
        self._unreadable: dict[Key, None] = {}
        self._all_answers_known = True

    def add(
        self,
        problem_id: str,
        correct: bool | None,
        *,
        benchmark: str = "",
        answer: Hashable | None = None,
        gold: str | None = None,
        readable: bool = True,
        count: int = 1,
    ) -> None:
        """One sample, or ``count`` equal ones. ``correct`` None: not judged.

        ``answer``: what it said, where a vote is wanted; None: nothing. ``gold``: the right answer, where it is known.
        ``readable`` False: the gold answer cannot be read, which takes the problem out, whatever its samples are.
        """
        key = (benchmark, problem_id)
        if gold is not None:
            self._golds.setdefault(key, gold)
        if not readable:
            self._unreadable[key] = None
        counts = self._counts.setdefault(key, [0, 0, 0])
        counts[0] += count
        if correct is None:
            counts[2] += count
        else:
            counts[1] += count * correct
        if correct is False and answer is not None:
            self._votes.setdefault(key, Counter())[answer] += count

    def answers_unknown(self) -> None:
        """Say that some samples came without their answers: then there is no majority vote."""
        self._all_answers_known = False

    def tally(self) -> Tally:
        keys = [key for key in self._counts if key not in self._unreadable]
        counts = np.array([self._counts[key] for key in keys], dtype=np.int64).reshape(-1, 3)
        num_samples_P, num_correct_P, num_open_P = counts.T
        return Tally(
            problem_ids=tuple(problem_id for _, problem_id in keys),
            benchmarks=tuple(benchmark for benchmark, _ in keys),
            num_samples_P=num_samples_P,
            num_correct_P=num_correct_P,
            num_open_P=num_open_P,
            majority_P=self._majority(keys, num_correct_P),
            best_majority_P=self._majority(keys, num_correct_P + num_open_P),
            golds=tuple(self._golds.get(key) for key in keys),
            unreadable=tuple(self._unreadable),
        )

    def _majority(self, keys: list[Key], num_correct_P: NDArray[np.int64]) -> NDArray[np.float64] | None:
        if not self._all_answers_known:
            return None
        pairs = zip(keys, num_correct_P.tolist(), strict=True)
        votes = [majority(num_correct, self._votes.get(key, {}).values()) for key, num_correct in pairs]
        return np.array(votes, dtype=np.float64)
