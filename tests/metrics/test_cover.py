"""Cover@τ: what it counts, that Pass@k is its integral, and what its interval holds for."""

from math import comb, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics import cover as room
from unsqueeze.metrics.cover import cover
from unsqueeze.metrics.intervals import bootstrap_mean
from unsqueeze.metrics.reliability import g_pass_at_k


def test_counts_the_problems_that_reach_the_share() -> None:
    samples_P, correct_P = [8, 8, 8, 4], [0, 4, 8, 1]
    assert cover(samples_P, correct_P, 0.25).mean == 0.75
    assert cover(samples_P, correct_P, 0.5).mean == 0.5
    assert cover(samples_P, correct_P, 0.51).mean == 0.25
    assert cover(samples_P, correct_P, 1.0).mean == 0.25
    assert cover(samples_P, correct_P, 1e-6).mean == 0.75  # coverage: one correct sample at least


@given(st.lists(st.integers(0, 16), min_size=1, max_size=12), st.integers(1, 40))
def test_pass_at_k_is_its_integral(counts: list[int], k: int) -> None:
    """Of the plug-in rates c/n, exactly: Cover is constant between multiples of 1/n, and the weight integrates there
    to (1 − τ_i)^k − (1 − τ_{i+1})^k.
    """
    n = 16
    edges = np.arange(n + 1) / n
    weights = (1 - edges[:-1]) ** k - (1 - edges[1:]) ** k
    covers = [float(np.mean([count / n >= edge for count in counts])) for edge in edges[1:]]
    assert covers == [pytest.approx(float(np.mean(room._values([n] * len(counts), counts, e)[0]))) for e in edges[1:]]
    plug_in = np.mean([1 - (1 - count / n) ** k for count in counts])
    assert weights @ np.array(covers) == pytest.approx(plug_in, abs=1e-12)


def test_is_g_pass_of_all_samples() -> None:
    samples_P, correct_P = np.full(33, 32), np.arange(33)
    for tau in (0.1, 0.5, 0.9):
        assert cover(samples_P, correct_P, tau).mean == np.mean([g_pass_at_k(32, c, 32, tau) for c in range(33)])


@pytest.mark.parametrize("n", [1, 2, 8, 128])
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9, 1.0])
def test_the_bounds_hold_in_expectation_at_every_rate(n: int, tau: float) -> None:
    """By enumeration of c: the lower value is 1[p ≥ τ] at most, the upper one at least, worst cases included."""
    _, least, greatest, _ = room._values([n] * (n + 1), range(n + 1), tau)
    for rate in [*np.linspace(0, 1, 51), tau, np.nextafter(tau, 0), tau - 1e-9]:
        chances = np.array([comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)])
        solved = float(rate >= tau)
        assert chances @ least <= solved + 1e-9
        assert chances @ greatest >= solved - 1e-9


def test_thresholds_by_hand() -> None:
    # Bin(8, 1/2): P(X ≥ 7) = 9/256 = 3.5 %, P(X ≥ 6) = 37/256; P(X < 2) = 9/256.
    assert room._thresholds(8, 0.5) == (2, 7, pytest.approx(9 / 256), pytest.approx(9 / 256))
    # All or nothing: no count shows that p is 1, and one wrong sample shows that it is not.
    assert room._thresholds(8, 1.0) == (8, 9, 0.0, 0.0)


def test_the_interval_holds_the_truth_where_the_plug_in_is_far_off() -> None:
    """Success rates just below τ: n samples put nearly half of the problems above it, and none is."""
    rng = np.random.default_rng(0)
    plain = ours = 0
    for seed in range(50):
        correct_P = rng.binomial(32, 0.499, 60)
        estimate = cover([32] * 60, correct_P, 0.5, seed=seed)
        assert estimate.mean > 0.3
        ours += estimate.low <= 0.0 <= estimate.high
        plain += bootstrap_mean(correct_P >= 16, bounds=(0.0, 1.0), num_resamples=500, seed=seed).low <= 0.0
    assert ours >= 46  # 95 % of 50, less one and a half standard errors
    assert plain == 0


def test_covers_for_mixed_problems() -> None:
    """Problems drawn anew each time from Beta(1/2, 1/2), whose Cover(1/2) is 1/2."""
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(100):
        correct_P = rng.binomial(64, rng.beta(0.5, 0.5, 40))
        estimate = cover([64] * 40, correct_P, 0.5, seed=seed)
        hits += estimate.low <= 0.5 <= estimate.high
    assert hits >= 92


def test_narrows_to_the_plug_in_with_samples() -> None:
    rates_P = np.repeat([0.2, 0.8], 50)
    few, many = (cover([n] * 100, np.round(rates_P * n), 0.5) for n in (8, 800))
    plain = bootstrap_mean(rates_P >= 0.5, bounds=(0.0, 1.0))
    assert few.high - few.low > many.high - many.low
    assert (many.low, many.high) == pytest.approx((plain.low, plain.high), abs=0.06)


def test_ends() -> None:
    assert all(isnan(value) for value in (cover([], [], 0.5).mean, cover([4], [2], 0.5).low))
    assert cover([8] * 30, [8] * 30, 1.0).low == 0.0  # no number of samples shows that a problem is never missed
    with pytest.raises(UserError, match=r"τ is 0"):
        cover([4], [2], 0.0)
    with pytest.raises(UserError, match="has no samples"):
        cover([0], [0], 0.5)
    with pytest.raises(UserError, match="as many correct counts"):
        cover([4, 4], [2], 0.5)
