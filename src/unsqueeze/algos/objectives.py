"""The clipped surrogate: GRPO, DAPO and GSPO (Eq. 23-29 of arXiv 2604.16995, with two corrections of the print)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unsqueeze.algos.surrogate import Surrogate


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A loss to minimise, the total weight Σ_i w_i |y_i| of its tokens, and weighted sums of quantities of tokens.

    All three add up over the parts of a batch. A metric's mean over tokens is its sum over that of ``weight``, which
    is 1 only where every response of the batch is among the rows and the aggregation is a mean.
    """

    loss: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    metrics: dict[str, Tensor]


def clipped_surrogate_loss(
    logp_policy_NT: Float[Tensor, "N T"],
    logp_proximal_NT: Float[Tensor, "N T"],
    advantages: Float[Tensor, " N"] | Float[Tensor, "N T"],
    mask_NT: Bool[Tensor, "N T"],
    weights_N: Float[Tensor, " N"],
    settings: Surrogate,
    *,
    logp_ref_NT: Float[Tensor, "N T"] | None = None,
    entropy_NT: Float[Tensor, "N T"] | None = None,
    importance_NT: Float[Tensor, "N T"] | None = None,
    distance_cost_NT: Float[Tensor, "N T"] | None = None,
) -> LossOutput:
    """−Σ_i w_i Σ_t [ min(r·A, clip(r, 1 − ε_low, 1 + ε_high)·A) − β·k3 + c·H − κ·abs(log r_token) ], to be minimised.

    r is the token ratio exp(logp_policy − logp_proximal) (Eq. 27), or for every token of a response its sequence
    ratio s = exp(mean over its tokens of the log-ratio) (Eq. 29). k3 = exp(ref − policy) − (ref − policy) − 1 estimates
    KL(policy ‖ reference) in nats per token, and H is the entropy of the next-token distribution. ``importance_NT``
    (``truncated_importance``) multiplies the min of each token, where the sampler and the trainer are two. κ is
    ``distance_cost_NT``, 0 but for the tokens that KL-Cov holds back (arXiv 2505.22617); its term has no gradient at a
    ratio of exactly 1.

    ``advantages`` are those of responses, shape N, or of their tokens, NT.
    ``mask_NT`` marks the tokens of the response. ``weights_N`` come from ``token_weights`` and hold every denominator,
    so parts of a batch add up to the whole. Gradient flows through ``logp_policy_NT`` and ``entropy_NT`` only.

    Departures from print: Eq. 24 puts the sequence ratio inside GRPO's sum over tokens; GRPO uses the token ratio, as
    in Eq. 27. Eq. 28 clips w_i but weighs s_i; it is s_i in both places.

    Metrics: ``ratio_mean``; ``clip_low_share`` and ``clip_high_share``, the share of tokens whose gradient the clip
    takes away at either side; ``kl_ref`` in nats per token, where a reference is given. A log-ratio above 88 overflows
    in fp32: the loss or its gradient is then not finite, and it is for the optimizer to refuse the step.

    Raises ValueError if the settings ask for a KL or entropy term whose tensor is missing.
    """
    if settings.kl_coefficient > 0 and logp_ref_NT is None:
        raise ValueError("clipped_surrogate_loss: kl_coefficient is positive but logp_ref_NT is missing.")
    if settings.entropy_coefficient > 0 and entropy_NT is None:
        raise ValueError("clipped_surrogate_loss: entropy_coefficient is positive but entropy_NT is missing.")

    # Padding may hold anything, -inf included; it is replaced before any arithmetic, for 0 · inf is NaN in a gradient.
    log_ratio_NT = torch.where(mask_NT, logp_policy_NT - logp_proximal_NT.detach(), 0.0)
    distance_NT = log_ratio_NT.abs()
    if settings.ratio == "sequence":
        length_N1 = mask_NT.sum(dim=1, keepdim=True).clamp(min=1)
        log_ratio_NT = (log_ratio_NT.sum(dim=1, keepdim=True) / length_N1).expand_as(log_ratio_NT)
    ratio_NT = log_ratio_NT.exp()
    clipped_NT = ratio_NT.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    advantages_NT = advantages.detach()[:, None] if advantages.ndim == 1 else advantages.detach()
    objective_NT = torch.minimum(ratio_NT * advantages_NT, clipped_NT * advantages_NT)
    if importance_NT is not None:
        objective_NT = importance_NT.detach() * objective_NT

    token_weight_NT = weights_N[:, None] * mask_NT
    metrics = {
        "ratio_mean": ratio_NT,
        "clip_low_share": (ratio_NT < 1 - settings.clip_low) & (advantages_NT < 0),
        "clip_high_share": (ratio_NT > 1 + settings.clip_high) & (advantages_NT > 0),
    }
    if logp_ref_NT is not None:
        gap_NT = torch.where(mask_NT, logp_ref_NT.detach() - logp_policy_NT, 0.0)
        k3_NT = torch.expm1(gap_NT) - gap_NT
        metrics["kl_ref"] = k3_NT
        if settings.kl_coefficient > 0:
            objective_NT = objective_NT - settings.kl_coefficient * k3_NT
    if settings.entropy_coefficient > 0 and entropy_NT is not None:
        objective_NT = objective_NT + settings.entropy_coefficient * torch.where(mask_NT, entropy_NT, 0.0)
    if distance_cost_NT is not None:
        objective_NT = objective_NT - distance_cost_NT * distance_NT

    return LossOutput(
        loss=-(token_weight_NT * objective_NT).sum(),
        weight=token_weight_NT.sum(),
        metrics={key: (token_weight_NT * value.detach()).sum() for key, value in metrics.items()},
    )
