"""MaxRL: rewards less the pass rate of their group, over the pass rate."""

import torch

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate


def max_rl(groups: Groups, settings: Surrogate) -> Advantages:
    """A = (r − p)/p with p = c/n, c right ones of n judged responses; 0 where c = 0 (arXiv 2602.02710).

    The mean of A·∇log π over a group estimates Σ_{j=0}^{n−2} (1 − P)^j ∇P without bias, P the pass rate of the policy:
    ∇log P, truncated at order n − 1. So a group with one right answer weighs most, where GRPO weighs it by 1/std.

    Every judged response trains; a group all right or all wrong has advantages of exactly 0. ``settings`` take no part:
    there is no scale to choose. Raises ValueError for rewards other than 0 and 1.
    """
    rate_P1 = groups.pass_rate_P1
    values_PG = (groups.right_PG.to(rate_P1.dtype) - rate_P1) / rate_P1
    return Advantages(torch.where(groups.judged_PG & (rate_P1 > 0), values_PG, 0.0), groups.judged_PG)
