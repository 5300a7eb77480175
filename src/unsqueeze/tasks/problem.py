"""One problem with its gold answer."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question with a checkable answer.

    ``prompt`` is the text of the question as a person would read it; how it is wrapped for a model (chat template,
    beginning-of-sequence token) is the prompt builder's business. ``answer`` is the gold answer as its task's
    verifier reads it: a short LaTeX, number or letter for mathematics; the target, as a decimal string, for Countdown
    (the numbers are in the prompt); one of the right answers of reasoning-gym. ``task`` names the task.
    ``option_order``: where the options of a choice were shuffled, which of them stands at A, B, …, counted from 0 for
    the right one.
    """

    id: str
    prompt: str
    answer: str
    task: str
    option_order: tuple[int, ...] | None = None


def content_sha256(problems: Iterable[Problem]) -> str:
    """A hash, in hexadecimal, of the ids, questions and answers of problems that stand in no file of ours."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps([problem.id, problem.prompt, problem.answer]).encode() + b"\n")
    return digest.hexdigest()
