"""Verifiers that are lent, started beforehand, and made of plain functions."""

import pytest

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict
from unsqueeze.verify.verifiers import Borrowed, as_verifier, name_of, start

PROBLEM = Problem(id="p", prompt="What is 3 + 4?", answer="7", task="math")


class Counting:
    """A verifier that counts what is asked of it."""

    name = "counting"

    def __init__(self) -> None:
        self.started = self.closed = 0

    def start(self) -> None:
        self.started += 1

    def verify(self, problems: list[Problem], responses: list[str]) -> list[Judgement]:
        return [Judgement(Verdict.CORRECT) for _ in zip(problems, responses, strict=True)]

    def close(self) -> None:
        self.closed += 1


def test_what_can_load_beforehand_is_started_once_and_what_cannot_is_left_alone():
    verifier = Counting()
    start(verifier)
    assert verifier.started == 1
    start(as_verifier(lambda problem, response: True))


def test_a_verifier_that_is_lent_works_and_starts_and_stays_open():
    verifier = Counting()
    lent = Borrowed(verifier)
    start(lent)
    assert lent.verify([PROBLEM], ["7"]) == [Judgement(Verdict.CORRECT)]
    lent.close()
    assert (verifier.started, verifier.closed, lent.name) == (1, 0, "counting")


def reward(problem: Problem, response: str) -> object:
    if response == "raise":
        raise ValueError("no\nnumber")
    return {"7": True, "8": 0, "unsure": None, "verdict": Verdict.UNPARSABLE, "2": 2}[response]


def test_what_a_function_gives_is_a_verdict():
    verifier = as_verifier(reward)
    verdicts = [
        judgement.verdict for judgement in verifier.verify([PROBLEM] * 5, ["7", "8", "unsure", "verdict", "raise"])
    ]
    assert verdicts == [Verdict.CORRECT, Verdict.WRONG, Verdict.CRASHED, Verdict.UNPARSABLE, Verdict.CRASHED]
    assert name_of(verifier) == f"{__name__}:reward"
    with pytest.raises(UserError, match=r"gave 2 for problem p; a verifier says true or false"):
        verifier.verify([PROBLEM], ["2"])


def test_what_is_no_verifier_is_refused():
    with pytest.raises(UserError, match="the verifier is a int; give a function of a problem and a response"):
        as_verifier(7)
