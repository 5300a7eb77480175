"""Advantages of Pass@k training: each response by the subsets of k that hold it."""

import torch

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.subsets import miss_chance, subset_sizes
from unsqueeze.algos.surrogate import Surrogate


def pass_at_k(groups: Groups, settings: Surrogate, *, k: int = 4) -> Advantages:
    """The mean of (max of the rewards − ρ)/σ over the k-subsets of a group that hold the response (arXiv 2508.10751).

    With c right ones of n judged responses, ρ = 1 − C(n−c, k)/C(n, k) the share of k-subsets with a right one, and
    σ = √(ρ(1 − ρ)):

        right   (1 − ρ)/σ
        wrong   (1 − ρ − C(n−c−1, k−1)/C(n−1, k−1))/σ
        both 0 where σ = 0: nothing is right, or so much that no k-subset misses it (c > n − k)

    Where n < k, k is n, and the group is counted (``num_groups_below_k``). k = 1 is GRPO with the std over n. Every
    judged response trains. ``settings`` take no part: σ is the scale.

    Raises ValueError for rewards other than 0 and 1, and for a k outside of [1, G].
    """
    sizes_P1, counts = subset_sizes(groups, k)
    num_P1, num_right_P1 = groups.num_judged_P1.clamp(min=1), groups.num_right_P1
    missed_P1 = miss_chance(num_P1, num_right_P1, sizes_P1)  # 1 − ρ
    std_P1 = (missed_P1 * (1 - missed_P1)).sqrt()
    others_missed_P1 = miss_chance(num_P1 - 1, num_right_P1, sizes_P1 - 1)
    values_PG = torch.where(groups.right_PG, missed_P1, missed_P1 - others_missed_P1) / std_P1
    return Advantages(torch.where(groups.judged_PG & (std_P1 > 0), values_PG, 0.0), groups.judged_PG, counts)
