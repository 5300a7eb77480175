"""Clip-Cov and KL-Cov: the tokens of a step that are held back, chosen once for the whole batch (``rl.covariance``)."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.algos.covariance import clip_cov, covariances, kl_cov
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.config.rl_settings import CovarianceSettings, RlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.training.rl_rows import Trained
from unsqueeze.training.run import Run


def hold_back(run: Run, trained: Sequence[Trained], rows: Sequence[Row], step: int) -> tuple[list[Row], dict[str, Any]]:
    """The rows of an optimizer step with its rule applied to the tokens it chooses, and how many of them there are.

    Log-probs are those of the policy as it is. They are the sampler's where that is the policy that sampled; in later
    steps of a generation they take a pass over the rows, whose seconds are told.

    KL-Cov holds nothing back in the first step of a generation: no token is away from the policy that sampled but by
    rounding, and the gradient of a distance is as large for rounding as for a step.
    """
    settings, rule = run.recipe.rl, run.recipe.rl.covariance
    assert rule is not None
    begun = time.perf_counter()
    is_sampler = all(one.rollout.policy_version == run.policy.version for one in trained)
    if is_sampler and rule.rule == "kl_cov":
        return list(rows), {"num_held_back": 0, "covariance_s": 0.0}
    if is_sampler:
        logp = [one.rollout.completion.logp_behaviour for one in trained]
    else:
        temperature = run.recipe.rollout.temperature
        logp = run.policy.logp(rows, max_tokens=settings.tokens_per_microbatch, temperature=temperature)
    chosen = chosen_tokens(rows, logp, settings, run.rng("covariance", step))
    held = [with_rule(row, chosen_T, rule) for row, chosen_T in zip(rows, chosen, strict=True)]
    counts = {"num_held_back": sum(int(chosen_T.sum()) for chosen_T in chosen)}
    return held, counts | {"covariance_s": time.perf_counter() - begun}


def chosen_tokens(
    rows: Sequence[Row], logp: Sequence[NDArray[np.float32]], settings: RlSettings, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Which tokens of each row are held back, given their log-probs under the policy as it is."""
    rule = settings.covariance
    assert rule is not None
    advantages = [np.broadcast_to(np.asarray(row.advantage, np.float64), len(row.tokens)) for row in rows]
    cov_M = covariances(np.concatenate(advantages), np.concatenate(logp).astype(np.float64))
    if rule.rule == "kl_cov":
        chosen_M = kl_cov(cov_M, share=rule.share)
    else:
        unclipped = [
            unclipped_tokens(logp_T, row.logp_proximal, advantages_T, settings.surrogate)
            for row, logp_T, advantages_T in zip(rows, logp, advantages, strict=True)
        ]
        chosen_M = clip_cov(cov_M, np.concatenate(unclipped), share=rule.share, low=rule.low, high=rule.high, rng=rng)
    return np.split(chosen_M, np.cumsum([len(row.tokens) for row in rows])[:-1])


def unclipped_tokens(
    logp_T: NDArray[np.float32],
    logp_proximal_T: NDArray[np.float32] | None,
    advantages_T: NDArray[np.float64],
    settings: Surrogate,
) -> NDArray[np.bool_]:
    """Which tokens the clip leaves their gradient. Without ``logp_proximal_T`` every ratio is 1."""
    if logp_proximal_T is None:
        return np.ones(len(logp_T), dtype=bool)
    log_ratio_T = np.subtract(logp_T, logp_proximal_T, dtype=np.float64)
    if settings.ratio == "sequence" and len(log_ratio_T):
        log_ratio_T = np.full_like(log_ratio_T, log_ratio_T.mean())
    ratio_T = np.exp(log_ratio_T)
    clipped_low_T = (ratio_T < 1 - settings.clip_low) & (advantages_T < 0)
    return np.asarray(~clipped_low_T & ~((ratio_T > 1 + settings.clip_high) & (advantages_T > 0)))


def with_rule(row: Row, chosen_T: NDArray[np.bool_], settings: CovarianceSettings) -> Row:
    """The row with its chosen tokens held back: without an advantage, or at a cost of their distance."""
    if settings.rule == "clip_cov":
        if not chosen_T.any():
            return row
        return replace(row, advantage=np.where(chosen_T, 0, row.advantage).astype(np.float32))
    return replace(row, distance_cost=(settings.coefficient * chosen_T).astype(np.float32))
