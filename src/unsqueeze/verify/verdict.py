"""Verdicts on answers, and their rewards."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from unsqueeze.tasks.problem import Problem


class Verdict(StrEnum):
    """The outcome of judging one answer.

    ``TIMED_OUT`` and ``CRASHED`` mean *not judged*: the checker failed, which says nothing about the answer. They take
    no part in a group's baseline, carry no advantage, and are counted apart.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"

    @property
    def judged(self) -> bool:
        return self not in (Verdict.TIMED_OUT, Verdict.CRASHED)

    @property
    def reward(self) -> float:
        """R(y, l) of Eq. 1 (arXiv 2604.16995): 1 if correct, else 0. NaN where nothing was judged."""
        if not self.judged:
            return float("nan")
        return 1.0 if self is Verdict.CORRECT else 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the answer that was found in the response (None where none was), and why, in a few words."""

    verdict: Verdict
    extracted: str | None = None
    reason: str = ""


class Verifier(Protocol):
    """Judges responses. ``problems`` and ``responses`` run in parallel, and so does what comes back."""

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]: ...

    def close(self) -> None: ...
