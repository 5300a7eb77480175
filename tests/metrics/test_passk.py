"""Unbiased Pass@k against exact combinatorics and brute force."""

from fractions import Fraction
from itertools import combinations, pairwise
from math import comb, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics.passk import pass_at_k, pass_at_k_per_problem


def exact(num_samples: int, num_correct: int, k: int) -> float:
    return float(1 - Fraction(comb(num_samples - num_correct, k), comb(num_samples, k)))


@pytest.mark.parametrize("num_samples", range(1, 8))
def test_is_the_share_of_subsets_with_a_correct_one(num_samples: int) -> None:
    for num_correct in range(num_samples + 1):
        correct = [place < num_correct for place in range(num_samples)]
        for k in range(1, num_samples + 1):
            subsets = list(combinations(correct, k))
            share = sum(map(any, subsets)) / len(subsets)
            assert pass_at_k(num_samples, num_correct, k) == pytest.approx(share, abs=1e-15)


@given(st.data())
def test_equals_python_integers_up_to_ten_thousand(data: st.DataObject) -> None:
    num_samples = data.draw(st.integers(1, 10_000))
    num_correct = data.draw(st.integers(0, num_samples) | st.integers(0, min(num_samples, 50)))
    k = data.draw(st.integers(1, num_samples) | st.integers(1, min(num_samples, 200)))
    assert abs(pass_at_k(num_samples, num_correct, k) - exact(num_samples, num_correct, k)) <= 1e-12


def test_hand_derived_values() -> None:
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)  # 3 of the 6 pairs hold the one correct sample
    assert pass_at_k(128, 1, 128) == 1.0  # solved once in 128: solved
    assert pass_at_k(128, 0, 128) == 0.0
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)  # Pass@1 is c / n


def test_huge_counts_neither_overflow_nor_take_long() -> None:
    # With n so large that drawing with or without replacement is the same: 1 - (1 - c/n)^k = 1 - exp(-c k / n).
    assert pass_at_k(10**12, 10**6, 10**6) == pytest.approx(1 - np.exp(-1), abs=1e-6)
    assert pass_at_k(10**15, 10**14, 10**3) == pytest.approx(1.0)
    # One correct sample: k / n exactly.
    assert pass_at_k(10**15, 1, 10**14) == pytest.approx(0.1, rel=1e-12)


def test_is_undefined_beyond_the_samples() -> None:
    assert isnan(pass_at_k(8, 8, 9))
    assert isnan(pass_at_k(0, 0, 1))


@pytest.mark.parametrize(
    ("num_samples", "num_correct", "k", "words"),
    [
        (4, 5, 1, "5 correct of 4 samples"),
        (4, -1, 1, "-1 correct of 4 samples"),
        (4, 2, 0, "k is 0; it must be at least 1"),
        (-1, 0, 1, "0 correct of -1 samples"),
    ],
)
def test_refuses_counts_that_cannot_be(num_samples: int, num_correct: int, k: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        pass_at_k(num_samples, num_correct, k)


@given(st.integers(1, 60), st.data())
def test_rises_with_k_and_with_the_correct_samples(num_samples: int, data: st.DataObject) -> None:
    num_correct = data.draw(st.integers(0, num_samples))
    over_k = [pass_at_k(num_samples, num_correct, k) for k in range(1, num_samples + 1)]
    assert all(low <= high + 1e-12 for low, high in pairwise(over_k))
    k = data.draw(st.integers(1, num_samples))
    over_c = [pass_at_k(num_samples, correct, k) for correct in range(num_samples + 1)]
    assert all(low <= high + 1e-12 for low, high in pairwise(over_c))


def test_every_problem_has_its_own_n() -> None:
    values_P = pass_at_k_per_problem([4, 1, 4, 2], [1, 1, 1, 2], 2)
    np.testing.assert_allclose(values_P, [0.5, np.nan, 0.5, 1.0])
    assert pass_at_k_per_problem([], [], 2).shape == (0,)
