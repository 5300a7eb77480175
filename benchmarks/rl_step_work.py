"""What both sides of ``rl_step.py`` do and tell: the work, the clocks of a turn, and the recipe that says the prompts.

A side is a process of its own, which tells that it is warm, takes some RL steps for every line that it reads and tells
the turn, each as a line of JSON. Peak memory is that of the process so far, with libraries and the model.
"""

import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage

from models import control_of
from unsqueeze.config.recipe import Recipe

FEWEST_PROBLEMS = 800


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides do: ``warm_up`` steps that do not count, then ``turns`` of ``steps`` that do.

    ``model`` and ``problems`` are a checkpoint and a JSONL file; without them it is Countdown with the embedded model.
    ``rows_at_once`` are responses in a micro-batch of TRL's, of which ours cuts its own.
    """

    turns: int
    steps: int
    warm_up: int
    prompts: int
    group_size: int
    max_tokens: int
    learning_rate: float
    rows_at_once: int
    threads: int = 1
    kl_coefficient: float = 0.0
    model: str | None = None
    problems: str | None = None

    @property
    def rows(self) -> int:
        return self.prompts * self.group_size

    @property
    def num_problems(self) -> int:
        """So many that no turn comes to the end of a pass over them."""
        return max(FEWEST_PROBLEMS, self.prompts * (self.warm_up + self.turns * self.steps + 1))


EMBEDDED = Work(
    turns=5,
    steps=20,
    warm_up=2,
    prompts=16,
    group_size=8,
    max_tokens=20,
    learning_rate=1e-4,
    rows_at_once=128,
    threads=1,
)
"""The embedded model at Countdown."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Means over the steps of a turn: milliseconds a step, and how many tokens were drawn in it; the peak of memory."""

    cpu_ms: float
    step_ms: float
    generate_ms: float
    judge_ms: float
    tokens: float
    peak_mb: float
    store_ms: float = 0.0

    @property
    def rest_ms(self) -> float:
        """The update with what belongs to it: scoring by the reference, batches, metrics."""
        return self.step_ms - self.generate_ms - self.judge_ms - self.store_ms


def recipe_of(work: Work) -> Recipe:
    """Ours: the quickstart's control, or the recipe for SmolLM2 without IRL phases, rewarded by a coin."""
    settings = [
        f"rl.prompts_per_step={work.prompts}",
        f"rl.group_size={work.group_size}",
        f"rl.learning_rate={work.learning_rate}",
        f"rl.kl_coefficient={work.kl_coefficient}",
        f"rollout.max_tokens={work.max_tokens}",
        f"threads={work.threads}",
        f"data.num_train={work.num_problems}",
        *("evaluation.n=1", "data.num_test=4", "checkpoint.every_steps=null"),
    ]
    if work.model is not None:
        settings += ["verify.verifier=coin:coin", "evaluation.every_steps=null"]
    return control_of(work.model, work.problems, settings)


class Meter:
    """The clocks of a side: tells of every turn, and waits for a line before each."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._steps = 0
        self._spent: Counter[str] = Counter()
        self._begun = self._cpu_begun = 0.0
        # Libraries print too: what they do goes to the standard error.
        self._told = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def add(self, **amounts: float) -> None:
        """Add to the sums of a turn, such as ``tokens``; their means over its steps are told."""
        self._spent.update(amounts)

    def step(self) -> bool:
        """Count a step that is done; tell whether it was the last."""
        self._steps += 1
        past = self._steps - self._work.warm_up
        if past < 0 or past % self._work.steps:
            return False
        print(json.dumps(self._turn() if past else {}), file=self._told, flush=True)
        if past == self._work.turns * self._work.steps:
            return True
        if not sys.stdin.readline():
            raise SystemExit("no further turn is asked for")
        self._spent.clear()
        self._begun, self._cpu_begun = time.perf_counter(), time.process_time()
        return False

    def _turn(self) -> dict[str, float]:
        steps = self._work.steps
        return {
            "cpu_ms": 1e3 * (time.process_time() - self._cpu_begun) / steps,
            "step_ms": 1e3 * (time.perf_counter() - self._begun) / steps,
            "peak_mb": peak_mb(),
        } | {name: amount / steps for name, amount in self._spent.items()}


def peak_mb() -> float:
    """The largest resident memory of this process so far, in 10^6 bytes; Linux counts it in KiB."""
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024 / 1e6
