"""Group-relative advantages: rewards less the mean of their group."""

import torch
from jaxtyping import Float
from torch import Tensor

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import AdvantageScale, Surrogate

STD_EPSILON = 1e-4


def group_relative(groups: Groups, settings: Surrogate) -> Advantages:
    """A = (R − mean) / (std + 1e-4) inside each group (Eq. 25): GRPO, DAPO, GSPO; without the division Dr. GRPO.

    Every judged response trains. A group whose rewards are all equal has advantages of exactly 0.
    """
    return Advantages(group_advantages(groups.rewards_PG, settings.advantage_scale), groups.judged_PG)


def group_advantages(rewards_PG: Float[Tensor, "P G"], scale: AdvantageScale = "sample_std") -> Float[Tensor, "P G"]:
    """A = (R − mean) / (std + 1e-4) inside each group (Eq. 25).

    A NaN reward means *not judged*: it takes no part in the mean or the std, and its advantage is 0. A group whose
    judged rewards are all equal, or that has fewer than two of them, carries no information: its advantages are
    exactly 0.

    ``scale``: ``sample_std`` divides by the std over n − 1 (as TRL does), ``population_std`` over n, ``none`` leaves
    the centred reward (Dr. GRPO). The paper leaves the choice open; the 1e-4 is TRL's.

    Raises ValueError if a reward is infinite.
    """
    if torch.isinf(rewards_PG).any():
        raise ValueError("group_advantages: a reward is infinite.")
    judged_PG = ~torch.isnan(rewards_PG)
    count_P1 = judged_PG.sum(dim=1, keepdim=True)
    filled_PG = torch.where(judged_PG, rewards_PG, torch.zeros_like(rewards_PG))
    mean_P1 = filled_PG.sum(dim=1, keepdim=True) / count_P1.clamp(min=1)
    centred_PG = torch.where(judged_PG, rewards_PG - mean_P1, torch.zeros_like(rewards_PG))
    if scale != "none":
        degrees_P1 = (count_P1 - 1 if scale == "sample_std" else count_P1).clamp(min=1)
        std_P1 = (centred_PG.square().sum(dim=1, keepdim=True) / degrees_P1).sqrt()
        centred_PG = centred_PG / (std_P1 + STD_EPSILON)
    return torch.where(informative_groups(rewards_PG)[:, None], centred_PG, torch.zeros_like(centred_PG))


def informative_groups(rewards_PG: Float[Tensor, "P G"]) -> Tensor:
    """bool[P]: which groups hold two different judged rewards, and so have a gradient (Eq. 26, the "s.t." line)."""
    inf = torch.tensor(float("inf"), dtype=rewards_PG.dtype, device=rewards_PG.device)
    unjudged_PG = torch.isnan(rewards_PG)
    low_P = torch.where(unjudged_PG, inf, rewards_PG).amin(dim=1)
    high_P = torch.where(unjudged_PG, -inf, rewards_PG).amax(dim=1)
    return low_P < high_P
