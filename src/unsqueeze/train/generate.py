"""Rollouts for one RL step: sampled, judged and on disk before anything is learned from them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from unsqueeze.rollout.types import Completion, Group, Rollout
from unsqueeze.tasks.problem import Problem
from unsqueeze.train.run import Run, int32


@dataclass(frozen=True, slots=True)
class GeneratedBatch:
    """The judged groups of one step and the seconds that each part took."""

    groups: list[Group]
    generate_s: float
    judge_s: float
    store_s: float


def generate_batch(
    run: Run,
    problems: Sequence[Problem],
    *,
    phase: int,
    step: int,
    on_finished: Callable[[int], None] | None = None,
) -> GeneratedBatch:
    """Sample G rollouts for each problem, judge them, and store them; a batch that is stored is read back instead."""
    group_size = run.recipe.rl.group_size
    start = time.perf_counter()
    if run.directory.rollouts.path(step).exists():
        groups = run.directory.rollouts.read(step)
        return GeneratedBatch(groups, 0.0, 0.0, time.perf_counter() - start)
    prompts = [run.prompt_tokens(problem) for problem in problems]
    completions = run.engine.generate(
        prompts, group_size, run.rollout_sampling, seed=run.seed("rollouts", step), on_finished=on_finished
    )
    generated = time.perf_counter()
    judgements = run.judge.judge(
        [problem for problem in problems for _ in range(group_size)],
        [completion.text for group in completions for completion in group],
    )
    judged = time.perf_counter()
    first_group = (step - 1) * len(problems)
    groups = [
        Group(
            problem=problem,
            rollouts=tuple(
                _rollout(run, problem, prompt, completion, group=first_group + i, index=j, phase=phase, step=step)
                for j, completion in enumerate(group)
            ),
            judgements=tuple(judgements[i * group_size : (i + 1) * group_size]),
        )
        for i, (problem, prompt, group) in enumerate(zip(problems, prompts, completions, strict=True))
    ]
    run.directory.rollouts.write(step, groups)
    return GeneratedBatch(groups, generated - start, judged - generated, time.perf_counter() - judged)


def _rollout(
    run: Run,
    problem: Problem,
    prompt: Sequence[int],
    completion: Completion,
    *,
    group: int,
    index: int,
    phase: int,
    step: int,
) -> Rollout:
    return Rollout(
        problem_id=problem.id,
        group=group,
        index=index,
        prompt_tokens=int32(prompt),
        completion=completion,
        policy_version=run.policy.version,
        phase=phase,
        step=step,
    )


def rewards_PG(groups: Sequence[Group]) -> torch.Tensor:  # noqa: N802
    """Rewards of judged groups, float32; NaN where an answer could not be judged."""
    return torch.tensor(
        [[judgement.verdict.reward for judgement in group.judgements] for group in groups], dtype=torch.float32
    )
