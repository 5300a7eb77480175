"""MaxRL's advantages: by hand, and as the gradient that they are said to estimate."""

from itertools import product

import pytest
import torch
from hypothesis import given
from torch import Tensor

from strategies import NAN, reward_groups
from unsqueeze.algos.advantages.max_rl import max_rl
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate


def advantages_of(rewards_PG: Tensor) -> Advantages:
    nothing_PGT = torch.zeros((*rewards_PG.shape, 1))
    groups = Groups(
        rewards_PG=rewards_PG,
        num_tokens_PG=torch.ones(rewards_PG.shape, dtype=torch.int64),
        logp_sum_PG=nothing_PGT.sum(dim=-1),
        logp_PGT=nothing_PGT,
    )
    return max_rl(groups, Surrogate())


@pytest.mark.parametrize(
    ("num_right", "right", "wrong"),
    # Of 8: p = c/8, right (1 − p)/p = (8 − c)/c, wrong (0 − p)/p = −1.
    [(1, 7.0, -1.0), (2, 3.0, -1.0), (4, 1.0, -1.0), (5, 0.6, -1.0), (7, 1 / 7, -1.0), (8, 0.0, 0.0), (0, 0.0, 0.0)],
)
def test_groups_of_eight_by_hand(num_right: int, right: float, wrong: float) -> None:
    rewards = [1.0] * num_right + [0.0] * (8 - num_right)
    found = advantages_of(torch.tensor([rewards]))
    expected = torch.tensor([[right] * num_right + [wrong] * (8 - num_right)])
    torch.testing.assert_close(found.values, expected, rtol=1e-6, atol=0)
    assert found.trains_PG.all()
    assert found.moves_PG.any() == (0 < num_right < 8)


def test_what_was_not_judged_is_outside_of_n() -> None:
    # One right of two judged: p = 1/2, so 1 and −1; and nothing of a group without a verdict.
    found = advantages_of(torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, NAN]]))
    assert found.values.tolist() == [[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]]
    assert found.trains_PG.tolist() == [[True, False, True], [False, False, False]]


@pytest.mark.parametrize("num", [2, 3, 5, 8])
@pytest.mark.parametrize("rate", [0.03, 0.3, 0.9])
def test_it_estimates_the_truncated_gradient_of_the_log_pass_rate(num: int, rate: float) -> None:
    # Over all 2^n outcomes of n draws that are right with probability P: with ∇log π(right) = ∇P/P and ∇log π(wrong) =
    # −∇P/(1 − P), the expectation of the mean of A·∇log π is Σ_{j=0}^{n−2} (1 − P)^j times ∇P.
    outcomes = torch.tensor(list(product([0.0, 1.0], repeat=num)), dtype=torch.float64)
    slopes = torch.where(outcomes == 1, 1 / rate, -1 / (1 - rate))
    chances = torch.where(outcomes == 1, rate, 1 - rate).prod(dim=1)
    expectation = (chances * (advantages_of(outcomes).values * slopes).mean(dim=1)).sum()
    assert float(expectation) == pytest.approx(sum((1 - rate) ** j for j in range(num - 1)), rel=1e-5)


@given(rewards_PG=reward_groups())
def test_wrong_ones_of_an_informative_group_have_minus_one_and_all_sum_to_zero(rewards_PG: Tensor) -> None:
    found = advantages_of(rewards_PG)
    informative_P1 = (rewards_PG == 1).any(dim=1, keepdim=True)
    assert (found.values[(rewards_PG == 0) & informative_P1] == -1).all()
    assert not found.values[~informative_P1.expand_as(rewards_PG)].any()
    torch.testing.assert_close(found.values.sum(dim=1), torch.zeros(len(rewards_PG)), rtol=0, atol=1e-5)


def test_rewards_that_depend_on_the_length_are_refused() -> None:
    with pytest.raises(ValueError, match="rewards of 0 and 1 alone"):
        advantages_of(torch.tensor([[1.0, 0.5]]))
