"""Gold answers that no verifier can read are found, each once, while a person sees how far it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unsqueeze.evaluation import unreadable
from unsqueeze.evaluation.unreadable import unreadable_of
from unsqueeze.progress import Advance, Silent
from unsqueeze.tasks.problem import Problem


class Marks:
    """A verifier that cannot read what ends with a question mark, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def unreadable_golds(self, golds: Sequence[str]) -> list[int]:
        self.asked += golds
        return [place for place, gold in enumerate(golds) if gold.endswith("?")]


class Told(Silent):
    def __init__(self) -> None:
        self.work_of: list[tuple[str, int]] = []
        self.done: list[int] = []

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        self.work_of.append((label, total))
        yield self.done.append


def problem(number: int, answer: str) -> Problem:
    return Problem(id=str(number), prompt="?", answer=answer, task="math")


def test_every_answer_is_read_once_in_parts_that_are_told(monkeypatch) -> None:
    monkeypatch.setattr(unreadable, "AT_A_TIME", 3)
    answers = ["1", "x?", "1", "2", "3", "y?", "x?", "4", "5"]
    problems = [problem(number, answer) for number, answer in enumerate(answers)]
    verifier, told = Marks(), Told()
    found = unreadable_of(problems, verifier, told)  # type: ignore[arg-type]
    assert [each.id for each in found.problems] == ["1", "5", "6"]
    assert found.num_problems == 9
    assert verifier.asked == ["1", "x?", "2", "3", "y?", "4", "5"]
    assert told.work_of == [("reading gold answers", 7)]
    assert told.done == [3, 3, 1]


def test_a_verifier_that_does_not_tell_finds_none() -> None:
    assert unreadable_of([problem(0, "x?")], object()).problems == []  # type: ignore[arg-type]
