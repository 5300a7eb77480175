"""One RL step: compare judged rollouts inside each group, and step on the clipped surrogate."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unsqueeze.algos.adaptive_entropy import applied_coefficient, next_coefficient
from unsqueeze.algos.groups import Estimator
from unsqueeze.algos.mismatch import truncated_importance
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.algos.schedule import Phase
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.extensions import LOSSES
from unsqueeze.policy.batch import Row, TokenBatch
from unsqueeze.policy.optimize import StepResult, optimizer_step
from unsqueeze.policy.reference import Reference
from unsqueeze.rollout.types import Group, StopReason
from unsqueeze.training.base_rollouts import beside_step
from unsqueeze.training.covariance import hold_back
from unsqueeze.training.gauges import are_due, gauge_step
from unsqueeze.training.generate import StepBatch, by_verdicts
from unsqueeze.training.outcomes import answer_shares
from unsqueeze.training.proximal import trainer_scores
from unsqueeze.training.rl_rows import rl_rows, trained_rollouts
from unsqueeze.training.run import Run
from unsqueeze.training.sampler_gap import correction_level, gap_metrics, rounding_warning
from unsqueeze.verify.verdict import Verdict

Loss = Callable[..., LossOutput]


def rl_step(
    run: Run,
    optimizer: torch.optim.Optimizer,
    reference: Reference | None,
    batch: StepBatch,
    phase: Phase,
    entropy_coefficient: float,
    base_rows: Sequence[Row] = (),
) -> float:
    """One RL optimizer step on judged groups; its line of metrics is on disk when this returns.

    A batch in which no group is informative has no gradient: the weights stay as they are, and the line says so; unless
    there are ``base_rows``, right rollouts of the base policy, of which ``rl.dph`` draws some for every step after the
    first update.

    Returns the coefficient of the entropy bonus for the next step: ``entropy_coefficient``, this step's, unless
    ``rl.adaptive_entropy`` has it follow the entropy.
    """
    sampled = rollout_metrics(batch.groups, run.estimator, run.recipe.rl)
    applied, following = entropy_coefficients(run.recipe.rl, entropy_coefficient, sampled.get("entropy"))
    settings = run.recipe.rl.model_copy(update={"entropy_coefficient": applied})
    begun = time.perf_counter()
    scores = trainer_scores(run)
    trained = trained_rollouts(batch.groups, settings, run.estimator, max_tokens=run.recipe.rollout.max_tokens)
    rows = rl_rows(trained, trainer_scores=scores)
    held_back: dict[str, Any] = {}
    if rows and settings.covariance is not None:
        run.engine.rest()
        rows, held_back = hold_back(run, trained, rows, batch.step)
    if reference is not None and settings.surrogate.kl_coefficient > 0:
        rows = with_reference(rows, reference, run)
    result = None
    beside = beside_step(run, base_rows, batch.step)
    if rows or beside:
        run.engine.rest()
        result = optimizer_step(
            run.policy,
            optimizer,
            rows,
            partial(surrogate_loss, settings=settings),
            tokens_per_microbatch=settings.tokens_per_microbatch,
            max_grad_norm=settings.max_grad_norm,
            temperature=run.recipe.rollout.temperature,
            with_entropy=settings.surrogate.entropy_coefficient > 0,
            keep_logp=scores,
            beside=beside,
        )
    gap = sampler_metrics(rows, result, settings) if result is not None and rows and scores else {}
    if gap and batch.step == phase.first_step and run.policy.compute_dtype is torch.bfloat16:
        warning = rounding_warning(gap["sampler_outside_clip"], settings)
        if warning is not None:
            run.progress.warn(warning)
    update_s = time.perf_counter() - begun
    due = are_due(batch.step, phase, run.recipe.evaluation.gauges_every_steps)
    gauges = gauge_step(run, phase, batch.step) if due else {}
    run.record(
        kind="rl",
        phase=phase.number,
        step=batch.step,
        policy_version=run.policy.version,
        **sampled,
        **sampling_metrics(batch),
        **answer_shares(batch.sampled or batch.groups, boxed=run.needs_box),
        **gap,
        **held_back,
        **({} if settings.adaptive_entropy is None else {"entropy_coefficient": applied}),
        **update_metrics(result),
        **beside_metrics(beside, result),
        **asdict(batch.seconds),
        update_s=update_s,
        **gauges,
        **device_metrics(run.policy.device),
    )
    return following


def entropy_coefficients(settings: RlSettings, present: float, entropy: float | None) -> tuple[float, float]:
    """The coefficient of the entropy bonus of this step and of the next, given that which is due and the entropy of the
    step's rollouts (nats per token; None where there are none).
    """
    adaptive = settings.adaptive_entropy
    if adaptive is None or entropy is None:
        return present, present
    following = next_coefficient(present, entropy, adaptive.target, delta=adaptive.delta, largest=adaptive.largest)
    return applied_coefficient(present, entropy, adaptive.target), following


def surrogate_loss(logp_NT: Tensor, entropy_NT: Tensor, batch: TokenBatch, *, settings: RlSettings) -> LossOutput:
    """The clipped surrogate of a token batch, corrected for the sampler where the trainer scores for itself.

    Without ``logp_proximal_NT`` the ratio is against these very log-probs: exactly 1.
    """
    logp_proximal_NT = logp_NT.detach() if batch.logp_proximal_NT is None else batch.logp_proximal_NT
    importance_NT = None
    if batch.logp_behaviour_NT is not None:
        importance_NT = truncated_importance(
            logp_proximal_NT,
            batch.logp_behaviour_NT,
            batch.mask_NT,
            level=correction_level(settings),
            cap=settings.sampler_cap,
        )
    loss: Loss = LOSSES.resolve(settings.loss)
    # A loss of one's own is told of it where there is something to tell.
    further = {} if batch.distance_cost_NT is None else {"distance_cost_NT": batch.distance_cost_NT}
    return loss(
        logp_NT,
        logp_proximal_NT,
        batch.advantages,
        batch.mask_NT,
        batch.weights_N,
        settings.surrogate,
        logp_ref_NT=batch.logp_ref_NT,
        entropy_NT=entropy_NT,
        importance_NT=importance_NT,
        **further,
    )


def with_reference(rows: Sequence[Row], reference: Reference, run: Run) -> list[Row]:
    """The rows with the reference policy's log-probs, at the temperature of the rollouts."""
    logp = reference.logp(
        rows, max_tokens=run.recipe.rl.tokens_per_microbatch, temperature=run.recipe.rollout.temperature
    )
    return [replace(row, logp_ref=logp_T) for row, logp_T in zip(rows, logp, strict=True)]


