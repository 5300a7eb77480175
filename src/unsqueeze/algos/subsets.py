"""Subsets of the judged responses of a group, for estimators that ask what k answers are good for.

Axes: P prompts, G rollouts of one prompt.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsqueeze.algos.groups import Groups

GROUPS_BELOW_K = "num_groups_below_k"
"""The count of groups with fewer than k judged responses."""


def subset_sizes(groups: Groups, k: int) -> tuple[Int[Tensor, "P 1"], dict[str, int]]:
    """Return k for every group, and where fewer than k of its responses were judged their number n; with the count of
    such groups.

    It is 1 at least, also where nothing was judged. Raises ValueError unless k is a whole number in [1, G].
    """
    group_size = groups.rewards_PG.shape[1]
    if type(k) is not int or not 1 <= k <= group_size:
        raise ValueError(f"k is {k!r}; it must be a whole number from 1 to the size of a group, {group_size}.")
    num_judged_P1 = groups.num_judged_P1
    return num_judged_P1.clamp(min=1, max=k), {GROUPS_BELOW_K: int((num_judged_P1 < k).sum())}


def miss_chance(
    num_P1: Int[Tensor, "P 1"], marked_P1: Int[Tensor, "P 1"], drawn_P1: Int[Tensor, "P 1"]
) -> Float[Tensor, "P 1"]:
    """C(num − marked, drawn) / C(num, drawn): the chance that a subset of ``drawn`` of ``num`` holds none ``marked``.

    It is Π_{j < drawn} (num − marked − j)/(num − j), so that no binomial is formed, exactly 0 where the unmarked are
    too few and exactly 1 for nothing marked or drawn. float64. Needs drawn ≤ num.
    """
    chance_P1 = torch.ones(num_P1.shape, dtype=torch.float64, device=num_P1.device)
    for j in range(int(drawn_P1.max()) if drawn_P1.numel() else 0):
        factor_P1 = (num_P1 - marked_P1 - j).clamp(min=0) / (num_P1 - j).clamp(min=1).double()
        chance_P1 = torch.where(j < drawn_P1, chance_P1 * factor_P1, chance_P1)
    return chance_P1
