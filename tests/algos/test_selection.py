"""L2TE: which rollouts become demonstrations, by hand and by what may never happen."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import NAN, Candidates, candidate_groups
from unsqueeze.algos.selection import Selected, likelihood, select_demonstrations

POOLS = ["negatives_first", "any", "positives", "uniform"]
ks = st.integers(1, 12)
quantiles = st.sampled_from([1e-6, 0.1, 0.25, 0.5, 0.75, 1.0])
seeds = st.integers(0, 2**32 - 1)
pools = st.sampled_from(POOLS)


def select(group: Candidates, k: int, seed: int = 0, **options: Any) -> list[Selected]:
    return select_demonstrations(group.likelihood_G, group.rewards_G, k, rng=np.random.default_rng(seed), **options)


def group(likelihood: list[float], rewards: list[float]) -> Candidates:
    return Candidates(np.array(likelihood), np.array(rewards))


def candidates(group: Candidates, pool: str) -> list[int]:
    """Indices that the pool may give, lowest likelihood first, ties by index."""
    allowed = [
        i
        for i in range(group.group_size)
        if math.isfinite(group.likelihood_G[i]) and not math.isnan(group.rewards_G[i])
        if pool != "positives" or group.rewards_G[i] > 0
    ]
    return sorted(allowed, key=lambda i: (group.likelihood_G[i], i))


# --- by hand -----------------------------------------------------------------------------------------------------


def test_likelihood_by_hand() -> None:
    # ln(1/2) + ln(1/8) = −4 ln 2; over two tokens −2 ln 2.
    logp = np.log(np.array([0.5, 0.125], dtype=np.float32))
    assert likelihood(logp, "sum") == pytest.approx(-4 * math.log(2), rel=1e-6)
    assert likelihood(logp, "mean") == pytest.approx(-2 * math.log(2), rel=1e-6)
    assert likelihood(logp) == likelihood(logp, "mean")
    assert math.isnan(likelihood(np.array([], dtype=np.float32)))


def test_likelihoods_add_up_in_double_precision() -> None:
    # In single precision −2^24 − 1 is −2^24 again, and two improbable tokens would be lost.
    assert likelihood(np.array([-(2.0**24), -1.0, -1.0], dtype=np.float32), "sum") == -(2.0**24) - 2


def test_length_decides_between_mean_and_sum() -> None:
    # Ten tokens at −0.2 are less likely in all (−2) than one at −1, but more likely per token.
    long, short = np.full(10, -0.2), np.full(1, -1.0)
    assert likelihood(long, "sum") < likelihood(short, "sum")
    assert likelihood(long, "mean") > likelihood(short, "mean")


def test_k_lowest_where_the_lower_half_is_smaller_than_k() -> None:
    # Four negatives, the lower half holds 2 < 3: the three lowest, whatever the seed. Indices 0, 2, 5.
    example = group([-3.0, -1.0, -4.0, -9.0, -8.0, -2.0], [0.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    for seed in range(20):
        chosen = select(example, 3, seed)
        assert [s.index for s in chosen] == [0, 2, 5]
        assert [s.likelihood for s in chosen] == [-3.0, -4.0, -2.0]
        assert {s.reason for s in chosen} == {"negative, low likelihood"}


def test_draws_from_the_lower_half_by_hand() -> None:
    # Eight negatives, the lower half is indices 4..7: any two of these four, each pair once in a while, no other.
    example = group([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0], [0.0] * 8)
    seen = {tuple(s.index for s in select(example, 2, seed)) for seed in range(200)}
    assert seen == {(4, 5), (4, 6), (4, 7), (5, 6), (5, 7), (6, 7)}


def test_the_lower_half_of_five_are_three() -> None:
    # ceil(5 / 2) = 3: indices 2, 3, 4; rounded down, index 2 would never be drawn.
    example = group([-1.0, -2.0, -3.0, -4.0, -5.0], [0.0] * 5)
    assert {tuple(s.index for s in select(example, 2, seed)) for seed in range(100)} == {(2, 3), (2, 4), (3, 4)}


def test_positives_fill_up_by_hand() -> None:
    # One negative and k = 3: it and the two lowest of the four positives (their lower half holds just two).
    example = group([-1.0, -2.0, -3.0, -0.5, -4.0], [1.0, 1.0, 1.0, 0.0, 1.0])
    chosen = {s.index: (s.reason, s.reward) for s in select(example, 3)}
    assert chosen == {
        2: ("positive, low likelihood, too few negatives", 1.0),
        3: ("negative, low likelihood", 0.0),
        4: ("positive, low likelihood, too few negatives", 1.0),
    }


def test_a_group_all_right_gives_positives_and_one_not_judged_gives_nothing() -> None:
    assert [s.index for s in select(group([-1.0, -2.0], [1.0, 1.0]), 1)] == [1]
    assert select(group([-1.0, -2.0], [NAN, NAN]), 1) == []
    assert select(group([-1.0, -2.0], [0.0, 0.0]), 1, pool="positives") == []


def test_uniform_sees_every_candidate() -> None:
    example = group([-1.0, -2.0, -3.0, -4.0], [0.0, 1.0, 0.0, 1.0])
    seen = {s.index for seed in range(100) for s in select(example, 1, seed, pool="uniform", quantile=0.25)}
    assert seen == {0, 1, 2, 3}


def test_a_quantile_is_not_rounded_up_by_binary_floats() -> None:
    # 0.55 · 100 is 55.00000000000001 in binary: the lower part holds 55 candidates, not 56.
    example = group([float(-i) for i in range(100)], [0.0] * 100)
    seen = {s.index for seed in range(400) for s in select(example, 20, seed, pool="any", quantile=0.55)}
    assert min(seen) == 45


@pytest.mark.parametrize(
    ("likelihood_G", "rewards_G", "k", "quantile", "message"),
    [
        ([-1.0], [0.0, 1.0], 1, 0.5, "equal vectors"),
        ([-1.0], [0.0], 0, 0.5, "k is 0"),
        ([-1.0], [0.0], 1, 0.0, "quantile is 0"),
        ([-1.0], [0.0], 1, 1.5, "quantile is 1.5"),
    ],
)
def test_wrong_arguments_are_named(
    likelihood_G: list[float], rewards_G: list[float], k: int, quantile: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        select(group(likelihood_G, rewards_G), k, quantile=quantile)


# --- properties --------------------------------------------------------------------------------------------------


@given(group=candidate_groups(), k=ks, pool=pools, quantile=quantiles, seed=seeds)
def test_at_most_k_of_the_pool_none_twice_in_order(
    group: Candidates, k: int, pool: str, quantile: float, seed: int
) -> None:
    chosen = select(group, k, seed, pool=pool, quantile=quantile)
    indices = [s.index for s in chosen]
    assert indices == sorted(set(indices))
    assert set(indices) <= set(candidates(group, pool))
    assert len(indices) == min(k, len(candidates(group, pool)))
    for s in chosen:
        assert (s.likelihood, s.reward) == (group.likelihood_G[s.index], group.rewards_G[s.index])


@given(group=candidate_groups(), k=ks, pool=pools, quantile=quantiles, seed=seeds)
def test_the_generator_decides_and_nothing_else(
    group: Candidates, k: int, pool: str, quantile: float, seed: int
) -> None:
    first, second = (select(group, k, seed, pool=pool, quantile=quantile) for _ in range(2))
    assert first == second


@given(group=candidate_groups(), k=ks, quantile=quantiles, seed=seeds)
def test_negatives_come_first(group: Candidates, k: int, quantile: float, seed: int) -> None:
    chosen = select(group, k, seed, quantile=quantile)
    num_negatives = sum(group.rewards_G[i] == 0 for i in candidates(group, "any"))
    assert sum(s.reward == 0 for s in chosen) == min(k, num_negatives)
    if num_negatives >= k:
        assert all(s.reward == 0 for s in chosen)


@given(group=candidate_groups(), k=ks, pool=st.sampled_from(["any", "positives"]), quantile=quantiles, seed=seeds)
def test_drawn_ones_lie_in_the_lower_part(group: Candidates, k: int, pool: str, quantile: float, seed: int) -> None:
    ordered = candidates(group, pool)
    reach = max(math.ceil(quantile * len(ordered) - 1e-9), k)
    assert {s.index for s in select(group, k, seed, pool=pool, quantile=quantile)} <= set(ordered[:reach])


@given(group=candidate_groups(), k=ks, seed=seeds)
def test_negatives_first_draws_each_kind_from_its_own_lower_part(group: Candidates, k: int, seed: int) -> None:
    chosen = select(group, k, seed, quantile=0.5)
    for reward in (0.0, 1.0):
        kind = [i for i in candidates(group, "any") if group.rewards_G[i] == reward]
        taken = [s.index for s in chosen if s.reward == reward]
        assert set(taken) <= set(kind[: max(math.ceil(len(kind) / 2), len(taken))])


@given(group=candidate_groups(), seed=seeds, quantile=quantiles)
def test_uniform_with_k_of_all_is_the_identity(group: Candidates, seed: int, quantile: float) -> None:
    chosen = select(group, group.group_size, seed, pool="uniform", quantile=quantile)
    assert [s.index for s in chosen] == sorted(candidates(group, "uniform"))


@given(group=candidate_groups(), k=ks, seed=seeds)
def test_any_with_the_whole_quantile_is_uniform(group: Candidates, k: int, seed: int) -> None:
    by_any = select(group, k, seed, pool="any", quantile=1.0)
    uniform = select(group, k, seed, pool="uniform")
    assert [s.index for s in by_any] == [s.index for s in uniform]


@pytest.mark.parametrize("pool", ["any", "uniform"])
def test_drawing_is_uniform(pool: str) -> None:
    # Six candidates, three of them drawn: each with probability 1/2. Over 2,000 draws the standard error is 0.0112;
    # five of them are 0.056.
    example = group([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], [0.0, 1.0] * 3)
    rng = np.random.default_rng(0)
    counts = np.zeros(6)
    for _ in range(2000):
        chosen = select_demonstrations(example.likelihood_G, example.rewards_G, 3, pool=pool, quantile=1.0, rng=rng)
        counts[[s.index for s in chosen]] += 1
    np.testing.assert_allclose(counts / 2000, 0.5, atol=0.056)