def rollout_metrics(groups: Sequence[Group], estimator: Estimator, settings: RlSettings) -> dict[str, Any]:
    """Describe the rollouts trained on. ``entropy`` estimates that of the distribution that
    drew the tokens, at its temperature: −mean ``logp_behaviour``, nats per token."""
    if not groups:
        return {"reward": None}
    completions = [rollout.completion for group in groups for rollout in group.rollouts]
    lengths = [len(completion.tokens) for completion in completions]
    logp_M = np.concatenate([completion.logp_behaviour for completion in completions])
    verdicts_PG = [[judgement.verdict for judgement in group.judgements] for group in groups]
    advantages = by_verdicts(groups, estimator, settings)
    # What the verifier failed at does not train, and counts as wrong here all the same.
    correct = [v is Verdict.CORRECT for row in verdicts_PG if Verdict.UNREADABLE_GOLD not in row for v in row]
    return {
        "reward": float(np.mean(correct)) if correct else None,
        "informative_groups": advantages.moves_PG.any(dim=1).double().mean().item(),
        **advantages.counts,
        "not_judged": sum(not verdict.judged for row in verdicts_PG for verdict in row),
        "entropy": -float(np.mean(logp_M, dtype=np.float64)),
        "response_tokens_mean": float(np.mean(lengths)),
        "truncated": float(np.mean([completion.stop_reason is StopReason.LENGTH for completion in completions])),
    }


def sampler_metrics(rows: Sequence[Row], result: StepResult, settings: RlSettings) -> dict[str, float]:
    """Measure the distance of trainer and sampler on these rows, before the update that gave ``result``."""
    proximal, sampler = [], []
    for row, own in zip(rows, result.logp, strict=True):
        assert row.logp_behaviour is not None
        proximal.append(own if row.logp_proximal is None else row.logp_proximal)
        sampler.append(row.logp_behaviour)
    return gap_metrics(proximal, sampler, settings)


def sampling_metrics(batch: StepBatch) -> dict[str, int]:
    """Count what was sampled for this step, and what became of it."""
    rollouts = [rollout for group in batch.sampled for rollout in group.rollouts]
    return {
        "num_groups": len(batch.groups),
        "num_sampled": len(rollouts),
        "sampled_tokens": sum(len(rollout.completion.tokens) for rollout in rollouts),
        "num_resamples": batch.num_resamples,
        "num_missing": batch.num_missing,
        "num_informative_lost": batch.num_informative_lost,
    }


def device_metrics(device: torch.device) -> dict[str, float]:
    """The most memory that tensors held on a GPU so far, MiB; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {"peak_device_mb": torch.cuda.max_memory_allocated(device) / 2**20}


def beside_metrics(beside: Sequence[tuple[Sequence[Row], Any]], result: StepResult | None) -> dict[str, Any]:
    """Count the rollouts of the base policy that the update learned from, and their tokens and seconds."""
    if not beside or result is None:
        return {}
    rows = [row for part, _ in beside for row in part]
    return {
        "num_base_rows": len(rows),
        "base_tokens": sum(len(row.tokens) for row in rows),
        "base_s": result.beside_s,
    }


def update_metrics(result: StepResult | None) -> dict[str, Any]:
    """Measure the update; one that did not take place has no loss."""
    if result is None:
        return {"updated": False, "loss": None, "grad_norm": None}
    return {"updated": True, "loss": result.loss, "grad_norm": result.grad_norm, **result.metrics}
