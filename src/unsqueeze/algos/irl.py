"""The inverse-RL objective: maximum likelihood on the model's own selected rollouts."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unsqueeze.algos.objectives import LossOutput


def nll_loss(
    logp_policy_NT: Float[Tensor, "N T"],
    mask_NT: Bool[Tensor, "N T"],
    weights_N: Float[Tensor, " N"],
) -> LossOutput:
    """L_IRL = −Σ_i w_i Σ_t log π(y_it | x_i, y_i<t), in nats, to be minimised (Eq. 4 and App. C.1).

    The forward KL from the empirical distribution of the selected rollouts to the policy is, up to a constant, their
    cross-entropy. ``weights_N`` come from ``token_weights`` and hold every denominator: ``sequence_mean`` is our
    default (mean over a response's tokens, then over responses), ``token_mean`` the alternative.

    Departure from print: Eq. 4 minimises −E KL(π_rollout ‖ π), which would push the policy AWAY from the rollouts. The
    sign is a misprint; App. C.1 describes the cross-entropy used here.
    """
    token_nll_NT = torch.where(mask_NT, -logp_policy_NT, 0.0)
    loss = (weights_N[:, None] * token_nll_NT).sum()
    return LossOutput(loss=loss, weight=(weights_N[:, None] * mask_NT).sum(), metrics={"nll": loss.detach()})
