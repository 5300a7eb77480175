"""w_reinforce, focal, differential_smoothing, ucpo and unlikeliness: by hand, and what each must not do."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from judged_groups import judged, of_eight
from strategies import NAN, reward_groups
from unsqueeze.algos.advantages.differential_smoothing import differential_smoothing
from unsqueeze.algos.advantages.focal import focal
from unsqueeze.algos.advantages.group_relative import STD_EPSILON, group_relative
from unsqueeze.algos.advantages.max_rl import max_rl
from unsqueeze.algos.advantages.pass_at_k import pass_at_k
from unsqueeze.algos.advantages.ucpo import ucpo
from unsqueeze.algos.advantages.unlikeliness import unlikeliness
from unsqueeze.algos.advantages.w_reinforce import w_reinforce
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.errors import UserError

ALL = [w_reinforce, focal, differential_smoothing, ucpo, unlikeliness]
MIXED = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
UNSCALED = Surrogate(advantage_scale="none")


def listed(found: Advantages) -> list[float]:
    return found.values[0].tolist()


# ---- w_reinforce


@pytest.mark.parametrize("num_right", [1, 2, 4, 5, 7])
def test_w_reinforce_of_groups_of_eight_by_hand(num_right: int) -> None:
    right, wrong, found = of_eight(w_reinforce, num_right)
    assert (right, wrong) == (pytest.approx(0.1), -1.0)
    assert found.moves_PG.all()


@pytest.mark.parametrize(("num_right", "value"), [(8, 0.1), (0, -1.0)])
def test_w_reinforce_trains_on_groups_all_right_and_all_wrong(num_right: int, value: float) -> None:
    found = of_eight(w_reinforce, num_right)[2]
    assert listed(found) == pytest.approx([value] * 8)
    assert found.moves_PG.all()


def test_nsr_is_wrong_ones_alone_right_ones_in_no_denominator() -> None:
    found = w_reinforce(judged(torch.tensor([[1.0, 0.0, NAN], [1.0, 1.0, 1.0]])), Surrogate(), right_weight=0.0)
    assert found.values.tolist() == [[0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]
    assert found.trains_PG.tolist() == [[False, True, False], [False] * 3]


# ---- focal


@pytest.mark.parametrize(
    ("num_right", "right", "wrong"),
    # GRPO's, with sample std √(c(8 − c)/56), times 1 − c/8.
    [(1, 2.166, -0.309), (2, 1.215, -0.405), (4, 0.468, -0.468), (5, 0.272, -0.453), (7, 0.044, -0.309)],
)
def test_focal_of_groups_of_eight_by_hand(num_right: int, right: float, wrong: float) -> None:
    std = math.sqrt(num_right * (8 - num_right) / 56)
    exact = [(value - num_right / 8) / (std + STD_EPSILON) * (1 - num_right / 8) for value in (1, 0)]
    *values, found = of_eight(focal, num_right)
    assert values == pytest.approx(exact, rel=1e-5)
    assert values == pytest.approx([right, wrong], abs=1.5e-3)
    assert found.trains_PG.all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("of", "inner"), [("max_rl", max_rl), ("pass_at_k", partial(pass_at_k, k=2))])
def test_focal_is_a_factor_on_any_estimator(of: str, inner, gamma: float) -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0] * 4, [0.0] * 4, [NAN, NAN, 1.0, 0.0]])
    options = {"k": 2} if of == "pass_at_k" else {}
    found = focal(judged(rewards), Surrogate(), gamma=gamma, of=of, of_options=options)
    plain = inner(judged(rewards), Surrogate())
    factors = torch.tensor([[0.75], [0.25], [0.0], [1.0], [0.5]]) ** gamma
    torch.testing.assert_close(found.values, plain.values * factors)
    assert torch.equal(found.trains_PG, plain.trains_PG)
    assert found.counts == plain.counts


def test_focal_leaves_to_the_other_who_trains_and_weighs_tokens() -> None:
    nsr = focal(judged(MIXED), Surrogate(), of="w_reinforce", of_options={"right_weight": 0.0})
    assert nsr.trains_PG.tolist() == [[False, False, True, True]]
    assert listed(nsr) == [0.0, 0.0, -0.5, -0.5]
    tokens = focal(judged(MIXED, num_tokens=2), Surrogate(), of=f"{__name__}:ones_of_tokens")
    assert tokens.values.tolist() == [[[0.5, 0.5]] * 4]


def ones_of_tokens(groups: Groups, settings: Surrogate) -> Advantages:
    return Advantages(torch.ones_like(groups.logp_PGT), groups.judged_PG)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "maxrl"}, r"rl\.advantage_options\.of is 'maxrl'; known are"),
        ({"of": "max_rl", "of_options": {"k": 2}}, r"rl\.advantage_options\.of_options do not fit max_rl"),
        ({"of": f"{__name__}:nothing"}, r"rl\.advantage_options\.of is .* has no nothing"),
    ],
)
def test_an_unknown_inner_estimator_is_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        focal(judged(MIXED), Surrogate(), **options)


# ---- differential_smoothing


def test_differential_smoothing_by_hand() -> None:
    # Two tokens each, L = 2 · mean = −1, −4, −1, −4. Centred rewards ±1/2; right +0.1·|L|, wrong −0.2·|L|.
    groups = judged(MIXED, logp_mean_PG=torch.tensor([[-0.5, -2.0, -0.5, -2.0]]), num_tokens=2)
    found = differential_smoothing(groups, UNSCALED, right_weight=0.1, wrong_weight=0.2)
    assert listed(found) == pytest.approx([0.5 + 0.1, 0.5 + 0.4, -0.5 - 0.2, -0.5 - 0.8])


def test_differential_smoothing_trains_on_groups_without_a_contrast() -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [NAN, NAN]])
    groups = judged(rewards, logp_mean_PG=torch.tensor([[-1.0, -3.0]] * 3))
    found = differential_smoothing(groups, Surrogate(), right_weight=0.5, wrong_weight=0.5)
    assert found.values.tolist() == [[0.5, 1.5], [-0.5, -1.5], [0.0, 0.0]]
    assert found.moves_PG.tolist() == [[True, True], [True, True], [False, False]]


@given(rewards_PG=reward_groups())
def test_differential_smoothing_without_weights_is_group_relative(rewards_PG: Tensor) -> None:
    groups = judged(rewards_PG, logp_mean_PG=-torch.ones(rewards_PG.shape))
    found = differential_smoothing(groups, Surrogate(), right_weight=0.0, wrong_weight=0.0)
    torch.testing.assert_close(found.values, group_relative(groups, Surrogate()).values)


# ---- ucpo


def test_ucpo_by_hand() -> None:
    # ℓ of the right ones: ln 3 apart, q = 3/4 and 1/4, 1/q = 4/3 and 4, v = 1/4 and 3/4. c = 2, τ = 0.2:
    # factors 0.8 + 0.4/4 = 0.9 and 0.8 + 0.4·3/4 = 1.1 on ±1/2; wrong ones stay, however unlikely.
    groups = judged(MIXED, logp_mean_PG=torch.tensor([[-1.0, -1.0 - math.log(3), -9.0, -0.1]]))
    assert listed(ucpo(groups, UNSCALED)) == pytest.approx([0.45, 0.55, -0.5, -0.5])


def test_ucpo_by_the_sum_moves_more() -> None:
    # Two tokens: the sums are ln 9 apart, q = 9/10 and 1/10, v = 1/10 and 9/10, factors 0.84 and 1.16.
    groups = judged(MIXED, logp_mean_PG=torch.tensor([[-1.0, -1.0 - math.log(3), -9.0, -0.1]]), num_tokens=2)
    assert listed(ucpo(groups, UNSCALED, likelihood="sum")) == pytest.approx([0.42, 0.58, -0.5, -0.5])
    assert listed(ucpo(groups, UNSCALED)) == pytest.approx([0.45, 0.55, -0.5, -0.5])


def test_ucpo_bounds_the_share_from_below() -> None:
    # q = 1 and e^−50, taken for 1e-6: v = 1e-6/(1 + 1e-6) and the rest; all of τ goes to the unlikely one.
    groups = judged(MIXED, logp_mean_PG=torch.tensor([[-1.0, -51.0, -1.0, -1.0]]))
    assert listed(ucpo(groups, UNSCALED, tau=1.0)) == pytest.approx([1e-6, 1.0 - 1e-6, -0.5, -0.5], abs=1e-11)


@given(rewards_PG=reward_groups(), seed=st.integers(0, 1000), tau=st.sampled_from([0.0, 0.2, 1.0]))
def test_ucpo_keeps_what_right_ones_have_together(rewards_PG: Tensor, seed: int, tau: float) -> None:
    logp_PG = -torch.rand(rewards_PG.shape, generator=torch.Generator().manual_seed(seed)) * 30
    groups = judged(rewards_PG, logp_mean_PG=logp_PG)
    found, plain = ucpo(groups, Surrogate(), tau=tau).values, group_relative(groups, Surrogate()).values.double()
    right_PG = rewards_PG == 1
    sums = [torch.where(right_PG, values, 0.0).sum(dim=1) for values in (found, plain)]
    torch.testing.assert_close(*sums, rtol=1e-9, atol=1e-9)
    assert torch.equal(found[~right_PG], plain[~right_PG])
    alone = right_PG.sum(dim=1) < 2
    assert torch.equal(found[alone], plain[alone])


# ---- unlikeliness


def test_unlikeliness_by_hand() -> None:
    # Ranks by ℓ: −3 is 0, −2 is 1, −1 is 2, −0.5 is 3. Of four, β = 1/2: r' = 1 − 2/8 = 3/4 and 1 − 3/8 = 5/8, 0, 0.
    groups = judged(MIXED, logp_mean_PG=torch.tensor([[-1.0, -0.5, -3.0, -2.0]]))
    mean = (0.75 + 0.625) / 4
    expected = [0.75 - mean, 0.625 - mean, -mean, -mean]
    assert listed(unlikeliness(groups, UNSCALED, beta=0.5)) == pytest.approx(expected)
    std = math.sqrt(sum(value**2 for value in expected) / 3)
    assert listed(unlikeliness(groups, Surrogate(), beta=0.5)) == pytest.approx(
        [value / (std + STD_EPSILON) for value in expected]
    )


def test_unlikeliness_ranks_what_was_judged_alone() -> None:
    # Judged are three, ranks 1, 0, 2 of three: what was not judged, the least likely, has no place.
    groups = judged(torch.tensor([[1.0, NAN, 1.0, 0.0]]), logp_mean_PG=torch.tensor([[-2.0, -9.0, -3.0, -1.0]]))
    shaped = [1 - 0.25 / 3, 1.0, 0.0]
    mean = sum(shaped) / 3
    found = listed(unlikeliness(groups, UNSCALED))
    assert found == pytest.approx([shaped[0] - mean, 0.0, shaped[1] - mean, -mean])


@pytest.mark.parametrize("value", [0.0, 1.0, NAN])
def test_unlikeliness_is_silent_where_verdicts_do_not_differ(value: float) -> None:
    groups = judged(torch.full((1, 4), value), logp_mean_PG=torch.tensor([[-1.0, -2.0, -3.0, -4.0]]))
    assert not unlikeliness(groups, Surrogate()).moves_PG.any()


def test_equals_are_ranked_in_the_order_of_the_group() -> None:
    groups = judged(torch.tensor([[1.0, 1.0, 1.0, 0.0]]), logp_mean_PG=torch.full((1, 4), -1.0))
    assert all(one > other for one, other in pairwise(listed(unlikeliness(groups, UNSCALED))))


# ---- all of them


@pytest.mark.parametrize("estimator", ALL)
@given(rewards_PG=reward_groups(), seed=st.integers(0, 1000))
def test_what_was_not_judged_reaches_nobody(estimator, rewards_PG: Tensor, seed: int) -> None:
    logp_PG = -torch.rand(rewards_PG.shape, generator=torch.Generator().manual_seed(seed)) * 10
    groups = judged(rewards_PG, logp_mean_PG=logp_PG)
    found = estimator(groups, Surrogate())
    assert torch.isfinite(found.values).all()
    assert not (found.trains_PG & ~groups.judged_PG).any()
    for row, judged_G in enumerate(groups.judged_PG):
        if judged_G.any():
            alone = estimator(
                judged(rewards_PG[row : row + 1, judged_G], logp_mean_PG=logp_PG[row : row + 1, judged_G]), Surrogate()
            )
            torch.testing.assert_close(found.values[row, judged_G], alone.values[0])


@pytest.mark.parametrize("estimator", ALL)
def test_rewards_that_depend_on_the_length_are_refused(estimator) -> None:
    with pytest.raises(ValueError, match="rewards of 0 and 1 alone"):
        estimator(judged(torch.tensor([[1.0, 0.5]])), Surrogate())


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (w_reinforce, {"right_weight": -0.1}, r"right_weight is -0\.1; it must be 0 or more"),
        (focal, {"gamma": -1.0}, r"gamma is -1\.0; it must be 0 or more"),
        (differential_smoothing, {"right_weight": -1.0}, "right_weight is"),
        (differential_smoothing, {"wrong_weight": -1.0}, "wrong_weight is"),
        (ucpo, {"tau": 1.5}, r"tau is 1\.5; it must be in \[0, 1\]"),
        (ucpo, {"likelihood": "max"}, "likelihood is 'max'; it must be mean or sum"),
        (unlikeliness, {"beta": -0.1}, r"beta is -0\.1; it must be in \[0, 1\]"),
    ],
)
def test_options_out_of_range_are_refused(estimator, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator(judged(MIXED), Surrogate(), **options)
