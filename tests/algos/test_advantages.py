"""Group-relative advantages: by hand, and what they must not depend on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strategies import NAN, reward_groups
from unsqueeze.algos.advantages.group_relative import STD_EPSILON, group_advantages, informative_groups

SCALES = ["sample_std", "population_std", "none"]


def one_group(rewards: list[float], scale: str = "sample_std") -> Tensor:
    return group_advantages(torch.tensor([rewards]), scale)[0]


def test_sample_std_by_hand() -> None:
    # Rewards 1, 0, 0, 0: mean 1/4, squared deviations 9/16 + 3 · 1/16 = 3/4, sample variance (3/4) / 3 = 1/4, std 1/2.
    # A = (3/4) / (1/2 + 1e-4) = 1.4997000..., and (−1/4) / (1/2 + 1e-4) = −0.4999000...
    expected = torch.tensor([0.75, -0.25, -0.25, -0.25]) / 0.5001
    torch.testing.assert_close(one_group([1.0, 0.0, 0.0, 0.0]), expected, rtol=1e-6, atol=0)


def test_population_std_by_hand() -> None:
    # The same rewards: population variance (3/4) / 4 = 3/16, std sqrt(3) / 4.
    expected = torch.tensor([0.75, -0.25, -0.25, -0.25]) / (math.sqrt(3) / 4 + 1e-4)
    torch.testing.assert_close(one_group([1.0, 0.0, 0.0, 0.0], "population_std"), expected, rtol=1e-6, atol=0)


def test_without_scale_the_centred_reward_is_left() -> None:
    torch.testing.assert_close(one_group([1.0, 0.0, 0.0, 0.0], "none"), torch.tensor([0.75, -0.25, -0.25, -0.25]))


def test_unjudged_takes_no_part_by_hand() -> None:
    # Judged are 1 and 0: mean 1/2, squared deviations 1/4 + 1/4 = 1/2 over n − 1 = 1, std sqrt(1/2).
    scale = math.sqrt(0.5) + 1e-4
    expected = torch.tensor([0.5 / scale, 0.0, -0.5 / scale, 0.0])
    torch.testing.assert_close(one_group([1.0, NAN, 0.0, NAN]), expected, rtol=1e-6, atol=0)


def test_fractional_rewards_that_are_equal_give_exactly_zero() -> None:
    # The mean of eight times 0.1 is not 0.1 in fp32; centring alone would leave rounding errors divided by 1e-4.
    assert one_group([0.1] * 8).tolist() == [0.0] * 8


@pytest.mark.parametrize("rewards", [[1.0, NAN, NAN], [NAN, NAN, NAN], [0.0]])
def test_fewer_than_two_judged_give_exactly_zero(rewards: list[float]) -> None:
    assert one_group(rewards).tolist() == [0.0] * len(rewards)


def test_an_infinite_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        one_group([1.0, float("inf")])


@given(rewards_PG=reward_groups(unjudged=False), scale=st.sampled_from(SCALES), value=st.floats(-2, 2, width=32))
def test_all_equal_groups_give_exactly_zero(rewards_PG: Tensor, scale: str, value: float) -> None:
    equal = torch.full_like(rewards_PG, value)
    assert not group_advantages(equal, scale).any()
    assert not informative_groups(equal).any()


@given(rewards_PG=reward_groups(), scale=st.sampled_from(SCALES), data=st.data())
def test_permuting_a_group_permutes_its_advantages(rewards_PG: Tensor, scale: str, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(rewards_PG.shape[1])))
    permuted = group_advantages(rewards_PG[:, order], scale)
    torch.testing.assert_close(permuted, group_advantages(rewards_PG, scale)[:, order])


@given(rewards_PG=reward_groups(), scale=st.sampled_from(SCALES))
def test_unjudged_is_the_same_as_removed(rewards_PG: Tensor, scale: str) -> None:
    advantages = group_advantages(rewards_PG, scale)
    for rewards_G, advantages_G in zip(rewards_PG, advantages, strict=True):
        judged_G = ~rewards_G.isnan()
        assert not advantages_G[~judged_G].any()
        if judged_G.any():
            alone = group_advantages(rewards_G[judged_G][None], scale)[0]
            torch.testing.assert_close(advantages_G[judged_G], alone)


@given(rewards_PG=reward_groups(), scale=st.sampled_from(SCALES), shift=st.floats(-3, 3, width=16))
def test_advantages_are_finite_and_sum_to_zero_whatever_the_baseline(
    rewards_PG: Tensor, scale: str, shift: float
) -> None:
    advantages = group_advantages(rewards_PG, scale)
    assert advantages.isfinite().all()
    torch.testing.assert_close(advantages.sum(dim=1), torch.zeros(len(rewards_PG)), rtol=0, atol=1e-5)
    shifted = group_advantages(rewards_PG + shift, scale)
    torch.testing.assert_close(shifted, advantages, rtol=1e-4, atol=1e-4)


@given(rewards_PG=reward_groups())
def test_informative_is_some_right_and_some_wrong(rewards_PG: Tensor) -> None:
    # Eq. 26: 0 < number of right answers < number of judged answers.
    right_P = (rewards_PG == 1).sum(dim=1)
    judged_P = (~rewards_PG.isnan()).sum(dim=1)
    expected = (right_P > 0) & (right_P < judged_P)
    assert informative_groups(rewards_PG).tolist() == expected.tolist()
    assert group_advantages(rewards_PG).ne(0).any(dim=1).tolist() == expected.tolist()


@given(scale=st.sampled_from(["sample_std", "population_std"]), factor=st.floats(0.5, 100))
def test_scaling_rewards_changes_advantages_only_through_the_epsilon(scale: str, factor: float) -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0]])
    plain = group_advantages(rewards, scale)
    scaled = group_advantages(rewards * factor, scale)
    # std is at least 0.48 here: the relative effect of epsilon is at most eps / (0.48 · 0.5).
    torch.testing.assert_close(scaled, plain, rtol=STD_EPSILON / 0.24, atol=0)
