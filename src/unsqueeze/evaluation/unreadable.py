"""Problems whose gold answer no verifier can read: whatever is answered to them is not judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from unsqueeze.progress import Progress, Silent
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Verifier

MOST_NAMED = 5
AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The problems with an unreadable gold answer, and of how many problems they are."""

    problems: Sequence[Problem]
    num_problems: int

    @property
    def share(self) -> float:
        return len(self.problems) / max(self.num_problems, 1)

    def describe(self) -> str:
        """``3 of 7,500 gold answers cannot be read, … : math:17 ('???'), …``."""
        named = [f"{problem.id} ({problem.answer[:40]!r})" for problem in self.problems[:MOST_NAMED]]
        more = len(self.problems) - len(named)
        return (
            f"{len(self.problems):,} of {self.num_problems:,} gold answers cannot be read, so that no answer to them "
            f"is judged: {', '.join(named)}{f', and {more:,} more' if more else ''}"
        )


def unreadable_of(
    problems: Sequence[Problem],
    verifier: Verifier,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Unreadable:
    """Find the problems whose gold answer the verifier cannot read; none where it does not tell.

    Of equal gold answers one is read. A hundred thousand numbers take seconds, as many formulas, which Math-Verify
    reads, minutes: ``progress`` is told of every thousand.
    """
    find = getattr(verifier, "unreadable_golds", None)
    if find is None:
        return Unreadable([], len(problems))
    golds = list(dict.fromkeys(problem.answer for problem in problems))
    unreadable: set[str] = set()
    with progress.work("reading gold answers", len(golds)) as advance:
        for start in range(0, len(golds), AT_A_TIME):
            part = golds[start : start + AT_A_TIME]
            unreadable.update(part[place] for place in find(part))
            advance(len(part))
    return Unreadable([problem for problem in problems if problem.answer in unreadable], len(problems))
