"""How reliably problems are solved: pass^k and G-Pass@k.

With n samples of a problem, c of them correct, let X be the number of correct ones among k drawn WITHOUT replacement,
P(X = j) = C(c, j) C(n − c, k − j) / C(n, k). Then

    pass^k     = P(X = k) = C(c, k) / C(n, k)          all k are correct (arXiv 2406.12045)
    G-Pass@k_τ = P(X ≥ ⌈τ k⌉), of one at least         a share of τ of them is correct (arXiv 2412.13147)
    mG-Pass@k  = 2 ∫_{1/2}^1 G-Pass@k_τ dτ             the same paper

All three are linear in the indicators of the k-subsets, so they are unbiased for what k fresh samples of the problem
would show: of a problem solved at rate p, pass^k for p^k, and so on. G-Pass@k_1 is pass^k, and as τ → 0 it is Pass@k.
Where n < k they are undefined: NaN, never 0.

Axes: P problems.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Numbers

_ROUNDING = 1e-9
"""0.07 · 100 is 7.000000000000001 in floating point, and its ceiling is 7 all the same."""


def needed_successes(tau: float, num_samples: int) -> int:
    """⌈τ n⌉, but one at least: how many of n samples are a share of τ. UserError for τ outside [0, 1]."""
    if not 0 <= tau <= 1:
        raise UserError(f"τ is {tau}; it is a share of the samples: give a number from 0 to 1, such as 0.5.")
    return max(1, math.ceil(tau * num_samples - _ROUNDING))


def pass_hat_k(num_samples: int, num_correct: int, k: int) -> float:
    """pass^k = C(c, k) / C(n, k): the chance that k of the samples, drawn without replacement, are all correct.

    NaN for k > n. UserError for k < 1 or counts that cannot be.
    """
    return g_pass_at_k(num_samples, num_correct, k, 1.0)


def g_pass_at_k(num_samples: int, num_correct: int, k: int, tau: float) -> float:
    """G-Pass@k_τ: the chance that at least ⌈τ k⌉, and at least one, of k of the samples are correct.

    Of the two tails the shorter is summed. NaN for k > n. UserError for k < 1, for τ outside [0, 1], or counts that
    cannot be.
    """
    needed = needed_successes(tau, k)
    if not _is_defined(num_samples, num_correct, k):
        return math.nan
    least, most = max(0, k - (num_samples - num_correct)), min(k, num_correct)
    if needed <= least:
        return 1.0
    if needed > most:
        return 0.0
    if most - needed < needed - 1 - least:
        return min(1.0, math.fsum(_chances(num_samples, num_correct, k, range(needed, most + 1))))
    return max(0.0, 1.0 - math.fsum(_chances(num_samples, num_correct, k, range(least, needed))))


def mean_g_pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """mG-Pass@k = 2 ∫_{1/2}^1 G-Pass@k_τ dτ = E[max(0, 2 X / k − 1)], the integral itself.

    For even k this is the sum that the paper prints, (2/k) Σ_{i = ⌈k/2⌉ + 1}^{k} G-Pass@k_{i/k}. For odd k that sum
    leaves out τ from 1/2 to ⌈k/2⌉/k (at k = 1: everything); here it is in, so that mG-Pass@1 is Pass@1. NaN for k > n.
    UserError for k < 1 or counts that cannot be.
    """
    if not _is_defined(num_samples, num_correct, k):
        return math.nan
    counts = range(max(k // 2 + 1, k - (num_samples - num_correct)), min(k, num_correct) + 1)
    chances = _chances(num_samples, num_correct, k, counts)
    return min(1.0, math.fsum((2 * j / k - 1) * chance for j, chance in zip(counts, chances, strict=True)))


def per_problem(
    num_samples_P: Numbers, num_correct_P: Numbers, estimate: Callable[[int, int], float]
) -> NDArray[np.float64]:
    """``estimate(n, c)`` of every problem, each pair of counts once. n may differ. Returns float64, shape (P,)."""
    counts_P2 = np.stack(
        [np.asarray(num_samples_P, dtype=np.int64), np.asarray(num_correct_P, dtype=np.int64)], axis=-1
    ).reshape(-1, 2)
    distinct_2, where_P = np.unique(counts_P2, axis=0, return_inverse=True)
    values = np.array([estimate(n, c) for n, c in distinct_2.tolist()], dtype=np.float64)
    return values[where_P.reshape(-1)]


def _is_defined(num_samples: int, num_correct: int, k: int) -> bool:
    if k < 1:
        raise UserError(f"pass^k: k is {k}; it must be at least 1.")
    if not 0 <= num_correct <= num_samples:
        raise UserError(
            f"pass^k: {num_correct} correct of {num_samples} samples; correct must lie between 0 and samples."
        )
    return k <= num_samples


def _chances(n: int, c: int, k: int, counts: range) -> list[float]:
    """P(X = j) for every j of ``counts``, from the logs of factorials: right to 1e-9 for n up to 10^5."""
    log_all = _log_choose(n, k)
    return [math.exp(_log_choose(c, j) + _log_choose(n - c, k - j) - log_all) for j in counts]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
