"""Unbiased Pass@k.

Pass@k (Eq. 2 of arXiv 2604.16995) is the chance that at least one of k samples of a problem is correct. From n samples
of which c are correct the unbiased estimator is the one of Chen et al. (arXiv 2107.03374, Eq. 1)

    Pass@k = 1 - C(n - c, k) / C(n, k)

that is, the share of the k-subsets of the n samples that hold a correct one: sampling WITHOUT replacement. For k > n
there is no such subset and the value is undefined: NaN, never 1 or 0.

Axes: P problems.
"""

import math

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Numbers

# Below exp(-40) = 4e-18 the chance of missing is less than half a unit in the last place of 1.
_NEGLIGIBLE_NATS = 40.0
_CHUNK_TERMS = 1 << 20


def _check(num_samples: int, num_correct: int, k: int) -> None:
    if k < 1:
        raise UserError(f"Pass@k: k is {k}; it must be at least 1.")
    if not 0 <= num_correct <= num_samples:
        raise UserError(
            f"Pass@k: {num_correct} correct of {num_samples} samples; correct must lie between 0 and samples."
        )


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Chance that k of the samples, drawn without replacement, hold one of the ``num_correct`` correct ones.

    C(n-c, k) / C(n, k) is the product over j < a of (1 - b / (n - j)), where {a, b} = {c, k} and a is the smaller; it
    is summed in logs (no binomial is ever formed, so nothing overflows) over at most min(c, k, sqrt(40 n)) terms, since
    the product is negligible once c·k/n passes 40. NaN for k > num_samples. Raises UserError for k < 1 or counts that
    cannot be.
    """
    n, c, k = int(num_samples), int(num_correct), int(k)
    _check(n, c, k)
    if k > n:
        return math.nan
    if c == 0:
        return 0.0
    if n - c < k or c * k > _NEGLIGIBLE_NATS * n:
        return 1.0
    few, many = min(c, k), max(c, k)
    log_miss = 0.0
    for start in range(0, few, _CHUNK_TERMS):
        terms = np.arange(start, min(start + _CHUNK_TERMS, few), dtype=np.float64)
        log_miss += float(np.log1p(-many / (n - terms)).sum())
    return -math.expm1(log_miss)


def pass_at_k_per_problem(num_samples_P: Numbers, num_correct_P: Numbers, k: int) -> NDArray[np.float64]:
    """``pass_at_k`` of every problem; n may differ between problems. NaN where a problem has fewer than k samples.

    num_samples_P, num_correct_P: integers, shape (P,). Returns float64, shape (P,).
    """
    counts_P2 = np.stack(
        [np.asarray(num_samples_P, dtype=np.int64), np.asarray(num_correct_P, dtype=np.int64)], axis=-1
    ).reshape(-1, 2)
    distinct_2, where_P = np.unique(counts_P2, axis=0, return_inverse=True)
    values = np.array([pass_at_k(n, c, k) for n, c in distinct_2.tolist()], dtype=np.float64)
    return values[where_P.reshape(-1)]
