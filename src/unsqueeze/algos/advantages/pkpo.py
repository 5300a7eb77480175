"""Advantages of Pass@k policy optimisation: a right response by how rarely the others would do without it."""

import torch

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.subsets import miss_chance, subset_sizes
from unsqueeze.algos.surrogate import Surrogate


def pkpo(groups: Groups, settings: Surrogate, *, k: int = 4) -> Advantages:
    """The chance that k − 1 others of the group hold no right one, for a right response; exactly 0 for a wrong one
    (arXiv 2505.15201, Eq. 33 at rewards of 0 and 1, times n/k).

    With c right ones of n judged responses a right one gets C(n−c, k−1)/C(n−1, k−1): 1 where it is the only one. No
    response is pushed down. The mean of A·∇log π over a group estimates ∇pass@k / k without bias.

    k = 1 has no others to ask: it is leave-one-out REINFORCE, A_i = r_i − mean of the others', (n − c)/(n − 1) if right
    and −c/(n − 1) if wrong, which estimates ∇P, too.

    Departure: the paper's factor k/n is left out, so that the step does not depend on k at the first success. Where
    n < k, k is n, and the group is counted (``num_groups_below_k``). Every judged response trains. ``settings`` take no
    part. Raises ValueError for rewards other than 0 and 1, and for a k outside of [1, G].
    """
    sizes_P1, counts = subset_sizes(groups, k)
    num_P1, num_right_P1 = groups.num_judged_P1, groups.num_right_P1
    alone_P1 = miss_chance(num_P1.clamp(min=1) - 1, (num_right_P1 - 1).clamp(min=0), sizes_P1 - 1)
    values_PG = torch.where(groups.right_PG, alone_P1, 0.0)
    others_P1 = (num_P1 - 1).clamp(min=1).double()
    left_out_PG = groups.right_PG * (num_P1 / others_P1) - num_right_P1 / others_P1
    values_PG = torch.where(sizes_P1 == 1, torch.where(num_P1 > 1, left_out_PG, 0.0), values_PG)
    return Advantages(torch.where(groups.judged_PG, values_PG, 0.0), groups.judged_PG, counts)
