"""Advantages of pass_at_k and pkpo: by hand, by all subsets, and as the gradients that they are said to estimate."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from torch import Tensor

from judged_groups import expected_gradient, judged, of_eight, outcomes_of
from strategies import NAN, reward_groups
from unsqueeze.algos.advantages.pass_at_k import pass_at_k
from unsqueeze.algos.advantages.pkpo import pkpo
from unsqueeze.algos.subsets import miss_chance
from unsqueeze.algos.surrogate import Surrogate

BOTH = [pass_at_k, pkpo]


@pytest.mark.parametrize(
    ("num_right", "right", "wrong"),
    # Of 8, k = 4. c = 1: ρ = 1 − C(7,4)/C(8,4) = 1/2 = σ; right 1, wrong (1/2 − C(6,3)/C(7,3))/σ = 2(1/2 − 4/7) = −1/7.
    # c = 2: 1 − ρ = 15/70, C(5,3)/C(7,3) = 2/7. c = 4: 1 − ρ = 1/70, C(3,3)/C(7,3) = 1/35. c = 5: no 4 of 3 wrong ones.
    [
        (1, 1.0, -1 / 7),
        (2, (3 / 14) / math.sqrt(33 / 196), (3 / 14 - 2 / 7) / math.sqrt(33 / 196)),
        (4, (1 / 70) / (math.sqrt(69) / 70), (1 / 70 - 1 / 35) / (math.sqrt(69) / 70)),
        (5, 0.0, 0.0),
        (7, 0.0, 0.0),
        (8, 0.0, NAN),
        (0, NAN, 0.0),
    ],
)
def test_pass_at_k_of_groups_of_eight_by_hand(num_right: int, right: float, wrong: float) -> None:
    *values, found = of_eight(pass_at_k, num_right)
    assert values == pytest.approx([right, wrong], rel=1e-12, abs=0, nan_ok=True)
    assert found.trains_PG.all()
    assert found.moves_PG.any() == (0 < num_right <= 4)
    assert found.counts == {"num_groups_below_k": 0}


@pytest.mark.parametrize(
    ("num_right", "right"),
    # Of 8, k = 4: C(8−c, 3)/C(7, 3) = C(8−c, 3)/35: 35, 20, 4, 1 and nothing.
    [(1, 1.0), (2, 20 / 35), (4, 4 / 35), (5, 1 / 35), (7, 0.0), (8, 0.0)],
)
def test_pkpo_of_groups_of_eight_by_hand(num_right: int, right: float) -> None:
    value, wrong, found = of_eight(pkpo, num_right)
    assert value == pytest.approx(right, rel=1e-12, abs=0)
    assert wrong == 0 or num_right == 8
    assert found.moves_PG.any() == (right > 0)
    assert not pkpo(judged(torch.zeros(1, 8)), Surrogate()).values.any()


@pytest.mark.parametrize("num", [1, 2, 5, 7])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 7])
def test_pass_at_k_is_the_mean_over_the_subsets_that_hold_the_response(num: int, k: int) -> None:
    size = min(k, num)
    outcomes = outcomes_of(num)
    padded = torch.cat([outcomes, torch.full((len(outcomes), 7 - num), NAN, dtype=torch.float64)], dim=1)
    found = pass_at_k(judged(padded), Surrogate(), k=k)
    for outcome, values in zip(outcomes.tolist(), found.values.tolist(), strict=True):
        best = {subset: max(outcome[i] for i in subset) for subset in combinations(range(num), size)}
        rate = sum(best.values()) / len(best)
        std = math.sqrt(rate * (1 - rate))
        holding = [[value for subset, value in best.items() if i in subset] for i in range(num)]
        expected = [sum(values) / len(values) - rate if std else 0.0 for values in holding]
        assert values[:num] == pytest.approx([each / (std or 1) for each in expected], abs=1e-12)
        assert values[num:] == [0.0] * (7 - num)


@pytest.mark.parametrize("num", [2, 3, 5, 8])
@pytest.mark.parametrize("rate", [0.03, 0.3, 0.9])
def test_pkpo_estimates_the_gradient_of_pass_at_k(num: int, rate: float) -> None:
    # pass@k = 1 − (1 − P)^k, so ∇pass@k / k = (1 − P)^{k−1} ∇P, whatever n ≥ k; k = 1 is ∇P.
    for k in range(1, num + 1):
        estimate = expected_gradient(lambda outcomes, k=k: pkpo(judged(outcomes), Surrogate(), k=k).values, num, rate)
        assert estimate == pytest.approx((1 - rate) ** (k - 1), rel=1e-9)


def test_pkpo_with_k_1_is_leave_one_out_reinforce() -> None:
    # Rewards 1, 1, 0, 0: a right one has one right among three others, 1 − 1/3; a wrong one has two, 0 − 2/3.
    found = pkpo(judged(torch.tensor([[1.0, 1.0, 0.0, 0.0]])), Surrogate(), k=1)
    assert found.values[0].tolist() == pytest.approx([2 / 3, 2 / 3, -2 / 3, -2 / 3])


def test_pass_at_k_with_k_1_is_the_reward_over_the_population_std() -> None:
    # Rewards 1, 0, 0, 0: mean 1/4, std √3/4.
    found = pass_at_k(judged(torch.tensor([[1.0, 0.0, 0.0, 0.0]])), Surrogate(), k=1)
    assert found.values[0].tolist() == pytest.approx([3 / math.sqrt(3)] + [-1 / math.sqrt(3)] * 3)


@pytest.mark.parametrize("estimator", BOTH)
def test_what_was_not_judged_is_outside_of_n_and_small_groups_are_counted(estimator) -> None:
    rewards = torch.tensor([[1.0, 0.0, NAN, 0.0, NAN], [1.0, NAN, NAN, NAN, NAN], [NAN] * 5, [1.0, 0.0, 0.0, 0.0, 1.0]])
    found = estimator(judged(rewards), Surrogate(), k=4)
    assert found.counts == {"num_groups_below_k": 3}
    # The first is a group of three with k = 3: the others miss it, 1 for pkpo; for pass_at_k every 3-subset holds it.
    alone = estimator(judged(torch.tensor([[1.0, 0.0, 0.0]])), Surrogate(), k=3).values[0].tolist()
    assert [found.values[0, i].item() for i in (0, 1, 3)] == alone
    assert not found.values[0, [2, 4]].any()
    assert not found.values[1:3].any()
    assert torch.equal(found.trains_PG, ~rewards.isnan())


@pytest.mark.parametrize("estimator", BOTH)
@given(rewards_PG=reward_groups())
def test_right_ones_never_lose_and_every_value_is_finite(estimator, rewards_PG: Tensor) -> None:
    for k in range(1, rewards_PG.shape[1] + 1):
        found = estimator(judged(rewards_PG), Surrogate(), k=k)
        assert torch.isfinite(found.values).all()
        assert (found.values[rewards_PG == 1] >= 0).all()
        assert (found.values[rewards_PG == 0] <= 0).all()


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("k", [0, 5, -1, True])
def test_a_k_that_no_group_has_is_refused(estimator, k) -> None:
    with pytest.raises(ValueError, match="it must be a whole number from 1 to the size of a group, 4"):
        estimator(judged(torch.zeros(1, 4)), Surrogate(), k=k)


@pytest.mark.parametrize("estimator", BOTH)
def test_rewards_that_depend_on_the_length_are_refused(estimator) -> None:
    with pytest.raises(ValueError, match="rewards of 0 and 1 alone"):
        estimator(judged(torch.tensor([[1.0, 0.5]])), Surrogate(), k=2)


@pytest.mark.parametrize(
    ("num", "marked", "drawn"), [(8, 3, 4), (8, 5, 4), (8, 0, 8), (8, 8, 0), (0, 0, 0), (64, 9, 9)]
)
def test_miss_chance_is_a_ratio_of_binomials(num: int, marked: int, drawn: int) -> None:
    counts = [torch.tensor([[value]]) for value in (num, marked, drawn)]
    expected = math.comb(num - marked, drawn) / math.comb(num, drawn)
    assert miss_chance(*counts).item() == pytest.approx(expected, rel=1e-12, abs=0)
