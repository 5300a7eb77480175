"""Differences between two models: hand-derived p-values, power, pairing."""

from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics import paired
from unsqueeze.metrics.comparison import compare_tallies
from unsqueeze.metrics.paired import not_rejected, paired_difference, sign_flip_p_value
from unsqueeze.metrics.power import required_problems
from unsqueeze.metrics.tally import Tallier, Tally


def test_sign_flip_by_hand() -> None:
    # Of the 8 sign patterns of (1, 1, 1) two, +++ and ---, are as far from zero as +++.
    assert sign_flip_p_value([1, 1, 1]) == pytest.approx(2 / 8)
    # Sums of (±3, ±1): 4, 2, -2, -4; as far as 2: all four.
    assert sign_flip_p_value([3, -1]) == 1.0
    # Zeros have no sign to flip.
    assert sign_flip_p_value([1, 1, 1, 0, 0]) == pytest.approx(2 / 8)
    assert sign_flip_p_value([0, 0]) == 1.0
    assert isnan(sign_flip_p_value([]))


def test_sign_flip_ignores_direction_and_scale() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 12)
    p = sign_flip_p_value(differences)
    assert p == sign_flip_p_value(-differences) == sign_flip_p_value(100 * differences)


def test_random_patterns_agree_with_all_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, 14)
    exact = sign_flip_p_value(differences)
    monkeypatch.setattr(paired, "_MAX_EXACT_PROBLEMS", 3)
    monkeypatch.setattr(paired, "_CHUNK_SIGNS", 14 * 1000)
    estimated = sign_flip_p_value(differences, num_resamples=40_000)
    assert estimated == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000))


def test_the_p_value_is_never_zero() -> None:
    assert sign_flip_p_value(np.ones(50), num_resamples=999) == pytest.approx(1 / 1000)


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(2)
    p_values = [sign_flip_p_value(rng.normal(size=10)) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_not_rejected_by_hand() -> None:
    # Of the 64 subsets the empty one and {1} hold the share 2/64 > 0.025, the empty one alone does not; likewise above.
    assert not_rejected([1, 2, 3, 4, 5, 6]) == (1.0, 6.0)
    # Of the 128 subsets three are at or below 1.5: none, {1} and {1, 2}; 3/128 < 0.025. At 2 come {2} and others.
    assert not_rejected([1, 2, 3, 4, 5, 6, 7]) == (2.0, 6.0)
    # Five problems leave the subset of none 1/32 > 0.025.
    assert not_rejected([1, 1, 1, 1, 1]) == (-inf, inf)
    # Zeros dilute: the subsets without any of five ones are 1/32 of all, however many zeros there are.
    assert not_rejected([1] * 5 + [0] * 5)[0] == 0.0
    assert not_rejected([1] * 6 + [0] * 5)[0] > 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 4), min_size=1, max_size=11))
def test_zero_is_rejected_exactly_where_the_p_value_says_so(eighths: list[int]) -> None:
    differences = [eighth / 10 for eighth in eighths]
    low, high = not_rejected(differences)
    assert (low > 0 or high < 0) == (sign_flip_p_value(differences) < 0.05)
    interval = paired_difference([0.0] * len(differences), differences).difference
    if interval.low > 0 or interval.high < 0:
        assert sign_flip_p_value(differences) < 0.05


def borderline(seed: int) -> np.ndarray:
    """Differences of 17 to 60 problems with a p-value near 0.05: all moved, few moved, or multiples of 1/16, tied."""
    rng = np.random.default_rng(seed)
    size, kind = int(rng.integers(17, 61)), seed % 3
    moved = rng.random(size) < (0.4 if kind == 0 else 1.0)
    noise = rng.normal(size=size)
    centred = noise - noise[moved].mean()
    shift = rng.uniform(1.9, 2.2) * noise[moved].std(ddof=1) / np.sqrt(moved.sum())
    differences = np.where(moved, centred + shift, 0.0)
    return np.round(differences * 16) / 16 if kind == 1 else differences


