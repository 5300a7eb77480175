"""Sampler and trainer compute the log-probs of one policy apart, and differ: how much, and the correction for it.

A sampler with kernels or a precision of its own draws tokens from π_sampler, while the surrogate's gradient is that of
π_policy. Truncated importance sampling weighs each token by min(π_policy / π_sampler, C), with both taken before the
first update on those tokens: Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training"
(2025); the truncation is that of Ionides (2008). It multiplies the clipped surrogate, whose own ratio is then against
π_policy at that moment, and no KL or entropy term.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from unsqueeze.algos.surrogate import Correction, Surrogate


def truncated_importance(
    logp_proximal_NT: Float[Tensor, "N T"],
    logp_behaviour_NT: Float[Tensor, "N T"],
    mask_NT: Bool[Tensor, "N T"],
    *,
    level: Correction,
    cap: float,
) -> Float[Tensor, "N T"]:
    """min(exp(d), cap) for every marked token, 1 elsewhere, where d is in nats and by ``level``:

    ``token``     d_t = logp_proximal_t − logp_behaviour_t
    ``sequence``  d = Σ_t d_t over the tokens of the response, the same for each of them
    ``none``      d = 0: no correction

    Log-probs are at the temperature of the sampling. The weights carry no gradient; equal log-probs give exactly 1, by
    which multiplying changes no bit. Raises ValueError if ``cap`` is below 1: it would shrink responses that fit.
    """
    if cap < 1:
        raise ValueError(f"truncated_importance: cap is {cap}; it must be 1 or more.")
    # Padding may hold anything, -inf included.
    gap_NT = torch.where(mask_NT, logp_proximal_NT.detach() - logp_behaviour_NT, 0.0)
    if level == "none":
        return torch.ones_like(gap_NT)
    if level == "sequence":
        gap_NT = torch.where(mask_NT, gap_NT.sum(dim=1, keepdim=True), 0.0)
    return gap_NT.exp().clamp(max=cap)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Distance of sampler and trainer on tokens the sampler drew.

    ``abs_mean``   mean |logp_proximal − logp_behaviour|, nats per token
    ``abs_max``    the largest of them
    ``kl``         KL(sampler ‖ policy) in nats per token, by k3: the mean of exp(d) − d − 1, d = policy − sampler
    ``ratio_mean`` mean of exp(d): 1 on average where the two are one distribution
    """

    abs_mean: float
    abs_max: float
    kl: float
    ratio_mean: float


def mismatch(logp_proximal_M: Float[Tensor, " M"], logp_behaviour_M: Float[Tensor, " M"]) -> Mismatch:
    """See ``Mismatch``; over all M tokens alike, in float64; NaN without tokens."""
    gap_M = logp_proximal_M.double() - logp_behaviour_M.double()
    return Mismatch(
        abs_mean=float(gap_M.abs().mean()),
        abs_max=float(gap_M.abs().max()) if gap_M.numel() else float("nan"),
        kl=float((torch.expm1(gap_M) - gap_M).mean()),
        ratio_mean=float(gap_M.exp().mean()),
    )


def outside_clip_share(gaps: Sequence[NDArray[np.float64]], settings: Surrogate) -> float:
    """Share of ratios exp(gap) outside [1 − clip_low, 1 + clip_high], for the log-ratios (nats) of each response's
    tokens: of tokens for a token ratio; of responses for a sequence ratio, which is exp of the mean. NaN without any.
    """
    if settings.ratio == "sequence":
        gap_M = np.array([gap.mean() for gap in gaps if gap.size])
    else:
        gap_M = np.concatenate([*gaps, np.empty(0)])
    ratio_M = np.exp(gap_M)
    outside_M = (ratio_M < 1 - settings.clip_low) | (ratio_M > 1 + settings.clip_high)
    return float(outside_M.mean()) if outside_M.size else float("nan")
