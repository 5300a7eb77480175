"""Judges answers to problems of reasoning-gym by the data set's own scorer, in workers that can be killed."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import metadata

from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.tasks.gym import place_of
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.extract import Credit, after_thinking, last_boxed
from unsqueeze.verify.job import Job
from unsqueeze.verify.pool import WorkerPool
from unsqueeze.verify.verdict import Judgement, Verdict

MEMORY_MB = 1024
"""Address space of a worker, at least: reasoning-gym brings numpy and matplotlib."""
_TAGS = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def find_answer(response: str, credit: Credit) -> str | None:
    """Return what stands between the last ``<answer>`` tags, else in the last box; with ``anywhere`` else a response of
    one line.
    """
    answer = after_thinking(response)
    if answer is None:
        return None
    response = answer
    tagged = _TAGS.findall(response)
    if tagged:
        return str(tagged[-1]).strip() or None
    boxed = last_boxed(response)
    if boxed:
        return boxed
    whole = response.strip()
    return whole if credit == "anywhere" and whole and "\n" not in whole else None


class GymVerifier:
    """Implements ``Verifier``. Workers start when there is something to judge."""

    def __init__(self, *, workers: int, timeout_s: float, memory_mb: int, credit: Credit) -> None:
        self._credit = credit
        self._pool = WorkerPool(
            workers=workers, timeout_s=timeout_s, memory_mb=max(memory_mb, MEMORY_MB), grader="reasoning_gym"
        )

    judges_beside = True
    """It may be called in a thread while something else is computed: workers do what takes time."""

    @property
    def name(self) -> str:
        """The scorer and what else verdicts depend on."""
        return f"reasoning-gym {metadata.version('reasoning-gym')}, credit {self._credit}"

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        """CORRECT at a score of 1. UNPARSABLE where no answer stands where one may."""
        answers = [find_answer(response, self._credit) for response in responses]
        jobs = [
            Job(json.dumps(place_of(problem.id)), answer, "anywhere")
            for problem, answer in zip(problems, answers, strict=True)
            if answer is not None
        ]
        grades = iter(self._pool.run(jobs))
        judged = (None if answer is None else next(grades) for answer in answers)
        return [
            Judgement(Verdict.UNPARSABLE, None, "no answer between tags or in a box")
            if grade is None
            else Judgement(Verdict(grade.verdict), grade.extracted, grade.reason)
            for grade in judged
        ]

    def abandoning(self) -> AbstractContextManager[None]:
        """For the duration, whatever is judged in another thread ends at once with RunError."""
        return self._pool.abandoning()

    def close(self) -> None:
        self._pool.close()


def make_gym_verifier(settings: VerifySettings) -> GymVerifier:
    """Return the verifier of these settings."""
    return GymVerifier(
        workers=settings.workers,
        timeout_s=settings.timeout_s,
        memory_mb=settings.memory_mb,
        credit=settings.credit,
    )
