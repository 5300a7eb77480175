"""The scorers of reasoning-gym, as a worker calls them. Nothing but a worker imports this module.

Several of them run an answer as Python, by ``eval`` or by sympy. So every answer is scored in a fork of its own, which
may compute and nothing else (``verify.confine``); the worker never sees an answer run, and takes a number from the
fork. What an answer can still do is to score itself.
"""

import contextlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from unsqueeze.verify import confine
from unsqueeze.verify.job import OWN_ENDS, Grade
from unsqueeze.verify.once import in_fresh_process

_TOO_LARGE = {"MemoryError": "out of memory", "RecursionError": "nested too deeply for the grader"}


@lru_cache(maxsize=8)
def _data_set(name: str, size: int, seed: int) -> Any:
    import reasoning_gym

    data_set = reasoning_gym.create_dataset(name, size=size, seed=seed)
    # A scorer loads what it needs when it is first called: here once, for all the forks.
    with contextlib.suppress(Exception):
        data_set.score_answer(data_set[0]["answer"], data_set[0])
    return data_set


class GymGrader:
    """``gold`` is JSON: name, size and seed of the data set, and the place of the problem in it."""

    def __init__(self, data_set: Callable[[str, int, int], Any] | None = None) -> None:
        if data_set is None:
            import reasoning_gym  # noqa: F401 - loaded before workers are forked
        self._data_set = data_set or _data_set

    def begin(self) -> None:
        """In the worker, before its first job."""
        confine.adopt_orphans()

    def grade(self, gold: str, text: str, where: str) -> Grade:
        """Correct at the full score of 1; part of it is wrong."""
        name, size, seed, index = json.loads(gold)
        data_set = self._data_set(name, size, seed)
        entry = data_set[index]
        report = in_fresh_process(lambda: {"score": float(data_set.score_answer(text, entry))})
        return _grade_of(report, text)


def _grade_of(report: dict[str, Any] | int, text: str) -> Grade:
    """Return the grade by what the fork said. It may have said anything."""
    if isinstance(report, int):
        verdict = "too_large" if report in OWN_ENDS else "crashed"
        return Grade(verdict, False, None, f"the scorer ended on this answer with code {report}")
    score, raised = report.get("score"), report.get("raised")
    if isinstance(score, float):
        return Grade("correct" if score >= 1.0 else "wrong", True, text, f"reasoning-gym's score is {score:g}")
    if isinstance(raised, str) and raised in _TOO_LARGE:
        return Grade("too_large", False, None, _TOO_LARGE[raised])
    name = raised[:60] if isinstance(raised, str) and raised.isidentifier() else "something"
    return Grade("crashed", False, None, f"the grader raised {name}")
