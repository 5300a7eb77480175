"""Probability squeezing: exact updates by hand, the paper's inequalities as they really hold, Fig. 1 reproduced."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.algos.squeezing import (
    Array,
    break_even,
    bump,
    change_logit,
    figure_1,
    others_factor,
    sequence_probabilities,
    simulate_squeezing,
    step_on_log_prob,
    step_on_sequence,
)


@st.composite
def distributions(draw: st.DrawFn) -> Array:
    """Two to eight outcomes with logits in [−8, 8]: probabilities down to about 1e-8."""
    logits = np.array(draw(st.lists(st.floats(-8, 8), min_size=2, max_size=8)))
    p = np.exp(logits - logits.max())
    return p / p.sum()


@st.composite
def with_outcome(draw: st.DrawFn) -> tuple[Array, int]:
    p = draw(distributions())
    return p, draw(st.integers(0, p.size - 1))


decrements = st.floats(-10, -0.01)
steps_down = st.floats(-3, -0.01)


def softmax_by_torch(p_V: Array, change: torch.Tensor) -> Array:
    return (torch.from_numpy(p_V).log() + change).softmax(dim=0).numpy()


# --- a logit decrement (Eq. 6-11) --------------------------------------------------------------------------------


def test_decrement_by_hand() -> None:
    # p = (1/2, 1/4, 1/4), the last logit falls by ln 2: weights 1/2, 1/4, 1/8 over 7/8 are (4, 2, 1) / 7.
    changed = change_logit(np.array([0.5, 0.25, 0.25]), 2, -math.log(2))
    np.testing.assert_allclose(changed, np.array([4, 2, 1]) / 7, rtol=1e-14)
    # Both others by one factor 8/7 = 1 / (1 + 1/4 · (1/2 − 1)).
    assert others_factor(0.25, -math.log(2)) == pytest.approx(8 / 7, rel=1e-14)


@given(case=with_outcome(), eta=st.floats(-10, 10))
def test_decrement_is_the_softmax_of_the_changed_logits(case: tuple[Array, int], eta: float) -> None:
    p, m = case
    change = torch.zeros(p.size, dtype=torch.float64)
    change[m] = eta
    np.testing.assert_allclose(change_logit(p, m, eta), softmax_by_torch(p, change), rtol=1e-10)


@given(case=with_outcome(), eta=decrements)
def test_every_other_probability_rises_by_one_factor(case: tuple[Array, int], eta: float) -> None:
    # Eq. 10 and 20 print p'(j) < p(j); by Eq. 8 it is the other way round, and all alike.
    p, m = case
    factor = others_factor(float(p[m]), eta)
    others = np.delete(np.arange(p.size), m)
    assert factor > 1
    np.testing.assert_allclose(change_logit(p, m, eta)[others] / p[others], factor, rtol=1e-12)
    assert change_logit(p, m, eta)[m] < p[m]


@given(case=with_outcome(), eta=decrements)
def test_a_decrement_squeezes_nobody_relative_to_the_rest(case: tuple[Array, int], eta: float) -> None:
    p, m = case
    others = np.delete(np.arange(p.size), m)
    before, after = p[others], change_logit(p, m, eta)[others]
    np.testing.assert_allclose(after / after.sum(), before / before.sum(), rtol=1e-10)


# --- a gradient step on log p(m) ---------------------------------------------------------------------------------


def test_descent_by_hand() -> None:
    # p = (1/2, 1/4, 1/4), m = 2, step −4: Δz = −4·(−1/2, −1/4, 3/4) = (2, 1, −3).
    p = np.array([0.5, 0.25, 0.25])
    weights = np.array([0.5 * math.e**2, 0.25 * math.e, 0.25 * math.e**-3])
    np.testing.assert_allclose(step_on_log_prob(p, 2, -4.0), weights / weights.sum(), rtol=1e-14)


@given(case=with_outcome(), step=st.floats(-3, 3))
def test_step_is_the_softmax_of_logits_moved_along_autograds_gradient(case: tuple[Array, int], step: float) -> None:
    p, m = case
    logits = torch.from_numpy(p).log().requires_grad_()
    logits.log_softmax(dim=0)[m].backward()
    assert logits.grad is not None
    np.testing.assert_allclose(step_on_log_prob(p, m, step), softmax_by_torch(p, step * logits.grad), rtol=1e-9)


@given(case=with_outcome(), step=steps_down)
def test_the_likelier_an_outcome_the_more_it_gains(case: tuple[Array, int], step: float) -> None:
    p, m = case
    others = np.delete(np.arange(p.size), m)
    by_likelihood = others[np.argsort(p[others])]
    log_gain = np.log(step_on_log_prob(p, m, step)[by_likelihood] / p[by_likelihood])
    assert (np.diff(log_gain) >= -1e-12).all()
    # Exactly: d ln p'(j) differs between two others by abs(step) times the difference of their probabilities.
    np.testing.assert_allclose(np.diff(log_gain), -step * np.diff(p[by_likelihood]), atol=1e-12)


@given(case=with_outcome(), step=steps_down)
def test_descent_always_raises_a_mode_that_is_not_punished(case: tuple[Array, int], step: float) -> None:
    # Eq. 11 and 22 are right for a softmax of its own, for every p(m), and not for the printed reason.
    p, m = case
    changed = step_on_log_prob(p, m, step)
    assert changed[m] < p[m]
    if p.argmax() != m:
        assert changed.argmax() == p.argmax()
        assert changed.max() - p.max() >= -1e-15
        if p[m] > 1e-6:
            assert changed.max() > p.max()


@given(case=with_outcome(), step=steps_down)
def test_break_even_separates_winners_from_losers(case: tuple[Array, int], step: float) -> None:
    p, m = case
    line = break_even(p, m, step)
    changed = step_on_log_prob(p, m, step)
    for j in range(p.size):
        if j != m and abs(p[j] - line) > 1e-9:
            assert (changed[j] > p[j]) == (p[j] > line)


@given(case=with_outcome())
def test_break_even_of_small_steps_is_the_chance_of_agreement_less_p_m(case: tuple[Array, int]) -> None:
    p, m = case
    assert break_even(p, m, -1e-7) == pytest.approx(float((p**2).sum() - p[m]), abs=1e-6)


def test_punishing_the_unlikely_makes_bystanders_lose() -> None:
    # p(m) = 0.001 beside a mode of 0.9: the line is about 0.81, so the two bystanders of 0.0495 fall with m.
    p = np.array([0.9, 0.0495, 0.0495, 0.001])
    changed = step_on_log_prob(p, 3, -1.0)
    assert (changed[1:] < p[1:]).all()
    assert changed[0] > p[0]
    # A logit decrement by the same amount of m's own logit raises them.
    assert (change_logit(p, 3, -1.0)[:3] > p[:3]).all()
    # Punishing a likely outcome feeds everyone else: the line is below zero.
    assert break_even(p, 0, -1.0) < 0
    assert (step_on_log_prob(p, 0, -1.0)[1:] > p[1:]).all()


# --- sequences ---------------------------------------------------------------------------------------------------


def random_policy(num_tokens: int, num_positions: int, seed: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.dirichlet(np.ones(num_tokens), size=num_tokens**t) for t in range(num_positions))


def lexical_index(sequence: tuple[int, ...], num_tokens: int) -> int:
    return int(np.ravel_multi_index(sequence, (num_tokens,) * len(sequence)))


def test_sequence_probabilities_by_hand() -> None:
    # p(first) = (0.6, 0.4); p(second | 0) = (0.5, 0.5), p(second | 1) = (0.9, 0.1).
    policy = (np.array([[0.6, 0.4]]), np.array([[0.5, 0.5], [0.9, 0.1]]))
    np.testing.assert_allclose(sequence_probabilities(policy), [0.3, 0.3, 0.36, 0.04], rtol=1e-14)


@given(
    num_tokens=st.integers(2, 3),
    num_positions=st.integers(1, 3),
    seed=st.integers(0, 1000),
    step=st.floats(-3, 3),
    data=st.data(),
)
def test_step_on_a_sequence_is_autograds(
    num_tokens: int, num_positions: int, seed: int, step: float, data: st.DataObject
) -> None:
    policy = random_policy(num_tokens, num_positions, seed)
    sequence = tuple(data.draw(st.integers(0, num_tokens - 1)) for _ in range(num_positions))
    logits = [torch.from_numpy(table).log().requires_grad_() for table in policy]
    log_p = torch.zeros(1, dtype=torch.float64)
    for table in logits:
        log_p = (log_p[:, None] + table.log_softmax(dim=1)).flatten()
    log_p[lexical_index(sequence, num_tokens)].backward()
    moved = [(table + step * table.grad).softmax(dim=1).detach().numpy() for table in logits]
    for got, expected in zip(step_on_sequence(policy, sequence, step), moved, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


@given(seed=st.integers(0, 1000), step=steps_down, sequence=st.tuples(*[st.integers(0, 2)] * 3))
def test_after_the_fork_nothing_changes(seed: int, step: float, sequence: tuple[int, int, int]) -> None:
    policy = random_policy(3, 3, seed)
    changed = step_on_sequence(policy, sequence, step)
    fork = (sequence[0] + 1) % 3  # sequences that leave at the first token
    before = sequence_probabilities(policy).reshape(3, 9)[fork]
    after = sequence_probabilities(changed).reshape(3, 9)[fork]
    np.testing.assert_allclose(after / after.sum(), before / before.sum(), rtol=1e-10)
    np.testing.assert_allclose(sequence_probabilities(changed).sum(), 1.0, rtol=1e-12)


def test_with_one_logit_a_sequence_eq_17_and_22_are_the_token_case() -> None:
    probabilities = sequence_probabilities(random_policy(3, 2, seed=1))
    unlikely, mode = int(probabilities.argmin()), int(probabilities.argmax())
    ratio = change_logit(probabilities, unlikely, -1.0) / probabilities
    np.testing.assert_allclose(np.delete(ratio, unlikely), others_factor(probabilities[unlikely], -1.0))
    changed = step_on_log_prob(probabilities, unlikely, -1.0)
    assert changed[mode] > probabilities[mode]
    assert changed.argmax() == mode


def test_eq_22_can_fail_in_an_autoregressive_policy() -> None:
    # The mode (0, 0), P = 0.495, shares its undecided first token with the punished (0, 1), P = 0.005 ≪ 1. To first
    # order the shared token costs the mode abs(step)·(0.5² + 0.5²) = 0.5 in log-prob; at the fork it wins back only
    # abs(step)·(0.99 − (0.99² + 0.01² − 0.01)) = 0.0198.
    policy = (np.array([[0.5, 0.5]]), np.array([[0.99, 0.01], [0.5, 0.5]]))
    before = sequence_probabilities(policy)
    after = sequence_probabilities(step_on_sequence(policy, (0, 1), -0.1))
    assert before.argmax() == 0
    assert before[1] == pytest.approx(0.005)
    assert after.max() < before.max()
    assert math.log(after[0] / before[0]) == pytest.approx(-0.1 * (0.5 - 0.0198), rel=0.05)


def test_wrong_arguments_are_named() -> None:
    p = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="outcome 2 is not among the 2"):
        change_logit(p, 2, -1.0)
    with pytest.raises(ValueError, match=r"p_m is 1\.5"):
        others_factor(1.5, -1.0)
    with pytest.raises(ValueError, match="step < 0"):
        break_even(p, 0, 0.1)
    with pytest.raises(ValueError, match="1 tokens and the policy 2 positions"):
        step_on_sequence(random_policy(2, 2, 0), (0,), -1.0)


# --- Fig. 1 ------------------------------------------------------------------------------------------------------


def test_figure_1() -> None:
    traces = figure_1()
    balanced, peaky = traces["balanced"], traces["peaky"]
    (positive,) = balanced.positives
    assert (peaky.positives, peaky.negatives) == (balanced.positives, balanced.negatives)
    # (a) Mass moves along the gradient: the positive takes 98 % of all that is won (docs/algorithms.md), the mode 1 %.
    gains = np.maximum(balanced.gain, 0)
    assert gains[positive] / gains.sum() == pytest.approx(0.98, abs=0.005)
    assert balanced.mode_share_of_gains == pytest.approx(0.01, abs=0.005)
    # (b) The same contrast feeds the peak, and the positive gets next to nothing.
    gains = np.maximum(peaky.gain, 0)
    assert peaky.mode_share_of_gains == pytest.approx(0.98, abs=0.005)
    assert gains[positive] / gains.sum() == pytest.approx(0.02, abs=0.005)
    assert (np.diff(peaky.mode_probability) > 0).all()
    assert (np.diff(peaky.entropy) < 0).all()
    for trace in traces.values():
        np.testing.assert_allclose(trace.probabilities.sum(axis=1), 1.0, rtol=1e-12)
        assert (trace.gain[list(trace.negatives)] < 0).all()


def test_simulation_repeats_the_single_step() -> None:
    p = bump(5, 1.0)
    trace = simulate_squeezing(p, positives=(), negatives=(4,), step=0.3, num_steps=2)
    twice = step_on_log_prob(step_on_log_prob(p, 4, -0.3), 4, -0.3)
    np.testing.assert_allclose(trace.probabilities[-1], twice, rtol=1e-12)
    assert trace.entropy[0] == pytest.approx(-(p * np.log(p)).sum())


def test_a_contrast_that_sums_to_zero_moves_only_its_own_outcomes() -> None:
    # One positive, one negative: Δz = step·(e₊ − e₋), whatever p is. The rest keep their proportions.
    p = bump(7, 1.0)
    after = simulate_squeezing(p, positives=(1,), negatives=(6,), step=0.5, num_steps=3).probabilities[-1]
    rest = [0, 2, 3, 4, 5]
    np.testing.assert_allclose(after[rest] / after[rest].sum(), p[rest] / p[rest].sum(), rtol=1e-12)
