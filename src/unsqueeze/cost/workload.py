"""Count what a recipe asks for: steps, rollouts, tokens, evaluations, checkpoints."""

import math
from dataclasses import dataclass

from unsqueeze.config.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of prompts and responses. The longest decide over memory, the means over time and disk."""

    longest_prompt: int
    mean_prompt: float
    longest_response: int
    mean_response: float

    @property
    def longest_row(self) -> int:
        return self.longest_prompt + self.longest_response

    @property
    def mean_row(self) -> float:
        return self.mean_prompt + self.mean_response


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The numbers of a run. ``rollouts`` leaves out what dynamic sampling may draw beyond one round of prompts."""

    rl_phases: int
    irl_phases: int
    rl_steps: int
    rollouts_per_step: int
    rollouts_per_generation: int
    base_rollouts: int
    generations: int
    irl_updates: int
    demonstrations_per_update: int
    evaluations: int
    problems_per_evaluation: int
    samples_per_evaluation: int
    validations: int
    samples_per_validation: int
    checkpoints: int
    checkpoints_kept: int

    @property
    def rollouts(self) -> int:
        return self.rl_steps * self.rollouts_per_step

    @property
    def evaluation_samples(self) -> int:
        """Samples of all evaluations and validations."""
        return self.evaluations * self.samples_per_evaluation + self.validations * self.samples_per_validation


def count_workload(recipe: Recipe, *, num_train: int, num_test: int, num_validation: int = 0) -> Workload:
    """The workload of a recipe on so many problems. UserError as ``Recipe.phases``."""
    rl, irl = recipe.rl, recipe.irl
    phases = recipe.phases(num_train)
    rl_phases = [phase for phase in phases if phase.kind == "rl"]
    irl_phases = [phase for phase in phases if phase.kind == "irl"]
    rollouts_per_step = rl.prompts_per_step * rl.group_size
    lengths = [phase.last_step - phase.first_step + 1 for phase in rl_phases]
    demonstrations = [
        (phase.last_step - phase.first_step + 1) * rl.prompts_per_step * irl.k for phase in irl_phases if irl
    ]
    saved = marks(rl.steps, recipe.checkpoint.every_steps)
    lasting = {phase.last_step for phase in phases} if recipe.checkpoint.keep_phase_ends else set()
    saved |= lasting
    kept = len(saved)
    if recipe.checkpoint.keep_last is not None:
        best = 1 if num_validation else 0
        kept = min(kept, len({*sorted(saved)[-recipe.checkpoint.keep_last :], *lasting}) + best)
    return Workload(
        rl_phases=len(rl_phases),
        irl_phases=len(irl_phases),
        rl_steps=rl.steps,
        rollouts_per_step=rollouts_per_step,
        rollouts_per_generation=rollouts_per_step * min(rl.steps_per_generation, rl.steps),
        base_rollouts=0 if rl.dph is None else num_train * rl.dph.rollouts,
        generations=sum(math.ceil(length / rl.steps_per_generation) for length in lengths),
        irl_updates=sum(irl.num_updates(count) for count in demonstrations) if irl else 0,
        demonstrations_per_update=min(irl.batch_size, max(demonstrations, default=0)) if irl else 0,
        evaluations=1 + len(marks(rl.steps, recipe.evaluation.every_steps)),
        problems_per_evaluation=num_test,
        samples_per_evaluation=num_test * recipe.evaluation.n,
        validations=len(saved) if num_validation else 0,
        samples_per_validation=num_validation * recipe.evaluation.validation_n,
        checkpoints=len(saved),
        checkpoints_kept=kept,
    )


def marks(steps: int, every_steps: int | None) -> set[int]:
    """Those of the steps 1 to ``steps`` that are multiples of ``every_steps``, and the last."""
    return {steps} if every_steps is None else {*range(every_steps, steps + 1, every_steps), steps}