@pytest.mark.parametrize("num_resamples", [400, 2_000])
def test_an_interval_holds_zero_wherever_p_is_not_below_the_level(num_resamples: int) -> None:
    p_values = []
    for seed in range(150):
        differences = borderline(seed)
        found = paired_difference(np.zeros(differences.size), differences, num_resamples=num_resamples, seed=seed)
        p_values.append(found.p_value)
        if found.p_value >= 0.05:
            assert found.difference.low <= 0 <= found.difference.high, seed
        if (differences != 0).sum() > 16:  # beyond, both are of the same patterns: the test is inverted exactly
            low, high = not_rejected(differences, num_resamples=num_resamples, seed=seed)
            assert (low <= 0 <= high) == (found.p_value >= 0.05), seed
    assert 0.2 < np.mean(np.array(p_values) < 0.05) < 0.8


def test_random_subsets_agree_with_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, 14)
    exact = not_rejected(differences)
    monkeypatch.setattr(paired, "_MAX_EXACT_PROBLEMS", 3)
    monkeypatch.setattr(paired, "_CHUNK_SIGNS", 14 * 1000)
    # The share below an end is known to 0.0008 (one in 40,000 draws' standard error); the density there is about 0.1.
    assert not_rejected(differences, num_resamples=40_000) == pytest.approx(exact, abs=0.04)


def test_difference_is_second_minus_first_where_both_are_defined() -> None:
    result = paired_difference([0.2, nan, 0.4, 0.1], [0.5, 1.0, 0.4, nan])
    assert result.num_problems == 2
    assert result.difference.mean == pytest.approx(0.15)
    assert result.std == pytest.approx(0.3 / np.sqrt(2))
    assert isnan(result.difference.low)
    assert isnan(result.difference.high)
    with pytest.raises(UserError, match="compare: 1 values against 2; both must be on the same problems"):
        paired_difference([0.1], [0.1, 0.2])


def test_pairing_sees_what_the_means_alone_do_not() -> None:
    rates_P = np.linspace(0, 0.9, 30)
    result = paired_difference(rates_P, rates_P + 0.05 + 0.01 * np.sin(np.arange(30)))
    assert result.difference.low > 0.04
    assert result.p_value < 0.001


def test_required_problems_by_hand() -> None:
    # ((1.959964 + 0.841621) * 0.4 / 0.05)^2 = 22.41268^2 = 502.33
    assert required_problems(0.05, 0.4) == 503
    # Half the difference takes four times the problems: 4 * 502.33 = 2009.3
    assert required_problems(0.025, 0.4) == 2010
    assert required_problems(0.5, 0.0) == 2
    for difference, std in [(0.0, 0.4), (-0.1, 0.4), (0.1, nan), (0.1, -1.0)]:
        with pytest.raises(UserError):
            required_problems(difference, std)
    with pytest.raises(UserError):
        required_problems(0.1, 0.4, power=1.0)


def tally(samples: dict[str, str], benchmark: str = "") -> Tally:
    """``{"a": "1001"}``: problem a, four samples, the first and the last of them correct.

    ``x`` was not judged; ``?`` has a gold answer that cannot be read.
    """
    tallier = Tallier()
    for problem_id, outcomes in samples.items():
        for outcome in outcomes:
            correct = None if outcome in "x?" else outcome == "1"
            tallier.add(problem_id, correct, benchmark=benchmark, readable=outcome != "?")
    return tallier.tally()


def test_comparison_by_hand() -> None:
    first = tally({"a": "1000", "b": "1100", "gone": "11"})
    second = tally({"new": "1", "b": "10", "a": "11"})
    comparison = compare_tallies([first], [second], [1, 2, 4])
    assert comparison.num_problems == 2
    assert comparison.num_unpaired == (1, 1)
    assert comparison.avg.first == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert comparison.avg.second == pytest.approx((1 + 1 / 2) / 2)
    assert comparison.avg.paired.difference.mean == pytest.approx(0.375)
    # Pass@2 of the first: a 1/2, b 1 - 1/6 = 5/6; of the second 1 and 1.
    assert comparison.pass_at[2].first == pytest.approx(2 / 3)
    assert comparison.pass_at[2].second == 1.0
    # The second has two samples a problem, so its Pass@4 is undefined and there is nothing to pair.
    assert isnan(comparison.pass_at[4].paired.difference.mean)
    written = comparison.to_json_object(difference=0.05)
    assert written["pass_at"]["4"]["difference"] is None  # type: ignore[index]
    assert written["n_unpaired_first"] == 1


