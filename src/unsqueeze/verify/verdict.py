"""Verdicts on answers, and their rewards."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.job import SAME_UNREADABLE


class Verdict(StrEnum):
    """The outcome of judging one answer.

    The first three are judgements. The others are none, and say who is the cause: the answer, which took more time
    (``TIMED_OUT``) or memory (``TOO_LARGE``) than an answer may; the verifier, which failed by itself (``CRASHED``); or
    the gold answer (``UNREADABLE_GOLD``), which says nothing about any answer to its problem.
    """

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TIMED_OUT = "timed_out"
    TOO_LARGE = "too_large"
    CRASHED = "crashed"
    UNREADABLE_GOLD = "unreadable_gold"

    @property
    def judged(self) -> bool:
        return self in (Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE)

    @property
    def reward(self) -> float:
        """R(y, l) of Eq. 1 (arXiv 2604.16995): 1 if correct, else 0. NaN where not the answer is the cause of none.

        An answer that keeps the verifier busy earns 0: were it left out, a group would be compared with those of its
        answers alone that can be judged.
        """
        if self in (Verdict.CRASHED, Verdict.UNREADABLE_GOLD):
            return float("nan")
        return 1.0 if self is Verdict.CORRECT else 0.0

    @property
    def judged_reward(self) -> float:
        """``reward`` of what was judged, else NaN: what kept the verifier busy is no answer to learn from."""
        return self.reward if self.judged else float("nan")

    @property
    def correct(self) -> bool | None:
        """Whether the answer is correct; None where that was not judged."""
        return self is Verdict.CORRECT if self.judged else None


def of_unreadable_gold(verdict: str | None, reason: str | None) -> bool:
    """Tell from a verdict and its reason, as they are stored, whether the gold answer could not be read.

    The same text as such a gold answer is correct; its problem has no right and wrong answers for all that.
    """
    return verdict == Verdict.UNREADABLE_GOLD or reason == SAME_UNREADABLE


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the answer that was found in the response (None where none was), and why, in a few words."""

    verdict: Verdict
    extracted: str | None = None
    reason: str = ""


class Verifier(Protocol):
    """Judges responses. ``problems`` and ``responses`` run in parallel, and so does what comes back.

    One whose ``judges_beside`` is true may be called in a thread, while responses are still drawn in another. It may
    have ``abandoning``, a context in which such a call ends at once.
    """

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]: ...

    def close(self) -> None: ...


def judges_beside(verifier: Verifier) -> bool:
    """Tell whether a verifier may be called in a thread, while responses are drawn in another."""
    return bool(getattr(verifier, "judges_beside", False))


def abandoning(verifier: Verifier) -> AbstractContextManager[None]:
    """Return a context in which what a verifier is at in another thread ends at once, where it can."""
    context: Callable[[], AbstractContextManager[None]] = getattr(verifier, "abandoning", nullcontext)
    return context()
