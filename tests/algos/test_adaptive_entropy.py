"""The adaptive entropy bonus: its coefficient by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.algos.adaptive_entropy import applied_coefficient, next_coefficient


@pytest.mark.parametrize(
    ("coefficient", "entropy", "applied", "following"),
    # H* = 0.5, δ = 0.1, at most 0.25.
    [
        (0.1, 0.4, 0.1, 0.2),
        (0.1, 0.6, 0.0, 0.0),
        (0.2, 0.6, 0.0, 0.1),
        (0.2, 0.4, 0.2, 0.25),
        (0.0, 0.6, 0.0, 0.0),
        (0.2, 0.5, 0.0, 0.2),
    ],
)
def test_coefficients_by_hand(coefficient: float, entropy: float, applied: float, following: float) -> None:
    assert applied_coefficient(coefficient, entropy, 0.5) == applied
    assert next_coefficient(coefficient, entropy, 0.5, delta=0.1, largest=0.25) == pytest.approx(following)


@given(st.lists(st.floats(0, 2), max_size=30), st.floats(0, 1))
def test_it_stays_in_its_range_and_moves_by_delta_at_most(entropies: list[float], first: float) -> None:
    coefficient = first
    for entropy in entropies:
        following = next_coefficient(coefficient, entropy, 1.0, delta=0.3, largest=1.0)
        assert 0 <= following <= 1
        assert abs(following - coefficient) <= 0.3 + 1e-12
        coefficient = following
