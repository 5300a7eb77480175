"""An IRL phase: choose demonstrations among the phase's own rollouts (L2TE) and raise their likelihood."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

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
from unsqueeze.train.phase_report import PhaseStart
from unsqueeze.train.run import Run


def choose_demonstrations(run: Run, phase: Phase) -> list[Row]:
    """L2TE over every group that the RL phase generated, read back from the store one generation at a time."""
    settings = run.recipe.irl
    assert settings is not None
    demonstrations: list[Demonstration] = []
    rows: list[Row] = []
    generations = [step for step in run.directory.rollouts.steps() if phase.first_step <= step <= phase.last_step]
    for step in generations:
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


def irl_phase(
    run: Run, phase: Phase, start: PhaseStart, demonstrations: Sequence[Row], optimizer: torch.optim.Optimizer | None
) -> None:
    """The optimizer steps of an IRL phase: a given number, or until held-out prompts moved by the KL budget.

    Without an ``optimizer`` that lives on from phase to phase, a fresh one is made.
    """
    settings = run.recipe.irl
    assert settings is not None
    optimizer = optimizer or make_optimizer(run.policy, settings)
    total = num_updates(settings, len(demonstrations))
    rows = with_start_logp(run, demonstrations) if settings.kl_guard > 0 else demonstrations
    batches = demonstration_batches(len(rows), settings.batch_size, run.rng("irl", phase.number))
    with run.progress.task(f"phase {phase.number}: IRL", total) as advance:
        for update in range(1, total + 1):
            run.stop.check()
            begun = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate_share(settings.schedule, update, total)
            batch = with_weights([rows[i] for i in next(batches)], settings, max_tokens=run.recipe.rollout.max_tokens)
            result = optimizer_step(
                run.policy,
                optimizer,
                batch,
                partial(demonstration_loss, kl_guard=settings.kl_guard),
                tokens_per_microbatch=run.recipe.rl.tokens_per_microbatch,
                max_grad_norm=settings.max_grad_norm,
            )
            kl_moved = run.probe.kl_moved(run.policy, start.samples) if settings.kl_budget else None
            run.record(
                kind="irl",
                phase=phase.number,
                step=phase.last_step,
                irl_update=update,
                policy_version=run.policy.version,
                loss=result.loss,
                grad_norm=result.grad_norm,
                **result.metrics,
                kl_moved=kl_moved,
                num_demonstrations=len(batch),
                update_s=time.perf_counter() - begun,
            )
            advance(1)
            if settings.kl_budget and kl_moved is not None and kl_moved >= settings.kl_budget:
                break
        else:
            if settings.kl_budget:
                run.progress.warn(
                    f"IRL phase {phase.number} took all its {total} updates without spending irl.kl_budget "
                    f"{settings.kl_budget:g} nats/token; raise irl.steps or irl.learning_rate."
                )
    run.engine.sync(run.policy)


def num_updates(settings: IrlSettings, num_demonstrations: int) -> int:
    """How many optimizer steps a phase takes at most: none without demonstrations."""
    if num_demonstrations == 0:
        return 0
    if settings.passes is None:
        return settings.steps
    batches_a_pass = max(1, num_demonstrations // settings.batch_size)
    return math.ceil(settings.passes * batches_a_pass)


def rate_share(schedule: str, update: int, total: int) -> float:
    """The share of the learning rate at ``update`` of ``total`` (from 1): 1 at first, falling towards 0 at the end."""
    done = (update - 1) / total
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def with_start_logp(run: Run, rows: Sequence[Row]) -> list[Row]:
    """The rows with the log-probs of the policy as it is now, at the start of the phase."""
    logp = run.policy.score(rows, max_tokens=run.recipe.rl.tokens_per_microbatch)
    return [replace(row, logp_ref=logp_T) for row, logp_T in zip(rows, logp, strict=True)]


def demonstration_loss(logp_NT: Tensor, entropy_NT: Tensor, batch: TokenBatch, *, kl_guard: float) -> LossOutput:
    """The IRL loss of a token batch."""
    return nll_loss(logp_NT, batch.mask_NT, batch.weights_N, logp_start_NT=batch.logp_ref_NT, kl_guard=kl_guard)


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
    return [replace(row, weight=float(weight)) for row, weight in zip(rows, weights_N, strict=True)]
