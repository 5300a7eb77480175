"""The verifier of a task, and verifiers made of plain functions."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.errors import UserError, one_line
from unsqueeze.extensions import VERIFIERS
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import Task
from unsqueeze.verify.verdict import Judgement, Verdict, Verifier, abandoning, judges_beside

Reward = Callable[[Problem, str], Any]
"""Function of a problem and a response: true or false, 1 or 0, a ``Verdict``, or None where it cannot tell."""


def make_verifier(task: Task, settings: VerifySettings) -> Verifier:
    """Return the verifier that the settings name, or else the task's own. Its workers start when they are needed."""
    found = VERIFIERS.resolve(settings.verifier or task.verifier)
    return as_verifier(found if _is_reward(found) else found(settings))


def start(verifier: Verifier) -> None:
    """Let a verifier load in the background what it needs, where it can."""
    begin = getattr(verifier, "start", None)
    if begin is not None:
        begin()


def name_of(verifier: Any) -> str:
    """Return a name that changes when verdicts might: the verifier's own, or the place of its code."""
    name = getattr(verifier, "name", None)
    if isinstance(name, str):
        return name
    code = verifier if hasattr(verifier, "__qualname__") else type(verifier)
    return f"{code.__module__}:{code.__qualname__}"


def as_verifier(given: Any) -> Verifier:
    """Return a verifier as it is, and a plain function of problem and response as one. UserError for anything else."""
    if hasattr(given, "verify"):
        verifier: Verifier = given
        return verifier
    if callable(given):
        return FunctionVerifier(given)
    raise UserError(
        f"the verifier is a {type(given).__name__}; give a function of a problem and a response, or an object with "
        f"verify(problems, responses) and close()."
    )


class Borrowed:
    """Implements ``Verifier`` by another, which stays open: whoever made it closes it."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    @property
    def name(self) -> str:
        return name_of(self._verifier)

    @property
    def judges_beside(self) -> bool:
        return judges_beside(self._verifier)

    def abandoning(self) -> AbstractContextManager[None]:
        return abandoning(self._verifier)

    def start(self) -> None:
        start(self._verifier)

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        return self._verifier.verify(problems, responses)

    def close(self) -> None:
        """Close nothing: the verifier is somebody else's."""


class FunctionVerifier:
    """Implements ``Verifier`` by a function, called in this process: one answer after the other, without a deadline.

    What the function raises counts as not judged.
    """

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    @property
    def name(self) -> str:
        return name_of(self._reward)

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        return [self._judge(problem, response) for problem, response in zip(problems, responses, strict=True)]

    def close(self) -> None:
        """Close nothing: nothing is held open."""

    def _judge(self, problem: Problem, response: str) -> Judgement:
        try:
            given = self._reward(problem, response)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything; it says nothing of the answer
            return Judgement(
                Verdict.CRASHED, None, f"{self.name} raised {one_line(f'{type(error).__name__}: {error}')}"
            )
        return self._judgement(given, problem)

    def try_out(self, problem: Problem, response: str) -> None:
        """Call the function once. UserError if it raises, or gives what is no verdict."""
        try:
            given = self._reward(problem, response)
        except Exception as error:
            raise UserError(
                f"{self.name} raised {_named(error)} for problem {problem.id} and the "
                f"response {response[:80]!r}; a verifier is called with a Problem and the text of a response."
            ) from error
        self._judgement(given, problem)

    def _judgement(self, given: Any, problem: Problem) -> Judgement:
        if isinstance(given, Judgement):
            return given
        if isinstance(given, Verdict):
            return Judgement(given)
        if given is None:
            return Judgement(Verdict.CRASHED, None, f"{self.name} could not tell")
        if given in (0, 1):
            return Judgement(Verdict.CORRECT if given else Verdict.WRONG)
        raise UserError(
            f"{self.name} gave {given!r} for problem {problem.id}; a verifier says true or false, 1 or 0, a Verdict, "
            f"or None where it cannot tell."
        )


def _is_reward(found: Any) -> bool:
    """Tell a function of problem and response from a maker of verifiers, which takes the settings alone."""
    code = getattr(found, "__code__", None)
    return code is not None and code.co_argcount == 2


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
