"""Uniform-correctness advantages: among right responses the unlikely ones get the larger share."""

import torch

from unsqueeze.algos.advantages.group_relative import group_advantages
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate

LOWEST_SHARE = 1e-6


def ucpo(groups: Groups, settings: Surrogate, *, tau: float = 0.2, likelihood: str = "mean") -> Advantages:
    """A_i = A^G_i · c · [(1 − τ)/c + τ·v_i] over the c ≥ 2 right responses of a group (arXiv 2605.00365).

    A^G are the group-relative advantages, q = softmax(ℓ) over the right ones, at least 1e-6, v_i = (1/q_i)/Σ(1/q_j):
    what right ones have together stays the same, and a share τ of it is dealt out anew, more to the less likely. Wrong
    responses keep A^G, and so do groups with fewer than two right ones; without a contrast A^G is 0 for all.

    ℓ is the log-prob under the policy that drew the response: the ``mean`` of its tokens (nats per token), with which
    the effect is a few percent, or their ``sum``. Every judged response trains.

    Raises ValueError for rewards other than 0 and 1, a τ outside of [0, 1] and another likelihood.
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"tau is {tau}; it must be in [0, 1].")
    if likelihood not in ("mean", "sum"):
        raise ValueError(f"likelihood is {likelihood!r}; it must be mean or sum.")
    right_PG, num_right_P1 = groups.right_PG, groups.num_right_P1
    logp_PG = (groups.logp_mean_PG if likelihood == "mean" else groups.logp_sum_PG).double()
    share_PG = torch.softmax(logp_PG.masked_fill(~right_PG, -torch.inf), dim=1).clamp(min=LOWEST_SHARE)
    inverse_PG = torch.where(right_PG, 1 / share_PG, 0.0)
    unlikeliness_PG = inverse_PG / inverse_PG.sum(dim=1, keepdim=True)
    factor_PG = 1 - tau + tau * (num_right_P1 * unlikeliness_PG)
    values_PG = group_advantages(groups.rewards_PG, settings.advantage_scale).double()
    dealt_PG = torch.where(right_PG & (num_right_P1 >= 2), values_PG * factor_PG, values_PG)
    return Advantages(dealt_PG, groups.judged_PG)
