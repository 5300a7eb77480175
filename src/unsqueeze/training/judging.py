"""Judging of a round of rollouts, while others of it are still being drawn where engine and verifier allow it.

An engine that takes ``on_ended`` hands responses over as they end. A verifier that ``judges_beside`` may be asked in a
thread, which gives it all that has come in since it last asked; most have processes of their own for the work. What
has come in since is judged when everything is drawn, and so is everything for other engines and verifiers, and where
several processes judge as one.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from types import TracebackType
from typing import Self

from unsqueeze.rollout.types import Completion, Engine, takes_on_ended
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verifier, abandoning, judges_beside


class RoundJudge:
    """Judges the responses to ``problems``, one each. A context: on leaving it, nothing is judged any more.

    Where an error ends the drawing, the verifier abandons what it is at.
    """

    def __init__(self, verifier: Verifier, problems: Sequence[Problem]) -> None:
        self._verifier = verifier
        self._problems = problems
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging")  # starts with the first response
        self._lock = threading.Lock()
        self._waiting: dict[int, str] = {}
        self._is_busy = False
        self._work: Future[None] | None = None
        self._judged: dict[int, tuple[str, Judgement]] = {}

    def told_by(self, engine: Engine) -> dict[str, Callable[[Sequence[tuple[int, Completion]]], None]]:
        """What ``generate`` of this engine is to be given besides: nothing where judging waits for its end."""
        return {"on_ended": self.take} if judges_beside(self._verifier) and takes_on_ended(engine) else {}

    def take(self, ended: Sequence[tuple[int, Completion]]) -> None:
        """Have responses judged, each with its place among the problems. Raises what the verifier raised meanwhile."""
        if self._work is not None and self._work.done():
            self._work.result()
        with self._lock:
            self._waiting |= {number: completion.text for number, completion in ended}
            if self._waiting and not self._is_busy:
                self._is_busy = True
                self._work = self._thread.submit(self._judge_on)

    def judgements(self, responses: Sequence[str]) -> list[Judgement]:
        """The judgements of all responses, in the order of the problems, once they are there.

        Raises what the verifier raised.
        """
        with self._lock:
            self._waiting.clear()
        if self._work is not None:
            self._work.result()
        left = [i for i, text in enumerate(responses) if i not in self._judged or self._judged[i][0] != text]
        self._judge({i: responses[i] for i in left})
        return [self._judged[i][1] for i in range(len(responses))]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._waiting.clear()
        with nullcontext() if kind is None else abandoning(self._verifier):
            self._thread.shutdown()

    def _judge_on(self) -> None:
        """Judge until nothing waits. An error ends it."""
        while True:
            with self._lock:
                batch, self._waiting = self._waiting, {}
                self._is_busy = bool(batch)
            if not batch:
                return
            self._judge(batch)

    def _judge(self, responses: dict[int, str]) -> None:
        if responses:
            given = self._verifier.verify([self._problems[i] for i in responses], list(responses.values()))
            self._judged |= {i: (responses[i], judgement) for i, judgement in zip(responses, given, strict=True)}
