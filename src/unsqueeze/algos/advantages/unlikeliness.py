"""The unlikeliness reward: a right response earns less, the likelier it is within its group."""

import torch

from unsqueeze.algos.advantages.group_relative import group_advantages, informative_groups
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate


def unlikeliness(groups: Groups, settings: Surrogate, *, beta: float = 0.25) -> Advantages:
    """Group-relative advantages of r'_i = r_i·(1 − β·rank_i/n) (arXiv 2506.02355).

    rank_i, from 0 to n − 1, is the place of the response among the n judged ones of its group, the least likely first,
    by the mean log-prob per token under the policy that drew it (``logp_mean_PG``, nats per token); equals stand in the
    order of the group. Only groups with right and wrong responses have advantages other than 0: a group all right would
    train on ranks alone. Every judged response trains.

    Raises ValueError for rewards other than 0 and 1, and a β outside of [0, 1].
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta is {beta}; it must be in [0, 1].")
    judged_PG = groups.judged_PG
    logp_PG = groups.logp_mean_PG.masked_fill(~judged_PG, torch.inf)  # behind all others
    rank_PG = logp_PG.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    factor_PG = 1 - beta * rank_PG / groups.num_judged_P1.clamp(min=1)
    shaped_PG = torch.where(judged_PG, groups.right_PG * factor_PG, torch.nan)
    values_PG = group_advantages(shaped_PG, settings.advantage_scale)
    return Advantages(torch.where(informative_groups(groups.rewards_PG)[:, None], values_PG, 0.0), judged_PG)
