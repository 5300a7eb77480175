"""Differential smoothing: unlikely right responses gain more, and of wrong ones the unlikely lose more."""

import torch

from unsqueeze.algos.advantages.group_relative import group_advantages
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate


def differential_smoothing(
    groups: Groups, settings: Surrogate, *, right_weight: float = 0.04, wrong_weight: float = 0.04
) -> Advantages:
    """A^G − γ_p·L for a right response, A^G + γ_n·L for a wrong one (arXiv 2511.19942, by secondary text).

    A^G are the group-relative advantages, L the sum of the token log-probs of the response under the policy that drew
    it (``logp_sum_PG``, nats), γ_p = ``right_weight`` and γ_n = ``wrong_weight``. L is negative, so that a right
    response gains by γ_p for every nat by which it was unlikely, and a wrong one loses by γ_n.

    Groups that are all right or all wrong train, too: their A^G is 0. A weight that makes the term a quarter, about
    1 / (4 · length · entropy per token), is one to start with; the default is that of the shipped Countdown model.
    Every judged response trains. Raises ValueError for rewards other than 0 and 1, and for a weight below 0.
    """
    for name, weight in (("right_weight", right_weight), ("wrong_weight", wrong_weight)):
        if weight < 0:
            raise ValueError(f"{name} is {weight}; it must be 0 or more.")
    right_PG, judged_PG = groups.right_PG, groups.judged_PG
    weights_PG = torch.where(right_PG, -right_weight, wrong_weight)
    values_PG = group_advantages(groups.rewards_PG, settings.advantage_scale) + weights_PG * groups.logp_sum_PG
    return Advantages(torch.where(judged_PG, values_PG, 0.0), judged_PG)
