"""Sampling, by hand-derived numbers, by properties, and against the warpers of transformers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from unsqueeze.rollout.sampling import (
    candidates,
    draw,
    sample_tokens,
    scaled_logits,
    token_logp,
    token_uniforms,
)

# p = (1/2, 3/10, 1/5), with another constant in every logit, which changes nothing.
LOGITS_13 = torch.tensor([[0.5, 0.3, 0.2]]).log() + 7


def ids(values: list[int]) -> torch.Tensor:
    return torch.tensor(values)


def kept(logits_NV: torch.Tensor, *, top_k: int = 0, top_p: float = 1.0) -> list[set[int]]:
    """The ids that may be drawn, row by row."""
    weights_NK, ids_NK = candidates(scaled_logits(logits_NV, 1.0), top_k=top_k, top_p=top_p)
    if ids_NK is None:
        ids_NK = torch.arange(weights_NK.shape[1]).expand_as(weights_NK)
    return [set(row_ids[row > 0].tolist()) for row, row_ids in zip(weights_NK, ids_NK, strict=True)]


def test_log_probs_at_temperature_one_and_at_the_sampling_temperature() -> None:
    # Temperature 1/2 squares the probabilities: (25, 9, 4) / 38.
    tokens, behaviour, sampling = sample_tokens(LOGITS_13, torch.tensor([0.7], dtype=torch.float64), temperature=0.5)
    # Cumulative: 25/38 = 0.658, 34/38 = 0.895; u = 0.7 falls on the second token.
    assert tokens.tolist() == [1]
    assert behaviour.item() == pytest.approx(math.log(0.3), abs=1e-6)
    assert sampling.item() == pytest.approx(math.log(9 / 38), abs=1e-6)


def test_at_temperature_one_both_log_probs_are_one() -> None:
    tokens, behaviour, sampling = sample_tokens(LOGITS_13, torch.tensor([0.95], dtype=torch.float64))
    assert tokens.tolist() == [2]
    assert behaviour is sampling
    assert behaviour.item() == pytest.approx(math.log(0.2), abs=1e-6)


def test_log_probs_are_over_the_whole_vocabulary_whatever_is_cut() -> None:
    # top-k 1 leaves only the first token, with probability 1; its log-prob stays log 1/2.
    _, behaviour, sampling = sample_tokens(
        LOGITS_13, torch.tensor([0.99], dtype=torch.float64), temperature=0.5, top_k=1
    )
    assert behaviour.item() == pytest.approx(math.log(0.5), abs=1e-6)
    assert sampling.item() == pytest.approx(math.log(25 / 38), abs=1e-6)


def test_greedy_takes_the_largest_and_the_lowest_id_among_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [1.0, 0.0, 3.0]])
    tokens, behaviour, sampling = sample_tokens(logits, torch.rand(2, dtype=torch.float64), temperature=0)
    assert tokens.tolist() == [1, 2]
    assert behaviour is sampling
    torch.testing.assert_close(behaviour, token_logp(logits, tokens))


def test_banned_tokens_are_never_drawn_and_do_not_change_log_probs() -> None:
    # Without the first token: (3, 2) / 5. u = 0.59 takes the second, 0.61 the third.
    for u, token, p in ((0.59, 1, 0.3), (0.61, 2, 0.2)):
        tokens, behaviour, _ = sample_tokens(LOGITS_13, torch.tensor([u], dtype=torch.float64), banned=ids([0]))
        assert tokens.tolist() == [token]
        assert behaviour.item() == pytest.approx(math.log(p), abs=1e-6)
    assert sample_tokens(LOGITS_13, torch.zeros(1).double(), temperature=0, banned=ids([0]))[0].tolist() == [1]


def test_tokens_may_be_banned_for_some_of_the_rows() -> None:
    # u = 0.4 takes the first token of (5, 3, 2) / 10, and of (3, 2) / 5 the second of all.
    uniforms, barred = torch.tensor([0.4, 0.4, 0.4]).double(), torch.tensor([False, True, False])
    tokens, behaviour, _ = sample_tokens(LOGITS_13.expand(3, -1), uniforms, banned=ids([0]), barred_N=barred)
    assert tokens.tolist() == [0, 1, 0]
    torch.testing.assert_close(behaviour.exp(), torch.tensor([0.5, 0.3, 0.5]))


@pytest.mark.parametrize(("top_k", "expected"), [(1, {0}), (2, {0, 1}), (3, {0, 1, 2}), (0, {0, 1, 2}), (9, {0, 1, 2})])
def test_top_k(top_k: int, expected: set[int]) -> None:
    assert kept(LOGITS_13, top_k=top_k) == [expected]


@pytest.mark.parametrize(
    ("top_p", "expected"),
    # Masses of the largest 1, 2, 3 tokens: 0.5, 0.8, 1.
    [(1e-9, {0}), (0.49, {0}), (0.51, {0, 1}), (0.79, {0, 1}), (0.81, {0, 1, 2}), (1.0, {0, 1, 2})],
)
def test_top_p(top_p: float, expected: set[int]) -> None:
    assert kept(LOGITS_13, top_p=top_p) == [expected]


@pytest.mark.parametrize(("top_p", "expected"), [(0.25, {0}), (0.5, {0, 1}), (0.75, {0, 1, 2})])
def test_top_p_stops_where_the_mass_is_exactly_p(top_p: float, expected: set[int]) -> None:
    # Four equal tokens: masses and sums are exact, and the one behind the edge is not needed to reach p.
    assert kept(torch.zeros(1, 4), top_p=top_p) == [expected]


@pytest.mark.parametrize(("top_p", "expected"), [(0.62, {0}), (0.63, {0, 1}), (0.99, {0, 1})])
def test_top_p_counts_the_mass_that_top_k_left(top_p: float, expected: set[int]) -> None:
    # top-k 2 leaves (5/8, 3/8): the first alone reaches 0.62, not 0.63.
    assert kept(LOGITS_13, top_k=2, top_p=top_p) == [expected]


@given(
    st.lists(st.integers(-40, 40).map(lambda i: i / 8), min_size=1, max_size=12, unique=True),
    st.floats(0.01, 0.99),
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: list[float], top_p: float) -> None:
    masses = [math.exp(z) for z in logits]
    by_mass = sorted(range(len(logits)), key=lambda i: -masses[i])
    expected: set[int] = set()
    for i in by_mass:
        if sum(masses[j] for j in expected) >= top_p * sum(masses):
            break
        expected.add(i)
    (found,) = kept(torch.tensor([logits]), top_p=top_p)
    # One token more or less only where the mass is p itself, up to rounding.
    if found != expected:
        smaller = min(found, expected, key=len)
        assert sum(masses[j] for j in smaller) / sum(masses) == pytest.approx(top_p, abs=1e-6)
        assert abs(len(found) - len(expected)) == 1


@given(st.integers(0, 2**32), st.integers(1, 30), st.floats(0.05, 0.95))
def test_cuts_agree_with_transformers(seed: int, top_k: int, top_p: float) -> None:
    logits = torch.randn((4, 30), generator=torch.Generator().manual_seed(seed)) * 3
    warped = TopPLogitsWarper(top_p)(None, TopKLogitsWarper(top_k)(None, logits.double()))
    expected = [set(row.isfinite().nonzero().squeeze(-1).tolist()) for row in warped]
    assert kept(logits, top_k=top_k, top_p=top_p) == expected


@pytest.mark.parametrize(
    ("weights", "u", "column"),
    [
        # Total 4, cumulative (1, 1, 4): u * 4 < 1 is the first column, the rest the third; the second has no weight.
        ([1.0, 0.0, 3.0], 0.0, 0),
        ([1.0, 0.0, 3.0], 0.2499, 0),
        ([1.0, 0.0, 3.0], 0.25, 2),
        ([1.0, 0.0, 3.0], math.nextafter(1.0, 0.0), 2),
        # Neither the first nor the last column can be drawn.
        ([0.0, 1.0, 3.0, 0.0], 0.0, 1),
        ([0.0, 1.0, 3.0, 0.0], math.nextafter(1.0, 0.0), 2),
        # 0.1 has no exact double: u times the total rounds up to the total itself.
        ([0.1, 0.0], math.nextafter(1.0, 0.0), 0),
    ],
)
def test_draw_inverts_the_cumulative_distribution(weights: list[float], u: float, column: int) -> None:
    found = draw(torch.tensor([weights], dtype=torch.float64), torch.tensor([u], dtype=torch.float64))
    assert found.tolist() == [column]


def test_equally_spaced_uniforms_give_exact_frequencies() -> None:
    # 1,000 midpoints: exactly 500, 300 and 200 of them fall into the three intervals.
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens, _, _ = sample_tokens(LOGITS_13.expand(1000, -1), u)
    assert torch.bincount(tokens, minlength=3).tolist() == [500, 300, 200]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_frequencies_match_probabilities(temperature: float) -> None:
    # Chi-square over 20 tokens, 19 degrees of freedom: 43.8 is the 0.999 quantile. The seed is fixed.
    logits = torch.randn((1, 20), generator=torch.Generator().manual_seed(3))
    num = 40_000
    uniforms = token_uniforms(num, 1, seed=5).squeeze(-1)
    tokens, _, _ = sample_tokens(logits.expand(num, -1), uniforms, temperature=temperature)
    expected = num * (logits.double() / temperature).softmax(-1).squeeze(0)
    chi_square = ((torch.bincount(tokens, minlength=20) - expected) ** 2 / expected).sum().item()
    assert chi_square < 43.8


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1e6])
def test_extreme_temperatures_stay_finite(temperature: float) -> None:
    logits = torch.tensor([[80.0, 79.0, -300.0]])
    tokens, behaviour, sampling = sample_tokens(logits, torch.tensor([0.3]).double(), temperature=temperature)
    assert behaviour.isfinite().all()
    assert sampling.isfinite().all()
    assert tokens.item() == 0  # nearly all mass below temperature 1e-3, a third of it at 1e6


def test_uniforms_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = token_uniforms(3, 4, seed=9)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert torch.equal(first, token_uniforms(3, 4, seed=9))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first, token_uniforms(3, 4, seed=10))
    assert ((first >= 0) & (first < 1)).all()
