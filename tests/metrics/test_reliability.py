"""pass^k and G-Pass@k against brute force over subsets, exact integers, and what fresh samples would show."""

from fractions import Fraction
from itertools import combinations, pairwise
from math import ceil, comb, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics.passk import pass_at_k
from unsqueeze.metrics.reliability import (
    g_pass_at_k,
    mean_g_pass_at_k,
    needed_successes,
    pass_hat_k,
    per_problem,
)


@pytest.mark.parametrize("n", range(1, 8))
def test_are_shares_of_subsets(n: int) -> None:
    for c in range(n + 1):
        correct = [place < c for place in range(n)]
        for k in range(1, n + 1):
            counts = [sum(subset) for subset in combinations(correct, k)]
            assert pass_hat_k(n, c, k) == pytest.approx(np.mean([count == k for count in counts]), abs=1e-12)
            for tau in (0.0, 0.25, 0.5, 2 / 3, 0.75, 1.0):
                share = np.mean([count >= max(1, ceil(Fraction(tau).limit_denominator(100) * k)) for count in counts])
                assert g_pass_at_k(n, c, k, tau) == pytest.approx(share, abs=1e-12)
            mean = np.mean([max(0.0, 2 * count / k - 1) for count in counts])
            assert mean_g_pass_at_k(n, c, k) == pytest.approx(mean, abs=1e-12)


def test_values_by_hand() -> None:
    # n = 4, c = 3: of the 6 pairs 3 are of two correct ones, and all hold one.
    assert pass_hat_k(4, 3, 2) == pytest.approx(0.5)
    assert g_pass_at_k(4, 3, 2, 0.5) == 1.0
    # X is 1 or 2, each half of the time: E[max(0, 2 X / 2 − 1)] = 1/2.
    assert mean_g_pass_at_k(4, 3, 2) == pytest.approx(0.5)
    # n = 6, c = 3, k = 4: X is 1, 2, 3 in 3, 9, 3 of 15 cases; at least ⌈0.5 · 4⌉ = 2 in 12.
    assert g_pass_at_k(6, 3, 4, 0.5) == pytest.approx(12 / 15)
    assert g_pass_at_k(6, 3, 4, 0.51) == pytest.approx(3 / 15)
    assert pass_hat_k(6, 3, 4) == 0.0


@given(st.data())
def test_equal_python_integers(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3000))
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n) | st.integers(1, min(n, 50)))
    assert abs(pass_hat_k(n, c, k) - float(Fraction(comb(c, k), comb(n, k)))) <= 1e-9
    needed = data.draw(st.integers(max(1, k - 20), k))
    among = sum(comb(c, j) * comb(n - c, k - j) for j in range(needed, k + 1))
    assert abs(g_pass_at_k(n, c, k, needed / k) - float(Fraction(among, comb(n, k)))) <= 1e-9


@given(st.integers(1, 40), st.data())
def test_order_and_ends(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    over_tau = [g_pass_at_k(n, c, k, tau) for tau in np.linspace(0, 1, 21)]
    assert all(high <= low + 1e-12 for low, high in pairwise(over_tau))
    assert over_tau[0] == pytest.approx(pass_at_k(n, c, k), abs=1e-12)
    assert over_tau[-1] == pass_hat_k(n, c, k)
    assert pass_hat_k(n, c, 1) == pytest.approx(c / n)
    # Of k samples all are right, or at least one is wrong: pass^k of the right ones is 1 − Pass@k of the wrong ones.
    assert pass_hat_k(n, c, k) == pytest.approx(1 - pass_at_k(n, n - c, k), abs=1e-12)


@given(st.integers(1, 30), st.data())
def test_the_mean_is_the_integral_and_for_even_k_the_printed_sum(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    # Constant between multiples of 1/k: rectangles of the part of each that lies above 1/2.
    widths = [min(1 / k, max(0.0, i / k - 0.5)) for i in range(1, k + 1)]
    integral = 2 * sum(width * g_pass_at_k(n, c, k, i / k) for i, width in enumerate(widths, start=1))
    assert mean_g_pass_at_k(n, c, k) == pytest.approx(integral, abs=1e-12)
    if k % 2 == 0:
        printed = 2 / k * sum(g_pass_at_k(n, c, k, i / k) for i in range(k // 2 + 1, k + 1))
        assert mean_g_pass_at_k(n, c, k) == pytest.approx(printed, abs=1e-12)
    if k == 1:
        assert mean_g_pass_at_k(n, c, k) == pytest.approx(c / n)


@pytest.mark.parametrize("rate", [0.05, 0.4, 0.9])
def test_are_unbiased_for_what_k_fresh_samples_show(rate: float) -> None:
    """Over all counts c of n = 9 samples, by their binomial chances."""
    n, k = 9, 4
    chances = [comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)]
    fresh = [comb(k, j) * rate**j * (1 - rate) ** (k - j) for j in range(k + 1)]
    for estimate, truth in (
        (lambda c: pass_hat_k(n, c, k), rate**k),
        (lambda c: g_pass_at_k(n, c, k, 0.5), sum(fresh[2:])),
        (lambda c: mean_g_pass_at_k(n, c, k), sum((2 * j / k - 1) * fresh[j] for j in (3, 4))),
    ):
        assert sum(chance * estimate(c) for c, chance in enumerate(chances)) == pytest.approx(truth, abs=1e-12)


def test_a_share_of_samples_is_not_rounded_up_by_floating_point() -> None:
    for n in range(1, 200):
        for needed in range(1, n + 1):
            assert needed_successes(needed / n, n) == needed
    assert needed_successes(0.07, 100) == 7  # 0.07 · 100 is 7.000000000000001
    assert needed_successes(0.0, 8) == 1


def test_every_problem_has_its_own_n() -> None:
    values_P = per_problem([4, 1, 2], [3, 1, 2], lambda n, c: pass_hat_k(n, c, 2))
    np.testing.assert_allclose(values_P, [0.5, np.nan, 1.0])
    assert per_problem([], [], lambda n, c: 0.0).shape == (0,)


def test_is_undefined_beyond_the_samples_and_refuses_what_cannot_be() -> None:
    assert all(isnan(value) for value in (pass_hat_k(3, 3, 4), g_pass_at_k(3, 3, 4, 0.5), mean_g_pass_at_k(3, 3, 4)))
    with pytest.raises(UserError, match="k is 0"):
        pass_hat_k(3, 1, 0)
    with pytest.raises(UserError, match="k is 0"):
        mean_g_pass_at_k(3, 1, 0)
    with pytest.raises(UserError, match="4 correct of 3"):
        g_pass_at_k(3, 4, 1, 0.5)
    with pytest.raises(UserError, match=r"τ is 1\.5"):
        g_pass_at_k(3, 1, 1, 1.5)