def test_what_was_not_judged_is_wrong_on_both_sides_and_bounds_the_difference() -> None:
    comparison = compare_tallies([tally({"a": "1x", "b": "00"})], [tally({"a": "10", "b": "1x"})], [2])
    # First 1/2 and 0, at best 1 and 0; second 1/2 and 1/2, at best 1/2 and 1.
    avg = comparison.avg
    assert (avg.first, avg.second) == (0.25, 0.5)
    assert (avg.least, avg.greatest) == (0.0, 0.5)
    # Pass@2: first 1 and 0, at best the same; second 1 and 1, at best the same.
    assert (comparison.pass_at[2].least, comparison.pass_at[2].greatest) == (0.5, 0.5)
    assert comparison.num_not_judged == (1, 1)


def test_a_gold_answer_that_one_side_cannot_read_takes_the_problem_out_of_both() -> None:
    first, second = tally({"a": "1", "b": "1", "c": "0"}), tally({"a": "0", "b": "??", "d": "?"})
    comparison = compare_tallies([first], [second], [1])
    assert comparison.num_problems == 1
    assert comparison.avg.paired.difference.mean == -1.0
    assert comparison.num_unpaired == (1, 0)  # c; b and d are out
    assert comparison.num_unreadable == 2


def test_seeds_by_hand() -> None:
    """Of a problem the mean over seeds counts; a run is compared with the one of its own seed."""
    first = [tally({"a": "10", "b": "00"}), tally({"b": "10", "a": "11", "gone": "1"})]
    second = [tally({"a": "11", "b": "10"}), tally({"a": "11", "b": "11"})]
    comparison = compare_tallies(first, second, [2])
    # a: (1/2 + 1)/2 and 1; b: (0 + 1/2)/2 and (1/2 + 1)/2.
    assert (comparison.avg.first, comparison.avg.second) == (pytest.approx(0.5), pytest.approx(0.875))
    assert comparison.avg.paired.num_problems == comparison.num_problems == 2
    assert comparison.avg.paired.std == pytest.approx(0.25 / 2**0.5)
    # Seed 0: (1 + 1/2)/2 - (1/2 + 0)/2; seed 1: (1 + 1)/2 - (1 + 1/2)/2.
    assert comparison.avg.by_seed == (pytest.approx(0.5), pytest.approx(0.25))
    assert comparison.pass_at[2].by_seed == (pytest.approx(0.5), 0.0)
    assert (comparison.num_seeds, comparison.num_gained, comparison.num_lost) == (2, 1, 0)
    assert comparison.num_unpaired == (1, 0)


def test_seeds_are_no_further_problems() -> None:
    """Three equal trainings say no more about other problems than one: the same interval, the same p-value."""
    first, second = (tally({str(place): outcomes for place in range(8)}) for outcomes in ("0100", "1100"))
    one, three = (compare_tallies([first] * count, [second] * count, [1, 2]) for count in (1, 3))
    assert one.avg.paired == three.avg.paired
    assert one.pass_at[2].paired.difference.low == pytest.approx(three.pass_at[2].paired.difference.low)
    assert one.avg.paired.p_value == 2 / 2**8
    assert three.avg.by_seed == (0.25, 0.25, 0.25)


def test_problems_of_the_same_name_in_two_benchmarks_are_two_problems() -> None:
    comparison = compare_tallies([tally({"1": "1"}, "aime")], [tally({"1": "1"}, "hmmt")], [1])
    assert comparison.num_problems == 0
    assert comparison.num_unpaired == (1, 1)
