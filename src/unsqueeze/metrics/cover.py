"""Cover@τ: the share of problems that are solved at a rate of τ or more (arXiv 2510.08325).

Of problems solved at rates p_i it is Cover(τ) = mean of 1[p_i ≥ τ], and every Pass@k is one of its averages,

    Pass@k = ∫_0^1 k (1 − τ)^{k−1} Cover(τ) dτ,

since 1 − (1 − p)^k = ∫_0^p k (1 − τ)^{k−1} dτ. The paper puts c/n for p. That share, mean of 1[c_i ≥ ⌈τ n⌉], is an
unbiased estimate of something else: of the chance that n fresh samples are right that often, which is G-Pass@n_τ. Of
Cover(τ) itself no estimate is unbiased: what n samples estimate without bias are polynomials in p of degree up to n,
and a step at τ is none. Problems whose p is near τ fall on the wrong side; n decides how many.

What is true of Cover(τ) whatever the p_i are: let b be the least count with α = P(Bin(n, τ) ≥ b) ≤ 5 %, and a the
greatest with β = P(Bin(n, τ) < a) ≤ 5 %. A problem with p < τ reaches b with a chance of α at most, and one with p ≥ τ
misses a with a chance of β at most, so

    E[(1[c ≥ b] − α) / (1 − α)]  ≤  1[p ≥ τ]  ≤  E[1[c ≥ a] / (1 − β)].

The interval reaches from the lower end for the mean of the left to the upper end for the mean of the right.

Axes: P problems.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers
from unsqueeze.metrics.intervals import Estimate, bootstrap_mean
from unsqueeze.metrics.reliability import needed_successes

TAUS = (0.25, 0.5, 0.75, 0.9)
"""The thresholds that are worth a look."""
_ERROR = 0.05


def cover(
    num_samples_P: Numbers, num_correct_P: Numbers, tau: float, *, strata: Labels | None = None, seed: int = 0
) -> Estimate:
    """Cover@τ: the mean of 1[c ≥ ⌈τ n⌉], and a 95 % interval that holds for the true success rates.

    num_samples_P (1 or more; n may differ), num_correct_P: integers, shape (P,). The interval is that of the module's
    bounds, over problems (stratified), and so no narrower than that of the mean. UserError for τ outside (0, 1].
    """
    if not 0 < tau <= 1:
        raise UserError(f"Cover@τ: τ is {tau}; give a success rate above 0 and up to 1, such as 0.5.")
    seen_P, least_P, greatest_P, bounds = _values(num_samples_P, num_correct_P, tau)
    if seen_P.size == 0:
        return Estimate(math.nan, math.nan, math.nan)
    mean = float(seen_P.mean())
    low = bootstrap_mean(least_P, strata=strata, bounds=(bounds[0], 1.0), seed=seed).low
    high = bootstrap_mean(greatest_P, strata=strata, bounds=(0.0, bounds[1]), seed=seed).high
    return (
        Estimate(mean, min(mean, max(0.0, low)), max(mean, min(1.0, high))) if low == low else Estimate(mean, low, high)
    )


def seen_cover(num_samples_P: Numbers, num_correct_P: Numbers, tau: float) -> NDArray[np.float64]:
    """1[c ≥ ⌈τ n⌉] of every problem, the values whose mean ``cover`` is. Shape (P,)."""
    return _values(num_samples_P, num_correct_P, tau)[0]


def _values(
    num_samples_P: Numbers, num_correct_P: Numbers, tau: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """What was seen of every problem, what bounds 1[p ≥ τ] in expectation from below and above, and their reach."""
    samples_P = np.asarray(num_samples_P, dtype=np.int64).reshape(-1)
    correct_P = np.asarray(num_correct_P, dtype=np.int64).reshape(-1)
    if samples_P.shape != correct_P.shape or (correct_P < 0).any() or (correct_P > samples_P).any():
        raise UserError("Cover@τ: give as many correct counts as sample counts, from 0 to the samples.")
    if (samples_P < 1).any():
        raise UserError("Cover@τ: a problem has no samples; leave it out.")
    seen_P, least_P, greatest_P = (np.zeros(samples_P.size) for _ in range(3))
    lowest, highest = 0.0, 1.0
    for n in np.unique(samples_P).tolist():
        of_n_P = samples_P == n
        correct = correct_P[of_n_P]
        low_count, high_count, missed, reached = _thresholds(n, tau)
        seen_P[of_n_P] = correct >= needed_successes(tau, n)
        if high_count <= n:
            least_P[of_n_P] = ((correct >= high_count) - reached) / (1 - reached)
            lowest = min(lowest, -reached / (1 - reached))
        greatest_P[of_n_P] = (correct >= low_count) / (1 - missed)
        highest = max(highest, 1 / (1 - missed))
    return seen_P, least_P, greatest_P, (lowest, highest)


@lru_cache(maxsize=256)
def _thresholds(num_samples: int, tau: float) -> tuple[int, int, float, float]:
    """a, b, β and α of the module's docstring. b is n + 1 where no count is that unlikely; then nothing is claimed."""
    chances = _binomial(num_samples, tau)
    below = np.concatenate([[0.0], np.cumsum(chances)])  # P(X < m) for m from 0 to n + 1
    above = np.concatenate([np.cumsum(chances[::-1])[::-1], [0.0]])  # P(X ≥ m)
    low = int(np.flatnonzero(below[:-1] <= _ERROR)[-1])
    high = int(np.flatnonzero(above <= _ERROR)[0])
    return low, high, float(below[low]), float(above[high])


def _binomial(num_samples: int, rate: float) -> NDArray[np.float64]:
    """P(X = m) for m from 0 to n, X ~ Bin(n, rate), from the logs of factorials."""
    if rate == 1:
        return np.append(np.zeros(num_samples), 1.0)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, num_samples + 1)))])
    m = np.arange(num_samples + 1)
    log_choose = log_factorials[-1] - log_factorials - log_factorials[::-1]
    chances: NDArray[np.float64] = np.exp(log_choose + m * math.log(rate) + (num_samples - m) * math.log1p(-rate))
    return chances
