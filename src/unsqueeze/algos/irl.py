"""The inverse-RL objective: maximum likelihood on the model's own selected rollouts."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unsqueeze.algos.objectives import LossOutput


def nll_loss(
    logp_policy_NT: Float[Tensor, "N T"],
    mask_NT: Bool[Tensor, "N T"],
    weights_N: Float[Tensor, " N"],
    *,
    logp_start_NT: Float[Tensor, "N T"] | None = None,
    kl_guard: float = 0.0,
) -> LossOutput:
    """L_IRL = −Σ_i w_i Σ_t [ log π(y_it | x_i, y_i<t) − λ·k3 ], in nats, to be minimised (Eq. 4 and App. C.1).

    The forward KL from the empirical distribution of the selected rollouts to the policy is, up to a constant, their
    cross-entropy. ``weights_N`` come from ``token_weights`` and hold every denominator: ``sequence_mean`` is our
    default (mean over a response's tokens, then over responses), ``token_mean`` the alternative.

    λ = ``kl_guard`` (ours, 0 in the paper) holds the policy to the one at the start of the phase: k3 = exp(d) − d − 1
    with d = log π − ``logp_start_NT`` is 0 where nothing moved and grows on either side. Gradient flows through π only.

    Departure from print: Eq. 4 minimises −E KL(π_rollout ‖ π), which would push the policy AWAY from the rollouts. The
    sign is a misprint; App. C.1 describes the cross-entropy used here.

    Raises ValueError if a guard is asked for and ``logp_start_NT`` is missing.
    """
    if kl_guard > 0 and logp_start_NT is None:
        raise ValueError("nll_loss: kl_guard is positive but logp_start_NT is missing.")
    token_nll_NT = torch.where(mask_NT, -logp_policy_NT, 0.0)
    token_weight_NT = weights_N[:, None] * mask_NT
    loss = (token_weight_NT * token_nll_NT).sum()
    metrics = {"nll": loss.detach()}
    if logp_start_NT is not None:
        gap_NT = torch.where(mask_NT, logp_policy_NT - logp_start_NT.detach(), 0.0)
        moved = (token_weight_NT * (torch.expm1(gap_NT) - gap_NT)).sum()
        metrics["kl_start"] = moved.detach()
        loss = loss + kl_guard * moved
    return LossOutput(loss=loss, weight=token_weight_NT.sum(), metrics=metrics)
