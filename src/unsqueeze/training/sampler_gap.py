"""Distance of the trainer's log-probs and the sampler's, on the tokens that a step trains on."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray

from unsqueeze.algos.mismatch import mismatch, outside_clip_share
from unsqueeze.algos.surrogate import Correction
from unsqueeze.config.rl_settings import RlSettings

CLIPPED_BY_ROUNDING = 0.05
"""Share of the ratios outside the clip range by rounding alone from which a run is warned."""


def correction_level(settings: RlSettings) -> Correction:
    """Return what is corrected where the trainer takes log-probs of its own."""
    return settings.sampler_correction or "token"


def gap_metrics(
    proximal: Sequence[NDArray[np.float32]], sampler: Sequence[NDArray[np.float32]], settings: RlSettings
) -> dict[str, float]:
    """Measure how far trainer and sampler are apart, given each response's ``logp_proximal`` and ``logp_behaviour``.

    ``sampler_gap`` mean |difference| in nats per token, ``sampler_gap_max`` the largest, ``sampler_kl`` KL(sampler ‖
    policy) in nats per token, ``sampler_ratio`` the mean ratio, ``sampler_truncated`` the share of tokens whose weight
    the cap cuts off (0 without a correction), ``sampler_outside_clip`` the share of tokens, or with a sequence ratio of
    responses, that the ratio to the sampler would put outside the clip range before any update. Where the engine
    samples from the weights in training, all of this is rounding and nothing else.
    """
    policy_M, sampler_M = (torch.from_numpy(np.concatenate(side)) for side in (proximal, sampler))
    found = asdict(mismatch(policy_M, sampler_M))
    gaps = [np.subtract(policy, other, dtype=np.float64) for policy, other in zip(proximal, sampler, strict=True)]
    level = correction_level(settings)
    weighed = [np.full(gap.shape, gap.sum()) for gap in gaps] if level == "sequence" else gaps
    truncated = level != "none" and np.concatenate(weighed) > np.log(settings.sampler_cap)
    return {
        "sampler_gap": found["abs_mean"],
        "sampler_gap_max": found["abs_max"],
        "sampler_kl": found["kl"],
        "sampler_ratio": found["ratio_mean"],
        "sampler_truncated": float(np.mean(truncated)),
        "sampler_outside_clip": outside_clip_share(gaps, settings.surrogate),
    }


def rounding_warning(share: float, settings: RlSettings) -> str | None:
    """One sentence where rounding in bf16 alone puts this ``share`` of the ratios outside the clip range, and there are
    steps that it reaches: the first of a generation is against its own log-probs.
    """
    if settings.steps_per_generation == 1 or not share > CLIPPED_BY_ROUNDING:
        return None
    surrogate = settings.surrogate
    return (
        f"rounding in bf16 alone puts {share:.0%} of the ratios outside the clip range "
        f"[1 − {surrogate.clip_low:g}, 1 + {surrogate.clip_high:g}]: from the second step of a generation on the clip "
        f"cannot tell rounding from a step. Use model.compute_dtype=float32, rl.steps_per_generation=1, or wider "
        f"rl.clip_low and rl.clip_high."
    )
