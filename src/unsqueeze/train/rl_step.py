"""One RL step: compare judged rollouts inside each group, and step on the clipped surrogate."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unsqueeze.algos.advantages import group_advantages, informative_groups
from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.objectives import LossOutput, clipped_surrogate_loss
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.rollout.types import Group, StopReason
from unsqueeze.train.batch import Row, TokenBatch
from unsqueeze.train.generate import StepBatch, rewards_PG
from unsqueeze.train.optimize import StepResult, optimizer_step
from unsqueeze.train.reference import Reference
from unsqueeze.train.run import Run


def rl_step(
    run: Run,
    optimizer: torch.optim.Optimizer,
    reference: Reference | None,
    batch: StepBatch,
    *,
    phase: int,
) -> None:
    """One RL optimizer step on judged groups; its line of metrics is on disk when this returns.

    A batch in which no group is informative has no gradient: the weights stay as they are, and the line says so.
    """
    settings = run.recipe.rl
    surrogate = settings.surrogate
    start = time.perf_counter()
    rows = rl_rows(batch.groups, surrogate, max_tokens=run.recipe.rollout.max_tokens)
    result = None
    if rows:
        if reference is not None:
            rows = with_reference(rows, reference, run)
        result = optimizer_step(
            run.policy,
            optimizer,
            rows,
            partial(surrogate_loss, settings=surrogate),
            tokens_per_microbatch=settings.tokens_per_microbatch,
            max_grad_norm=settings.max_grad_norm,
            temperature=run.recipe.rollout.temperature,
            with_entropy=surrogate.entropy_coefficient > 0,
        )
        run.engine.sync(run.policy)
    run.record(
        kind="rl",
        phase=phase,
        step=batch.step,
        policy_version=run.policy.version,
        **rollout_metrics(batch.groups),
        **update_metrics(result),
        **seconds(batch, time.perf_counter() - start),
    )


def rl_rows(groups: Sequence[Group], surrogate: Surrogate, *, max_tokens: int) -> list[Row]:
    """The rows that carry gradient, with advantages (Eq. 25) and weights over the WHOLE batch.

    Without a KL or entropy term a response of advantage 0 adds nothing to the gradient and is left out; the
    denominators count it all the same, so this saves time and changes nothing. Rollouts that were not judged are no
    part of the batch: they are not in the denominators either.
    """
    rewards = rewards_PG(groups)
    advantages_N = group_advantages(rewards, surrogate.advantage_scale).flatten()
    judged_N = ~torch.isnan(rewards).flatten()
    rollouts_N = [rollout for group in groups for rollout in group.rollouts]
    lengths_N = torch.tensor([len(rollout.completion.tokens) for rollout in rollouts_N])
    if not judged_N.any():
        return []
    weights_N = token_weights(
        lengths_N,
        surrogate.aggregation,
        num_rollouts=int(judged_N.sum()),
        num_tokens=int(lengths_N[judged_N].sum()),
        max_tokens=max_tokens,
    )
    regularised = surrogate.kl_coefficient > 0 or surrogate.entropy_coefficient > 0
    carries_gradient_N = judged_N & (advantages_N.ne(0) | regularised)
    return [
        Row(
            prompt_tokens=rollouts_N[i].prompt_tokens,
            tokens=rollouts_N[i].completion.tokens,
            weight=float(weights_N[i]),
            advantage=float(advantages_N[i]),
            logp_behaviour=rollouts_N[i].completion.logp_sampling,
        )
        for i in carries_gradient_N.nonzero().flatten().tolist()
    ]


def surrogate_loss(logp_NT: Tensor, entropy_NT: Tensor, batch: TokenBatch, *, settings: Surrogate) -> LossOutput:
    """The clipped surrogate of a token batch."""
    assert batch.logp_behaviour_NT is not None
    return clipped_surrogate_loss(
        logp_NT,
        batch.logp_behaviour_NT,
        batch.advantages_N,
        batch.mask_NT,
        batch.weights_N,
        settings,
        logp_ref_NT=batch.logp_ref_NT,
        entropy_NT=entropy_NT,
    )


def with_reference(rows: Sequence[Row], reference: Reference, run: Run) -> list[Row]:
    """The rows with the reference policy's log-probs, at the temperature of the rollouts."""
    logp = reference.score(
        rows, max_tokens=run.recipe.rl.tokens_per_microbatch, temperature=run.recipe.rollout.temperature
    )
    return [replace(row, logp_ref=logp_T) for row, logp_T in zip(rows, logp, strict=True)]


def rollout_metrics(groups: Sequence[Group]) -> dict[str, Any]:
    """What the rollouts of a step were like. ``entropy`` is −mean log-prob of the sampled tokens: nats per token."""
    rewards = rewards_PG(groups)
    completions = [rollout.completion for group in groups for rollout in group.rollouts]
    lengths = [len(completion.tokens) for completion in completions]
    logp_M = np.concatenate([completion.logp_behaviour for completion in completions])
    judged = rewards[~torch.isnan(rewards)]
    return {
        "reward": float(judged.mean()) if judged.numel() else None,
        "informative_groups": float(informative_groups(rewards).float().mean()),
        "not_judged": rewards.numel() - judged.numel(),
        "entropy": -float(np.mean(logp_M, dtype=np.float64)),
        "response_tokens": sum(lengths),
        "response_tokens_mean": float(np.mean(lengths)),
        "truncated": float(np.mean([completion.stop_reason is StopReason.LENGTH for completion in completions])),
    }


def update_metrics(result: StepResult | None) -> dict[str, Any]:
    """What the update was like; an update that did not take place has no loss."""
    if result is None:
        return {"updated": False, "loss": None, "grad_norm": None}
    return {"updated": True, "loss": result.loss, "grad_norm": result.grad_norm, **result.metrics}


def seconds(batch: StepBatch, update_s: float) -> dict[str, float]:
    return {
        "generate_s": batch.generate_s,
        "judge_s": batch.judge_s,
        "store_s": batch.store_s,
        "update_s": update_s,
    }
