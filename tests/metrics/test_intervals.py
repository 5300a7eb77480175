"""Bootstrap intervals: their coverage, their limits, and what they must not depend on."""

import itertools
from math import isnan
from statistics import NormalDist

import numpy as np
import pytest

from unsqueeze.errors import UserError
from unsqueeze.metrics import intervals
from unsqueeze.metrics.intervals import bootstrap_each, bootstrap_mean, bootstrap_means, student_quantile

RATES = (0.0, 1.0)


@pytest.mark.parametrize(
    ("degrees", "quantile", "tolerance"),
    [(4, 2.776445, 2e-3), (10, 2.228139, 1e-4), (29, 2.045230, 1e-5), (149, 1.976013, 1e-5)],
)
def test_student_quantiles_are_those_of_the_tables(degrees: int, quantile: float, tolerance: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(quantile, abs=tolerance)


def test_the_spread_is_that_of_students_interval() -> None:
    values_P = np.random.default_rng(0).random(30)
    (means_B,) = bootstrap_means(values_P[np.newaxis], num_resamples=200_000)
    ratio = student_quantile(0.975, 29) / NormalDist().inv_cdf(0.975)
    assert means_B.mean() == pytest.approx(values_P.mean(), abs=1e-3)
    assert means_B.std() == pytest.approx(ratio * values_P.std(ddof=1) / np.sqrt(30), rel=0.01)


@pytest.mark.parametrize(("rate", "low", "high"), [(0.1, 0.93, 0.97), (0.63, 0.93, 0.975)])
def test_covers_what_it_says_for_solved_or_not(rate: float, low: float, high: float) -> None:
    """Exact, not simulated: for 30 problems that are solved or not, the chance of each count is binomial."""
    counts = np.arange(31)
    estimates = [bootstrap_mean(np.arange(30) < count, bounds=RATES, num_resamples=20_000) for count in counts]
    weights = np.array([_binomial(30, count, rate) for count in counts])
    covered = np.array([estimate.low <= rate <= estimate.high for estimate in estimates])
    assert low <= float(weights @ covered) <= high


def _binomial(n: int, count: int, rate: float) -> float:
    from math import comb

    return comb(n, count) * rate**count * (1 - rate) ** (n - count)


@pytest.mark.parametrize("shape", [(0.3, 1.2), (0.5, 0.5)])
def test_covers_what_it_says_for_skewed_pass_rates(shape: tuple[float, float]) -> None:
    """700 benchmarks of 30 problems with 128 samples. 0.92 and 0.98 are 0.95 ∓ 3.6 standard errors."""
    rng = np.random.default_rng(1)
    mean = shape[0] / sum(shape)
    hits = 0
    for seed in range(700):
        rates_P = rng.binomial(128, rng.beta(*shape, 30)) / 128
        estimate = bootstrap_mean(rates_P, bounds=RATES, num_resamples=500, seed=seed)
        hits += estimate.low <= mean <= estimate.high
    assert 0.92 <= hits / 700 <= 0.98


def test_thirty_zeros_are_not_certainty() -> None:
    estimate = bootstrap_mean(np.zeros(30), bounds=RATES)
    assert estimate.mean == estimate.low == 0.0
    # Beta(1/2, 30 c + 1/2) with c = ((29) (z/t)^2 - 1) / 30 = 0.854: its 97.5 % quantile is 0.092.
    assert estimate.high == pytest.approx(0.092, abs=0.005)
    mirrored = bootstrap_mean(np.ones(30), bounds=RATES)
    assert mirrored.mean == mirrored.high == 1.0
    assert mirrored.low == pytest.approx(1 - 0.092, abs=0.005)


def test_equal_values_without_bounds_have_no_width() -> None:
    estimate = bootstrap_mean([0.25] * 10)
    assert (estimate.low, estimate.high) == pytest.approx((0.25, 0.25))


def test_is_seeded() -> None:
    values_P = np.random.default_rng(3).random(20)
    assert bootstrap_mean(values_P, seed=5) == bootstrap_mean(values_P, seed=5)
    assert bootstrap_mean(values_P, seed=5) != bootstrap_mean(values_P, seed=6)


def test_rows_share_their_weights_and_each_has_the_interval_it_would_have_alone() -> None:
    rates_P = np.random.default_rng(7).random(30)
    solved_P = np.round(rates_P)
    first, same, squared, solved = bootstrap_each(np.stack([rates_P, rates_P, rates_P**2, solved_P]), bounds=RATES)
    assert first == same == bootstrap_mean(rates_P, bounds=RATES)
    # Neither what stands beside a row nor its place changes it, as long as the first row stays.
    others = np.stack([rates_P, solved_P, rates_P**2])
    assert bootstrap_each(others, bounds=RATES)[1:] == [solved, squared]
    for shared, values_P in ((squared, rates_P**2), (solved, solved_P)):
        alone = bootstrap_mean(values_P, bounds=RATES)
        assert shared.mean == alone.mean
        # Of 10,000 resamples the 2.5 % quantile has a standard error of sqrt(0.025 · 0.975 / 10⁴) / 0.0584 = 0.027
        # standard deviations, two of them differ by 0.038, and the interval is 3.92 wide: 1 %. Allowed are 4 %.
        assert (shared.low, shared.high) == pytest.approx((alone.low, alone.high), abs=0.04 * (alone.high - alone.low))


def test_without_bounds_what_is_larger_for_every_problem_is_larger_in_every_resample() -> None:
    values_P = np.random.default_rng(8).random(12)
    low_B, high_B = bootstrap_means(np.stack([values_P, np.sqrt(values_P)]), num_resamples=500)
    assert (low_B < high_B).all()


def test_memory_is_bounded_in_chunks_without_changing_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values_P = np.random.default_rng(4).random(50)
    whole = bootstrap_mean(values_P, bounds=RATES, num_resamples=1000)
    monkeypatch.setattr(intervals, "_CHUNK_WEIGHTS", 50 * 7)
    assert bootstrap_mean(values_P, bounds=RATES, num_resamples=1000) == whole


def test_moves_and_stretches_with_the_unit() -> None:
    values_P = np.random.default_rng(5).random(30)
    plain = bootstrap_mean(values_P, bounds=RATES)
    moved = bootstrap_mean(10 * values_P - 3, bounds=(-3.0, 7.0))
    for name in ("mean", "low", "high"):
        assert getattr(moved, name) == pytest.approx(10 * getattr(plain, name) - 3)


def test_what_differs_between_strata_does_not_widen_the_interval() -> None:
    values_P = np.array([0.0, 0.1] * 15 + [0.9, 1.0] * 15)
    strata = ["hard"] * 30 + ["easy"] * 30
    mixed, stratified = bootstrap_mean(values_P), bootstrap_mean(values_P, strata=strata)
    assert stratified.mean == mixed.mean == pytest.approx(0.5)
    # Within a stratum the standard deviation is 0.05, over all of them 0.45.
    assert (stratified.high - stratified.low) < 0.2 * (mixed.high - mixed.low)


def test_the_order_of_strata_labels_means_nothing() -> None:
    values_P = np.random.default_rng(6).random(12)
    first = bootstrap_mean(values_P, strata=["a"] * 6 + ["b"] * 6)
    assert first == bootstrap_mean(values_P, strata=[1] * 6 + [2] * 6)


def test_too_few_problems_have_no_interval() -> None:
    assert all(isnan(value) for value in (bootstrap_mean([]).mean, bootstrap_mean([]).low, bootstrap_mean([]).high))
    alone = bootstrap_mean([0.5])
    assert alone.mean == 0.5
    assert isnan(alone.low)
    assert isnan(alone.high)
    assert alone.to_json_object() == {"mean": 0.5, "low": None, "high": None}


def test_the_interval_holds_the_mean_and_stays_in_bounds() -> None:
    for values in itertools.product((0.0, 0.5, 1.0), repeat=4):
        estimate = bootstrap_mean(values, bounds=RATES, num_resamples=200)
        assert 0.0 <= estimate.low <= estimate.mean <= estimate.high <= 1.0


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ([0.1, float("nan")], {}),
        ([0.1, 1.2], {"bounds": RATES}),
        ([0.1, 0.2], {"confidence": 1.0}),
        ([0.1, 0.2], {"strata": ["a"]}),
    ],
)
def test_says_what_is_wrong(values: list[float], settings: dict[str, object]) -> None:
    with pytest.raises(UserError):
        bootstrap_mean(values, **settings)  # type: ignore[arg-type]
