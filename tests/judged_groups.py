"""Groups of judged responses for tests of estimators, and the gradients that estimators are said to estimate."""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from unsqueeze.algos.groups import Advantages, Estimator, Groups
from unsqueeze.algos.surrogate import Surrogate


def judged(rewards_PG: Tensor, *, logp_mean_PG: Tensor | None = None, num_tokens: int = 1) -> Groups:
    """Groups of responses of ``num_tokens`` tokens, of one log-prob each (0 unless given); NaN: not judged."""
    logp_PG = torch.zeros(rewards_PG.shape) if logp_mean_PG is None else logp_mean_PG
    return Groups(
        rewards_PG=rewards_PG,
        num_tokens_PG=torch.full(rewards_PG.shape, num_tokens),
        logp_sum_PG=logp_PG * num_tokens,
        logp_PGT=logp_PG[:, :, None].expand(*rewards_PG.shape, num_tokens),
    )


def right_of_eight(num_right: int) -> Tensor:
    return torch.tensor([[1.0] * num_right + [0.0] * (8 - num_right)])


def of_eight(estimator: Estimator, num_right: int) -> tuple[float, float, Advantages]:
    """The advantages of a right and of a wrong one of eight responses; NaN where there is none of the kind."""
    found = estimator(judged(right_of_eight(num_right)), Surrogate())
    values = found.values[0].tolist()
    assert values == [values[0]] * num_right + [values[-1]] * (8 - num_right)
    return values[0] if num_right else float("nan"), values[-1] if num_right < 8 else float("nan"), found


def outcomes_of(num: int) -> Tensor:
    """All 2^n outcomes of n draws, float64."""
    return torch.tensor(list(product([0.0, 1.0], repeat=num)), dtype=torch.float64)


def expected_gradient(advantages: Callable[[Tensor], Tensor], num: int, rate: float) -> float:
    """E[mean of A·∇log π] in units of ∇P, over all outcomes of ``num`` draws that are right with probability P.

    ∇log π is ∇P/P for what is right and −∇P/(1 − P) for what is wrong.
    """
    outcomes = outcomes_of(num)
    slopes = outcomes / rate - (1 - outcomes) / (1 - rate)
    chances = (outcomes * rate + (1 - outcomes) * (1 - rate)).prod(dim=1)
    return float((chances * (advantages(outcomes) * slopes).mean(dim=1)).sum())
