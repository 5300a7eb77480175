"""The trainer's log-probs of what an engine with weights of its own sampled, and how far they are apart."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch

from unsqueeze.algos.mismatch import mismatch
from unsqueeze.algos.surrogate import Correction
from unsqueeze.config.recipe import RlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.rollout.types import Group
from unsqueeze.training.run import Run


def needs_proximal(run: Run) -> bool:
    """Tell whether rollouts are to carry the trainer's log-probs; always where the engine has weights of its own."""
    return run.recipe.rl.sampler_correction is not None or run.engine.policy_version is not None


def correction_level(settings: RlSettings) -> Correction:
    """Return what is corrected where rollouts carry the trainer's log-probs."""
    return settings.sampler_correction or "token"


def with_logp_proximal(run: Run, groups: Sequence[Group]) -> list[Group]:
    """The groups with the log-probs that the present policy gives for their tokens, at the sampling temperature."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rows = [Row(prompt_tokens=r.prompt_tokens, tokens=r.completion.tokens, weight=0.0) for r in rollouts]
    temperature = run.recipe.rollout.temperature
    logp = iter(run.policy.logp(rows, max_tokens=run.recipe.rl.tokens_per_microbatch, temperature=temperature))
    return [
        replace(group, rollouts=tuple(replace(rollout, logp_proximal=next(logp)) for rollout in group.rollouts))
        for group in groups
    ]


def gap_metrics(groups: Sequence[Group], settings: RlSettings) -> dict[str, float]:
    """Measure how far sampler and trainer are apart on the tokens of these groups; nothing where they are one.

    ``sampler_gap`` mean |difference| in nats per token, ``sampler_gap_max`` the largest, ``sampler_kl`` KL(sampler ‖
    policy) in nats per token, ``sampler_ratio`` the mean ratio, ``sampler_truncated`` the share of tokens whose weight
    the cap cuts off (0 without a correction).
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts if rollout.logp_proximal is not None]
    if not rollouts:
        return {}
    pairs = [(rollout.logp_proximal, rollout.completion.logp_behaviour) for rollout in rollouts]
    policy_M, sampler_M = (torch.from_numpy(np.concatenate(side)) for side in zip(*pairs, strict=True))
    found = asdict(mismatch(policy_M, sampler_M))
    gaps = [np.subtract(policy, sampler, dtype=np.float64) for policy, sampler in pairs if policy is not None]
    level = correction_level(settings)
    if level == "sequence":
        gaps = [np.full(gap.shape, gap.sum()) for gap in gaps]
    truncated = level != "none" and np.concatenate(gaps) > np.log(settings.sampler_cap)
    return {
        "sampler_gap": found["abs_mean"],
        "sampler_gap_max": found["abs_max"],
        "sampler_kl": found["kl"],
        "sampler_ratio": found["ratio_mean"],
        "sampler_truncated": float(np.mean(truncated)),
    }
