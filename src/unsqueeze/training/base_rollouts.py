"""Right rollouts of the base policy, drawn before training, that RL steps hold the policy to (``rl.dph``)."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.base_kl import base_kl_loss
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.errors import RunError
from unsqueeze.policy.batch import Row, TokenBatch
from unsqueeze.policy.optimize import Loss
from unsqueeze.rollout.types import Group
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.generate import check_judged, rollouts_of
from unsqueeze.training.proximal import trainer_scores
from unsqueeze.training.run import Run
from unsqueeze.verify.verdict import Verdict

PROBLEMS_A_FILE = 64
"""Training problems whose rollouts are drawn, judged and stored together: what a stop loses at most."""


def right_base_rows(run: Run) -> list[Row]:
    """The right rollouts of the base policy on every training problem, as rows with the base's log-probs as reference;
    none without ``rl.dph``.

    What is stored is read, what is not is made, so long as the policy is still the base. RunError where it is not.
    """
    settings = run.recipe.rl.dph
    if settings is None:
        return []
    begun, num_made = time.perf_counter(), 0
    store = run.directory.base_rollouts
    stored = set(store.steps())
    rows: list[Row] = []
    num_rollouts = num_tokens = 0
    with run.progress.work("rollouts of the base policy", len(run.train_problems)) as advance:
        for number, first, problems in _files(run.train_problems):
            if number in stored:
                groups = _stored(run, number)
            else:
                run.stop.check()
                if run.policy.version:
                    raise RunError(f"{store.path(number)} is missing. {_NO_MORE}")
                groups = sample_base(run, problems, first)
                store.write(number, groups)
                num_made += len(groups)
            num_rollouts += sum(len(group.rollouts) for group in groups)
            num_tokens += sum(len(rollout.completion.tokens) for group in groups for rollout in group.rollouts)
            rows += right_rows(groups)
            advance(len(problems))
    if num_made:
        seconds = time.perf_counter() - begun
        run.directory.journal.append(
            "base_rollouts", num_rollouts=num_rollouts, num_tokens=num_tokens, num_right=len(rows), seconds=seconds
        )
    if not rows:
        run.progress.warn(
            f"not one of {num_rollouts} rollouts of the base policy is right: rl.dph has nothing to hold the policy to."
        )
    return rows


_NO_MORE = (
    "Training has moved the policy since, and rollouts of the base cannot be made again: put a copy of the file back, "
    "or start again in another run directory (--run)."
)


def _files(problems: Sequence[Problem]) -> Iterator[tuple[int, int, Sequence[Problem]]]:
    """The number of each file, the place of its first problem, and its problems."""
    for number, first in enumerate(range(0, len(problems), PROBLEMS_A_FILE), start=1):
        yield number, first, problems[first : first + PROBLEMS_A_FILE]


def _stored(run: Run, number: int) -> list[Group]:
    try:
        return run.directory.base_rollouts.read(number)
    except RunError as error:
        way_out = _NO_MORE if run.policy.version else "Move it out of the run directory, and it is made again."
        raise RunError(f"{error} {way_out}") from error


def sample_base(run: Run, problems: Sequence[Problem], first: int) -> list[Group]:
    """Judged rollouts of the policy as it is, the base, for each of the problems; ``first``: the place of the first.

    Where the trainer scores for itself, the log-probs it gives are kept as ``logp_proximal``.
    """
    settings = run.recipe.rl.dph
    assert settings is not None
    run.engine.sync(run.policy)
    prompts = [run.prompt_tokens(problem) for problem in problems]
    completions = run.engine.generate(
        prompts,
        settings.rollouts,
        run.rollout_sampling,
        seeds=prompt_seeds(run.seed("dph", first), len(prompts)),
        on_finished=lambda _: run.stop.check_alone(),
    )
    judgements = run.verifier.verify(
        [problem for problem in problems for _ in range(settings.rollouts)],
        [completion.text for group in completions for completion in group],
    )
    check_judged([judgement.verdict for judgement in judgements], "the rollouts of the base policy")
    groups = [
        Group(
            problem=problem,
            rollouts=rollouts_of(run, problem, prompts[i], completions[i], first + i, phase=0, step=0),
            judgements=tuple(judgements[i * settings.rollouts : (i + 1) * settings.rollouts]),
        )
        for i, problem in enumerate(problems)
    ]
    if not trainer_scores(run):
        return groups
    run.engine.rest()
    rows = [
        Row(prompt_tokens=r.prompt_tokens, tokens=r.completion.tokens, weight=0.0) for g in groups for r in g.rollouts
    ]
    logp = iter(
        run.policy.logp(
            rows, max_tokens=run.recipe.rl.tokens_per_microbatch, temperature=run.recipe.rollout.temperature
        )
    )
    return [
        replace(group, rollouts=tuple(replace(rollout, logp_proximal=next(logp)) for rollout in group.rollouts))
        for group in groups
    ]


def right_rows(groups: Sequence[Group]) -> list[Row]:
    """The right rollouts of groups of the base policy, with its log-probs at the sampling temperature."""
    return [
        Row(
            prompt_tokens=rollout.prompt_tokens,
            tokens=rollout.completion.tokens,
            weight=0.0,
            logp_ref=rollout.completion.logp_behaviour if rollout.logp_proximal is None else rollout.logp_proximal,
        )
        for group in groups
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True)
        if judgement.verdict is Verdict.CORRECT
    ]


def beside_step(run: Run, base_rows: Sequence[Row], step: int) -> list[tuple[Sequence[Row], Loss]]:
    """What an RL step learns beside its own rollouts: ``rl.dph.rows`` of the right rollouts of the base, drawn without
    replacement by run and step, with the weights of the surrogate's aggregation over them alone, and their loss.

    There is nothing while the policy still is the base: d would be rounding, and AdamW's first step as large for that
    as for anything.
    """
    settings = run.recipe.rl.dph
    if settings is None or not base_rows or run.policy.version == 0:
        return []
    count = min(settings.rows, len(base_rows))
    places = sorted(run.rng("dph", "step", step).choice(len(base_rows), size=count, replace=False).tolist())
    rows = [base_rows[place] for place in places]
    lengths_N = torch.tensor([len(row.tokens) for row in rows])
    weights_N = token_weights(
        lengths_N,
        run.recipe.rl.surrogate.aggregation,
        num_rollouts=count,
        num_tokens=int(lengths_N.sum()),
        max_tokens=run.recipe.rollout.max_tokens,
    )
    weighed = [replace(row, weight=float(weight)) for row, weight in zip(rows, weights_N, strict=True)]
    return [(weighed, partial(held_to_base, coefficient=settings.coefficient))]


def held_to_base(logp_NT: Tensor, entropy_NT: Tensor, batch: TokenBatch, *, coefficient: float) -> LossOutput:
    """Return the loss of rollouts of the base policy."""
    assert batch.logp_ref_NT is not None
    return base_kl_loss(logp_NT, batch.logp_ref_NT, batch.mask_NT, batch.weights_N, coefficient=coefficient)
