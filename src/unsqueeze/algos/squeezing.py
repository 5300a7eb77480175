"""Probability squeezing, exactly: what one update of a softmax does to every outcome (App. A of arXiv 2604.16995).

Two updates are told apart, which the paper's proof runs together:

* **A logit decrement** (Eq. 6-8): one logit falls by itself. Every other probability is multiplied by one and the same
  factor > 1. Eq. 9-10 and 19-20 print the opposite sign ("every other probability falls"), which contradicts Eq. 8.
  Relative to each other the others do not change: this squeezes nobody.
* **A gradient step on log p(m)** (what training does): z ← z + s·∂log p(m)/∂z, that is Δz_j = s·(1[j = m] − p(j)).
  With s < 0 every other logit RISES, by abs(s)·p(j): the likelier, the more. Here the mode gains most, and outcomes
  below a break-even probability lose although nobody punished them (Ren & Sutherland, arXiv 2407.10490).

All arrays are float64; V outcomes (tokens, or whole sequences with one logit each), T positions. Log-probs in nats.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def others_factor(p_m: float, eta: float) -> float:
    """1 / (1 + p(m)·(e^η − 1)): what every probability but p(m) is multiplied by when logit m changes by η (Eq. 8, 17).

    For η < 0 it is > 1: the others rise, all alike. Exact, not first order. Raises ValueError if p_m is not in [0, 1].
    """
    if not 0 <= p_m <= 1:
        raise ValueError(f"p_m is {p_m}; a probability is in [0, 1].")
    return 1.0 / (1.0 + p_m * math.expm1(eta))


def change_logit(p_V: Array, m: int, eta: float) -> Array:
    """p after z_m ← z_m + η: p'(j) = p(j)·f for j ≠ m and p'(m) = p(m)·e^η·f, f = ``others_factor`` (Eq. 6-8)."""
    _check(p_V, m)
    changed = p_V * others_factor(float(p_V[m]), eta)
    changed[m] *= math.exp(eta)
    return changed


def step_on_log_prob(p_V: Array, m: int, step: float) -> Array:
    """p after z ← z + step·∂log p(m)/∂z: p'(j) ∝ p(j)·exp(step·(1[j = m] − p(j))). Exact.

    ``step`` > 0 climbs (a positive sample, or a demonstration), < 0 descends (a negative one).

    For step < 0 and p(m) > 0, exactly and for any p(m): p'(j) / p(j) grows with p(j) over the j ≠ m, p'(m) < p(m), and
    where the mode is not m its probability rises, max p' > max p. (Eq. 11, 22 are right, not their proof.)
    """
    _check(p_V, m)
    return _normalised(p_V, step * (_one_hot(p_V.size, m) - p_V))


def break_even(p_V: Array, m: int, step: float) -> float:
    """The probability above which an outcome other than m gains from ``step_on_log_prob`` with step < 0.

    It is −ln Z / step with Z = Σ_j p(j)·exp(step·(1[j = m] − p(j))); for small steps Σ_j p(j)² − p(m), the chance that
    two samples agree, less p(m). Negative where everyone else gains: punishing a likely outcome feeds all others, while
    punishing an unlikely one takes from all outcomes below the line and gives to those above. Raises ValueError unless
    step < 0.
    """
    _check(p_V, m)
    if step >= 0:
        raise ValueError(f"step is {step}; the break-even probability is that of a descent, step < 0.")
    # Σ p = 1, so ln Z = log1p(Σ p·expm1(Δz)), exact for small steps too.
    log_z = math.log1p(float((p_V * np.expm1(step * (_one_hot(p_V.size, m) - p_V))).sum()))
    return log_z / -step


# --- sequences ---------------------------------------------------------------------------------------------------

Conditionals = tuple[Array, ...]
"""An autoregressive policy as tables: element t, [V^t, V], holds p(y_t | prefix), prefixes in lexical order."""


def sequence_probabilities(conditionals: Conditionals) -> Array:
    """P(y) = Π_t p(y_t | y_<t) of all V^T sequences, in lexical order (Eq. 13)."""
    p = np.ones(1)
    for table in conditionals:
        p = (p[:, None] * table).ravel()
    return p


def step_on_sequence(conditionals: Conditionals, sequence: Sequence[int], step: float) -> Conditionals:
    """The policy after a gradient step on log P(sequence), every prefix having logits of its own. Exact.

    log P is a sum over positions, so the conditional at each prefix OF THE SEQUENCE takes ``step_on_log_prob`` of its
    next token, and no other conditional changes. What happens to another sequence depends on where it leaves this one:
    up to there it shares the change of this one's tokens, at the fork it is one of "the others", after it nothing.

    Departure from print: Eq. 14-22 give every sequence a logit of its own, and then ``step_on_log_prob`` over sequences
    applies. In an autoregressive policy Eq. 22 (max P' > max P) can fail even for P(sequence) ≪ 1, namely where the
    mode shares the undecided part of the sequence's path. Whether a policy was squeezed must be measured.

    Raises ValueError if the sequence does not fit the tables.
    """
    if len(sequence) != len(conditionals):
        raise ValueError(f"the sequence has {len(sequence)} tokens and the policy {len(conditionals)} positions.")
    changed = []
    prefix = 0
    for table, token in zip(conditionals, sequence, strict=True):
        table = table.copy()
        table[prefix] = step_on_log_prob(table[prefix], token, step)
        changed.append(table)
        prefix = prefix * table.shape[1] + token
    return tuple(changed)


# --- Fig. 1 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SqueezingTrace:
    """A distribution under repeated updates. ``probabilities`` is [steps + 1, V], the first row the beginning."""

    probabilities: Array
    positives: tuple[int, ...]
    negatives: tuple[int, ...]

    @property
    def mode_probability(self) -> Array:
        """max p at every step."""
        mode: Array = self.probabilities.max(axis=1)
        return mode

    @property
    def entropy(self) -> Array:
        """H(p) at every step, nats."""
        p = self.probabilities
        entropy: Array = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
        return entropy

    @property
    def gain(self) -> Array:
        """Gain or loss of every outcome by the end."""
        gain: Array = self.probabilities[-1] - self.probabilities[0]
        return gain

    @property
    def mode_share_of_gains(self) -> float:
        """The share of all gains that went to the outcome that was the mode at the beginning; 0 if it lost."""
        gains = np.maximum(self.gain, 0.0)
        total = gains.sum()
        return float(gains[self.probabilities[0].argmax()] / total) if total > 0 else 0.0


def simulate_squeezing(
    p_V: Array, *, positives: Sequence[int], negatives: Sequence[int], step: float, num_steps: int
) -> SqueezingTrace:
    """Repeat z ← z + step·(Σ over positives of ∂log p/∂z − Σ over negatives): the gradient of Eq. 3, on a table.

    The two gradient components of Fig. 1 on a distribution of one's choice; ``step`` > 0. Raises ValueError if an
    outcome does not exist.
    """
    p = p_V
    for outcome in (*positives, *negatives):
        _check(p, outcome)
    direction: Array = np.zeros(p.size)
    np.add.at(direction, list(positives), 1.0)
    np.subtract.at(direction, list(negatives), 1.0)
    trace = [p]
    for _ in range(num_steps):
        p = _normalised(p, step * (direction - (len(positives) - len(negatives)) * p))
        trace.append(p)
    return SqueezingTrace(probabilities=np.stack(trace), positives=tuple(positives), negatives=tuple(negatives))


def bump(num_outcomes: int, width: float) -> Array:
    """A discrete bell over the outcomes, p(i) ∝ exp(−(i − centre)² / (2·width²)): wide is balanced, narrow is peaky."""
    offset: Array = np.arange(num_outcomes, dtype=np.float64) - (num_outcomes - 1) / 2
    return _normalised(np.full(num_outcomes, 1.0 / num_outcomes), -(offset**2) / (2 * width**2))


def figure_1(num_outcomes: int = 15, *, step: float = 0.1, num_steps: int = 10) -> dict[str, SqueezingTrace]:
    """Fig. 1: one and the same contrast, a positive at one flank and negatives in the other tail, on two distributions.

    ``balanced``: nearly everything that is won goes to the positive. ``peaky``: to the peak, which nobody rewarded.
    """
    positive = num_outcomes // 2 - 3
    negatives = tuple(num_outcomes // 2 + offset for offset in (3, 4, 5))
    return {
        name: simulate_squeezing(
            bump(num_outcomes, width), positives=(positive,), negatives=negatives, step=step, num_steps=num_steps
        )
        for name, width in (("balanced", 4.0), ("peaky", 1.0))
    }


def _check(p_V: Array, m: int) -> None:
    if p_V.ndim != 1 or not 0 <= m < p_V.size:
        raise ValueError(f"outcome {m} is not among the {p_V.size} of a distribution of shape {p_V.shape}.")


def _one_hot(size: int, index: int) -> Array:
    one = np.zeros(size)
    one[index] = 1.0
    return one


def _normalised(p_V: Array, change_V: Array) -> Array:
    """p·exp(change), normalised; the largest change is subtracted first, so that nothing overflows."""
    q: Array = p_V * np.exp(change_V - change_V.max())
    q /= q.sum()
    return q
