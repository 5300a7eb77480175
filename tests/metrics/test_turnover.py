"""Problems lost and gained: hand values, unbiasedness by enumeration, and what they add up to."""

from math import comb, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.turnover import largest_k, turnover


def side(samples: list[int], correct: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(samples), np.array(correct))]


def test_by_hand() -> None:
    # k = 1: Pass@1 is c/n. Lost: 1/4 · 1, 1 · 1/2, 0 · 1; gained: 3/4 · 0, 0 · 1/2, 1 · 1/4.
    found = turnover(side([4, 4, 4], [1, 4, 0]), side([4, 4, 4], [0, 2, 1]), 1)
    assert [each.label for each in found.bins] == ["0 %", "0–25 %", "25–50 %", "50–75 %", "75–100 %", "100 %"]
    assert [each.num_problems for each in found.bins] == [1, 1, 0, 0, 0, 1]
    assert [each.lost for each in found.bins] == pytest.approx([0, 0.25, 0, 0, 0, 0.5])
    assert [each.gained for each in found.bins] == pytest.approx([0.25, 0, 0, 0, 0, 0])
    # q_1 − q_2 of c = 1, n = 4: 3/4 − C(3, 2)/C(4, 2) = 3/4 − 1/2.
    assert [each.by_chance for each in found.bins] == pytest.approx([0, 0.25, 0, 0, 0, 0])
    assert [each.second for each in found.bins][:2] == [0.25, 0.0]
    assert isnan(found.bins[2].first)
    assert found.lost.mean == pytest.approx(0.25)
    assert found.beyond_chance.mean == pytest.approx((0.75 - 0.25) / 3)
    assert found.to_json_object()["by_rate"][2]["first"] is None  # type: ignore[index]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20), st.integers(1, 4))
def test_gained_less_lost_is_the_difference_of_pass_at_k(pairs: list[tuple[int, int]], k: int) -> None:
    first, second = (list(counts) for counts in zip(*pairs, strict=True))
    samples = [8] * len(pairs)
    found = turnover(side(samples, first), side(samples, second), k)
    difference = pass_at_k_per_problem(samples, second, k) - pass_at_k_per_problem(samples, first, k)
    assert found.gained.mean - found.lost.mean == pytest.approx(float(difference.mean()), abs=1e-12)
    assert sum(each.lost for each in found.bins) / len(pairs) == pytest.approx(found.lost.mean)
    assert sum(each.num_problems for each in found.bins) == found.num_problems == len(pairs)


def test_a_model_against_itself_loses_what_chance_says() -> None:
    """Over all pairs of counts of two sets of n = 6 samples at one rate: lost and by chance have the same mean, q (1 −
    q), and so does gained.
    """
    n, k, rate = 6, 3, 0.3
    chances = [comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)]
    q = (1 - rate) ** k
    means = np.zeros(3)
    for first, chance in enumerate(chances):
        for second, other in enumerate(chances):
            found = turnover(side([n], [first]), side([n], [second]), k)
            means += chance * other * np.array([found.lost.mean, found.gained.mean, found.by_chance.mean])
    assert means == pytest.approx([q * (1 - q)] * 3, abs=1e-12)


def test_seeds_are_averaged_and_too_few_samples_leave_a_problem_out() -> None:
    base = side([8, 2], [4, 1]) * 2
    trained = [*side([8, 8], [0, 0]), *side([8, 8], [8, 8])]
    found = turnover(base, trained, 2)
    assert found.num_problems == 1  # of the other the base has no 2 · 2 samples
    solved = 1 - comb(4, 2) / comb(8, 2)
    assert found.lost.mean == pytest.approx(solved / 2)  # lost in one seed, kept in the other
    assert found.gained.mean == pytest.approx((1 - solved) / 2)
    assert found.bins[2].second == pytest.approx(0.5)


def test_largest_k() -> None:
    assert [largest_k(128, 128), largest_k(128, 16), largest_k(3, 8), largest_k(1, 8)] == [64, 16, 1, 0]
