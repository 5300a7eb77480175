"""Weighted REINFORCE: wrong responses down by 1, right ones up by λ, without a baseline."""

import torch

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate


def w_reinforce(groups: Groups, settings: Surrogate, *, right_weight: float = 0.1) -> Advantages:
    """A = λ for a right response, −1 for a wrong one, λ = ``right_weight`` (arXiv 2506.01347).

    There is no baseline, so every group trains, all right and all wrong ones too. With λ = 0 right responses are no
    part of the batch, nor of its denominators: negative sample reinforcement (NSR). ``settings`` take no part.

    Raises ValueError for rewards other than 0 and 1, and for a λ below 0.
    """
    if right_weight < 0:
        raise ValueError(f"right_weight is {right_weight}; it must be 0 or more.")
    right_PG, judged_PG = groups.right_PG, groups.judged_PG
    values_PG = torch.where(right_PG, right_weight, torch.where(judged_PG, -1.0, 0.0))
    return Advantages(values_PG, judged_PG if right_weight > 0 else judged_PG & ~right_PG)
