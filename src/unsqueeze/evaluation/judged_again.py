"""Rollouts whose rewards are asked of a verifier, instead of being taken from a trainer's file."""

from collections.abc import Sequence

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import Messages, prompt_of, words
from unsqueeze.interop.sample_files import Record
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Verdict, Verifier


class JudgedAgain:
    """Asks the verifier of a task about rollouts that know their gold answer; the reward is 1, 0, or None."""

    def __init__(self, verifier: Verifier, task: str) -> None:
        self._verifier = verifier
        self._task = task

    def __call__(self, records: Sequence[Record]) -> list[float | None]:
        problems = [self._problem(record) for record in records]
        judgements = self._verifier.verify(problems, [_response(record) for record in records])
        rewards = [Verdict(judgement.verdict).judged_reward for judgement in judgements]
        return [None if reward != reward else reward for reward in rewards]

    def _problem(self, record: Record) -> Problem:
        gold = record.fields.get("gold")
        if isinstance(gold, bool) or not isinstance(gold, str | int | float):
            raise UserError(
                f"{record.where}: no gold answer to judge by (fields there: {record.names()}); give rollouts with gold "
                f"(solution, gts, label or answer), or --reward."
            )
        asked = prompt_of(record, ("prompt", "messages"))
        return Problem(id=record.where, prompt=_said(asked), answer=str(gold), task=self._task)


def _said(prompt: str | Messages) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def _response(record: Record) -> str:
    said = words(record)
    return said[1] if isinstance(said, tuple) else said[-1]["content"]
