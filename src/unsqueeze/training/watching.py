"""What is measured on watched prompts: how many there are, once for each policy, and how long it took.

``num_watched`` bounds by design what phase reports and gauges cost, in forward passes over a response:

    a rollout of the phase   1 or more to generate, 3 to learn from
    gauges                   5 to generate, 4 to score, a watched prompt: 4 answers drawn, and a greedy one
    the reports of a cycle   40 a prompt: of RL and of IRL, 4 answers scored again, and the NLL of 8 rows, twice

Gauges are read every ``evaluation.gauges_every_steps`` steps and where the RL and the IRL phase end; what is read at
the end of a phase also stands at the beginning of the next, since no weight changes in between.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from unsqueeze.config.recipe import Recipe
from unsqueeze.training.probe import SAMPLES_PER_PROMPT, ProbeSamples

SHARE = 0.05
"""The share of a phase's own work that measuring may take."""
MOST, LEAST = 16, 2
"""Watched prompts: more would tell little more, and one alone would tell of itself."""
NLL_ROWS_PER_PROMPT = 8
"""Rows of a phase's own batch on which its report measures the NLL, for each watched prompt."""

_LEARN_PASSES = 3
_GAUGE_ANSWERS = SAMPLES_PER_PROMPT + 1
_REPORT_PASSES = 2 * (SAMPLES_PER_PROMPT + 2 * NLL_ROWS_PER_PROMPT)


def num_watched(recipe: Recipe, num_problems: int) -> int:
    """Return how many prompts a run watches: as its recipe says, else MOST, or fewer, where its phases are short, down
    to LEAST.

    It does not depend on how many steps the run has. A KL budget is measured on MOST prompts, however short the phases.
    """
    irl, every = recipe.irl, recipe.evaluation.gauges_every_steps
    if recipe.evaluation.watched_prompts is not None:
        return recipe.evaluation.watched_prompts
    if irl is not None and irl.kl_budget is not None:
        return MOST
    if irl is None:
        if every is None:
            return MOST
        steps, gauges, reports = every, 1, 0
    else:
        steps = irl.every_steps or math.ceil((irl.every_passes or 1.0) * num_problems / recipe.rl.prompts_per_step)
        gauges, reports = math.ceil(steps / (every or steps)) + 1, _REPORT_PASSES
    rollouts = steps * recipe.rl.prompts_per_step * recipe.rl.group_size
    passes = gauges * (_GAUGE_ANSWERS + SAMPLES_PER_PROMPT) + reports
    # The first is by all work where a token costs a pass to generate, the second by generation where it costs far more.
    most = min(SHARE * (1 + _LEARN_PASSES) * rollouts / passes, SHARE * rollouts / (gauges * _GAUGE_ANSWERS))
    return max(LEAST, min(MOST, int(most)))


class Stopwatch:
    """Adds up the seconds of pieces of work; one inside another counts once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._depth = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        begun = time.perf_counter()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self.seconds += time.perf_counter() - begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How peaked the policy of a version is: answers drawn from it, and the greedy log-prob, nats per token."""

    version: int
    samples: ProbeSamples
    greedy_logp: float


@dataclass(slots=True)
class Watch:
    """What was measured last, so that nothing is measured twice of one policy, and the time of the present phase."""

    last: Measured | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
