"""Verifiers that remember how they were asked, and what they judge."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from unsqueeze.errors import RunError
from unsqueeze.rollout.types import Completion, StopReason
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict

SOON_S = 30.0


class EqualText:
    """Judges by equality, and remembers what it was asked and in which thread; the text "broken" breaks it."""

    def __init__(self, *, judges_beside: bool = True) -> None:
        self.judges_beside = judges_beside
        self.asked: list[tuple[str, list[str]]] = []
        self.has_judged = threading.Event()

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        self.asked.append((threading.current_thread().name, list(responses)))
        if "broken" in responses:
            raise RunError("the verifier broke")
        given = [
            Judgement(Verdict.CORRECT if problem.answer == text else Verdict.WRONG)
            for problem, text in zip(problems, responses, strict=True)
        ]
        self.has_judged.set()
        return given

    def close(self) -> None: ...


class Abandonable(EqualText):
    """Judges until it is told to abandon that."""

    def __init__(self) -> None:
        super().__init__()
        self._is_abandoned = threading.Event()

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        super().verify(problems, responses)
        assert self._is_abandoned.wait(SOON_S), "nobody abandoned it"
        raise RunError("abandoned")

    @contextmanager
    def abandoning(self) -> Iterator[None]:
        self._is_abandoned.set()
        yield


def completion(text: str) -> Completion:
    """A response of one token."""
    logp = np.full(1, -1.0, np.float32)
    return Completion(
        tokens=np.zeros(1, np.int32), text=text, logp_raw=logp, logp_behaviour=logp, stop_reason=StopReason.EOS
    )
