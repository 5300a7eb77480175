"""A training run small enough for a test: a small model, Countdown, and everything in a temporary folder.

``small_recipe`` trains the embedded model, judged by what Countdown demands. Most of what tests assert needs no model
that can do anything: ``random_recipe`` is a third of the work, and goes with the fixture ``judged_by_hash``, since no
answer of a random model is right, and a group without right answers teaches nothing.

The embedded model is needed where

- a command runs in a process of its own, whose verifier is Countdown's: ``distributed/test_launcher.py``,
  ``test_wheel.py``, ``test_memory.py``; and in ``cli/test_train.py``, so that one run here is judged by it;
- what is said counts: stop strings and texts in ``rollout/test_vllm_server.py``, evaluations in ``cli``, kills that say
  how often a run survives (``training/test_resume.py``, many);
- a bound was counted for its three layers: ``two_processes.py``, but for the whole runs;
- its width is one that kernels exist for: ``rollout/test_vllm_engine.py``, ``rollout/test_vllm_serve.py``.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tiny_models import random_countdown
from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.progress import Interrupted, Silent, StopRequest
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.loop import train
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.run import Run
from unsqueeze.training.setup import load_parts, open_directory, put_together
from unsqueeze.verify.countdown import CountdownVerifier, check_countdown
from unsqueeze.verify.verdict import Judgement, Verdict

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "threads": 1,
    "data": {"kind": "countdown", "num_train": 12, "num_test": 4},
    "rollout": {"max_tokens": 20},
    "rl": {"steps": 5, "prompts_per_step": 4, "group_size": 4, "learning_rate": 1e-3},
    "irl": {"every_steps": 2, "k": 2, "steps": 2, "batch_size": 8, "learning_rate": 1e-3},
    "evaluation": {"n": 4},
    "checkpoint": {"every_steps": 1},
}


def small_recipe(**sections: Any) -> Recipe:
    """The recipe above, with whole sections replaced key by key."""
    raw = dict(SMALL)
    for name, value in sections.items():
        inner = raw.get(name)
        raw[name] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return check_recipe(raw, "test")


def random_recipe(**sections: Any) -> Recipe:
    """``small_recipe`` with a random model and responses of at most eight tokens; goes with ``judging_by_hash``."""
    cheap = {"model": {"path": str(random_countdown())}, "rollout": {"max_tokens": 8}}
    return small_recipe(**sections | {name: section | sections.get(name, {}) for name, section in cheap.items()})


@contextmanager
def judging_by_hash() -> Iterator[None]:
    """Countdown's verifier finds one answer in three right that is not, by a hash of problem and text.

    Of the others, half are unparsable. What is right stays right: solutions are tried before a run begins.
    """

    def verify(self: CountdownVerifier, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        return [judgement_of(problem, text) for problem, text in zip(problems, responses, strict=True)]

    with mock.patch.object(CountdownVerifier, "verify", verify):
        yield


def judgement_of(problem: Problem, text: str) -> Judgement:
    true = check_countdown(problem, text)
    if true.verdict is Verdict.CORRECT:
        return true
    verdict = (Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE)[zlib.crc32(f"{problem.id}: {text}".encode()) % 3]
    return Judgement(verdict, None if verdict is Verdict.UNPARSABLE else text[-2:], "by its hash")


def prepare(recipe: Recipe, path: Path, *, stop: StopRequest | None = None) -> tuple[Run, Any]:
    """The run of a recipe in a folder (a new one, or one to go on with) and its reference policy."""
    parts = load_parts(recipe)
    directory = open_directory(recipe, parts, path)
    run = put_together(recipe, parts, directory, progress=Silent(), stop=stop or StopRequest())
    return run, parts.reference


def run_to_end(recipe: Recipe, path: Path) -> tuple[Run, list[PhaseReport]]:
    """Train to the end; returns the run and the reports of its phases."""
    run, reference = prepare(recipe, path)
    reports = train(run, reference=reference)
    run.verifier.close()
    run.directory.close()
    return run, reports


class StopAfter(StopRequest):
    """Asks to stop at the n-th safe point."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self._left = checks

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Interrupted


def weights(run: Run) -> dict[str, Any]:
    """A copy of the policy's weights."""
    return {name: parameter.detach().clone() for name, parameter in run.policy.trainable()}


def without_timings(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics with everything but the seconds, which no two runs share."""
    return [{key: value for key, value in record.items() if not key.endswith("_s")} for record in records]


def evaluation_record(num_problems: int, avg: float | None, pass_at: dict[int, float | None]) -> dict[str, Any]:
    """The record of an evaluation, of which only the means matter."""

    def estimate(mean: float | None) -> dict[str, float | None]:
        return {"mean": mean, "low": None, "high": None}

    return {
        "n_problems": num_problems,
        "avg": avg,
        "avg_low": None,
        "avg_high": None,
        "pass_at": {str(k): estimate(mean) for k, mean in pass_at.items()},
        "coverage": estimate(None),
        "greedy_logp": -0.1,
    }
