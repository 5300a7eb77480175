"""A mass-covering pull to the base policy, on rollouts of the base policy (DPH, arXiv 2509.07430)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unsqueeze.algos.objectives import LossOutput


def base_kl_loss(
    logp_policy_NT: Float[Tensor, "N T"],
    logp_base_NT: Float[Tensor, "N T"],
    mask_NT: Bool[Tensor, "N T"],
    weights_N: Float[Tensor, " N"],
    *,
    coefficient: float,
) -> LossOutput:
    """η·Σ_i w_i Σ_t k3, k3 = exp(d) − d − 1 with d = log π − log π_base, in nats, to be minimised; η = ``coefficient``.

    The responses were drawn from π_base, so that the mean of k3 estimates KL(π_base ‖ π), the forward direction: it
    grows without bound where π gives up what the base does, and is 0, without a gradient, where nothing has moved.
    ``weights_N`` come from ``token_weights`` and hold every denominator. Gradient flows through π only.

    Metric: ``kl_base``, that mean in nats per token. A d above 88 overflows in fp32: the loss is then not finite.
    """
    gap_NT = torch.where(mask_NT, logp_policy_NT - logp_base_NT.detach(), 0.0)
    token_weight_NT = weights_N[:, None] * mask_NT
    divergence = (token_weight_NT * (torch.expm1(gap_NT) - gap_NT)).sum()
    return LossOutput(coefficient * divergence, token_weight_NT.sum(), {"kl_base": divergence.detach()})
