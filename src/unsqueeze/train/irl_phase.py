"""An IRL phase: choose demonstrations among the phase's own rollouts (L2TE) and raise their likelihood."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.irl import nll_loss
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.algos.schedule import Phase
from unsqueeze.algos.selection import likelihood, select_demonstrations
from unsqueeze.config.recipe import IrlSettings
from unsqueeze.rollout.types import Group
from unsqueeze.store.demos import Demonstration
from unsqueeze.train.batch import Row, TokenBatch
from unsqueeze.train.optimize import make_optimizer, optimizer_step
from unsqueeze.train.run import Run


def choose_demonstrations(run: Run, settings: IrlSettings, phase: Phase) -> list[Row]:
    """L2TE over every group that the RL phase generated, read back from the store a step at a time; stored."""
    demonstrations: list[Demonstration] = []
    rows: list[Row] = []
    for step in range(phase.first_step, phase.last_step + 1):
        for group in run.directory.rollouts.read(step):
            rng = run.rng("l2te", group.rollouts[0].group)
            for demonstration in choose_from_group(group, settings, rng):
                rollout = group.rollouts[demonstration.index]
                demonstrations.append(demonstration)
                rows.append(Row(prompt_tokens=rollout.prompt_tokens, tokens=rollout.completion.tokens, weight=0.0))
    if phase.number not in run.directory.demos.numbers():
        run.directory.demos.write(phase.number, demonstrations)
    return rows


def choose_from_group(group: Group, settings: IrlSettings, rng: np.random.Generator) -> list[Demonstration]:
    """The demonstrations of one group, by the pure rule of ``algos.selection``."""
    logp = [rollout.completion.logp_behaviour for rollout in group.rollouts]
    mean_G = np.array([likelihood(logp_T, "mean") for logp_T in logp])
    sum_G = np.array([likelihood(logp_T, "sum") for logp_T in logp])
    ranked_by_G = mean_G if settings.likelihood == "mean" else sum_G
    rank_G = ranked_by_G.argsort(kind="stable").argsort(kind="stable")
    selected = select_demonstrations(
        ranked_by_G,
        np.array([judgement.verdict.reward for judgement in group.judgements]),
        settings.k,
        pool=settings.pool,
        quantile=settings.quantile,
        rng=rng,
    )
    return [
        Demonstration(
            problem_id=group.problem.id,
            step=group.rollouts[chosen.index].step,
            group=group.rollouts[chosen.index].group,
            index=chosen.index,
            mean_logp=float(mean_G[chosen.index]),
            sum_logp=float(sum_G[chosen.index]),
            reward=chosen.reward,
            reason=chosen.reason,
            rank=int(rank_G[chosen.index]),
        )
        for chosen in selected
    ]


def irl_steps(run: Run, settings: IrlSettings, phase: Phase, rows: Sequence[Row]) -> int:
    """The optimizer steps of an IRL phase, with fresh optimizer state; returns how many were taken."""
    if not rows:
        return 0
    optimizer = make_optimizer(run.policy, settings)
    batches = demonstration_batches(len(rows), settings.batch_size, run.rng("irl", phase.number))
    with run.progress.task(f"phase {phase.number}: IRL", settings.steps) as advance:
        for update in range(1, settings.steps + 1):
            run.stop.check()
            start = time.perf_counter()
            batch = with_weights([rows[i] for i in next(batches)], settings, max_tokens=run.recipe.rollout.max_tokens)
            result = optimizer_step(
                run.policy,
                optimizer,
                batch,
                demonstration_loss,
                tokens_per_microbatch=run.recipe.rl.tokens_per_microbatch,
                max_grad_norm=settings.max_grad_norm,
            )
            run.record(
                kind="irl",
                phase=phase.number,
                step=phase.last_step,
                irl_update=update,
                policy_version=run.policy.version,
                loss=result.loss,
                grad_norm=result.grad_norm,
                num_demonstrations=len(batch),
                update_s=time.perf_counter() - start,
            )
            advance(1)
    run.engine.sync(run.policy)
    return settings.steps


def demonstration_loss(logp_NT: Tensor, entropy_NT: Tensor, batch: TokenBatch) -> LossOutput:
    """The IRL loss of a token batch."""
    return nll_loss(logp_NT, batch.mask_NT, batch.weights_N)


def demonstration_batches(count: int, batch_size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Batches of indices without end: seeded passes over all ``count``, none twice inside one batch.

    A batch never spans two passes; where fewer than ``batch_size`` are left in a pass, the next one begins, so long as
    the pass gave at least one batch. With fewer than ``batch_size`` demonstrations in all, every batch holds them all.
    """
    size = min(batch_size, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield [int(i) for i in order[start : start + size]]


def with_weights(rows: Sequence[Row], settings: IrlSettings, *, max_tokens: int) -> list[Row]:
    """The rows of one batch with the weights of the chosen reduction."""
    lengths_N = torch.tensor([len(row.tokens) for row in rows])
    weights_N = token_weights(
        lengths_N,
        settings.aggregation,
        num_rollouts=len(rows),
        num_tokens=int(lengths_N.sum()),
        max_tokens=max_tokens,
    )
    return [
        Row(prompt_tokens=row.prompt_tokens, tokens=row.tokens, weight=float(weight))
        for row, weight in zip(rows, weights_N, strict=True)
    ]
