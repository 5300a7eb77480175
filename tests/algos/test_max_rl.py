"""MaxRL's advantages: by hand, and as the gradient that they are said to estimate."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from judged_groups import expected_gradient, judged
from strategies import NAN, reward_groups
from unsqueeze.algos.advantages.max_rl import max_rl
from unsqueeze.algos.groups import Advantages
from unsqueeze.algos.surrogate import Surrogate


def advantages_of(rewards_PG: Tensor) -> Advantages:
    return max_rl(judged(rewards_PG), Surrogate())


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
    # Σ_{j=0}^{n−2} (1 − P)^j times ∇P.
    expectation = expected_gradient(lambda outcomes: advantages_of(outcomes).values, num, rate)
    assert expectation == pytest.approx(sum((1 - rate) ** j for j in range(num - 1)), rel=1e-5)


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
