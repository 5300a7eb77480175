"""Rollouts for RL steps: sampled, judged and on disk before anything is learned from them.

One *generation* serves one or more optimizer steps (``rl.steps_per_generation``). Its groups are stored step by step;
a generation that is stored is read back instead of made again. The number of a group is the place of its problem in the
stream of training problems, so what is stored also says how far the stream was read.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from unsqueeze.rollout.types import Completion, Group, Rollout
from unsqueeze.tasks.problem import Problem
from unsqueeze.train.run import Run, int32
from unsqueeze.train.stream import ProblemStream


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The judged groups of one optimizer step; the seconds are those of the whole generation, at its first step."""

    step: int
    groups: list[Group]
    generate_s: float = 0.0
    judge_s: float = 0.0
    store_s: float = 0.0


def generation_steps(first_step: int, last_step: int, done: int, steps_per_generation: int) -> list[range]:
    """The generations of an RL phase from ``first_step`` to ``last_step``, those wholly done left out.

    The phase's last generation may serve fewer steps. One that is done in part is given whole: its rollouts are stored,
    and its steps up to ``done`` are to be skipped.
    """
    firsts = range(first_step, last_step + 1, steps_per_generation)
    generations = [range(first, min(first + steps_per_generation, last_step + 1)) for first in firsts]
    return [steps for steps in generations if steps[-1] > done]


def generate(run: Run, stream: ProblemStream, steps: range, *, phase: int) -> list[StepBatch]:
    """The batches of a generation, from the store or from the present policy, and the stream moved past them."""
    begun = time.perf_counter()
    store = run.directory.rollouts
    if all(store.path(step).exists() for step in steps):
        batches = [StepBatch(step, store.read(step)) for step in steps]
        batches[0] = replace(batches[0], store_s=time.perf_counter() - begun)
    else:
        batches = _sample(run, stream, steps, phase)
    last = max(group.rollouts[0].group for batch in batches for group in batch.groups)
    stream.position = max(stream.position, last + 1)
    return batches


def _sample(run: Run, stream: ProblemStream, steps: range, phase: int) -> list[StepBatch]:
    settings = run.recipe.rl
    begun = time.perf_counter()
    first_group = stream.position
    problems = stream.take(settings.prompts_per_step * len(steps))
    prompts = [run.prompt_tokens(problem) for problem in problems]
    completions = run.engine.generate(
        prompts,
        settings.group_size,
        run.rollout_sampling,
        seed=run.seed("rollouts", steps[0]),
        on_finished=lambda _: run.stop.check(),
    )
    generated = time.perf_counter()
    judgements = run.judge.judge(
        [problem for problem in problems for _ in range(settings.group_size)],
        [completion.text for group in completions for completion in group],
    )
    judged = time.perf_counter()
    batches: list[StepBatch] = []
    for i, step in enumerate(steps):
        places = range(i * settings.prompts_per_step, (i + 1) * settings.prompts_per_step)
        groups = [
            Group(
                problem=problems[place],
                rollouts=_rollouts(
                    run, problems[place], prompts[place], completions[place], first_group + place, phase, step
                ),
                judgements=tuple(judgements[place * settings.group_size : (place + 1) * settings.group_size]),
            )
            for place in places
        ]
        # On a second try after a stop between two of these files, the first ones are there, and the same.
        if not run.directory.rollouts.path(step).exists():
            run.directory.rollouts.write(step, groups)
        batches.append(StepBatch(step, groups))
    batches[0] = replace(
        batches[0],
        generate_s=generated - begun,
        judge_s=judged - generated,
        store_s=time.perf_counter() - judged,
    )
    return batches


def _rollouts(
    run: Run,
    problem: Problem,
    prompt: Sequence[int],
    completions: Sequence[Completion],
    group: int,
    phase: int,
    step: int,
) -> tuple[Rollout, ...]:
    return tuple(
        Rollout(
            problem_id=problem.id,
            group=group,
            index=index,
            prompt_tokens=int32(prompt),
            completion=completion,
            policy_version=run.policy.version,
            phase=phase,
            step=step,
        )
        for index, completion in enumerate(completions)
    )


def rewards_PG(groups: Sequence[Group]) -> torch.Tensor:  # noqa: N802
    """Rewards of judged groups, float32; NaN where an answer could not be judged."""
    return torch.tensor(
        [[judgement.verdict.reward for judgement in group.judgements] for group in groups], dtype=torch.float32
    )
