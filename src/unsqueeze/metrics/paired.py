"""Two models on the same problems: the difference, its interval, and whether it could be chance.

Axes: P problems, B sign patterns, or subsets of the problems.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isinf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers
from unsqueeze.metrics.intervals import Estimate, bootstrap_mean

_MAX_EXACT_PROBLEMS = 16
FEWEST_WITH_INTERVAL = 6
"""Below, nothing can be rejected at 5 %: of five differences of one sign the two-sided p is 2 / 2^5."""
_CHUNK_SIGNS = 1 << 22
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first, in the unit of the values, over ``num_problems`` problems that both have a value for.

    The interval of ``difference`` never excludes 0 where ``p_value`` is 0.05 or more. ``std`` is the standard deviation
    of the differences between problems, NaN for fewer than two.
    """

    num_problems: int
    difference: Estimate
    p_value: float
    std: float


def sign_flip_p_value(differences_P: Numbers, *, num_resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip (randomisation) test of "the differences are symmetric around zero".

    Where it makes no difference which model is which, each difference might as well have had the other sign. The value
    is the share of sign patterns whose mean is at least as far from zero as the mean that was seen: of all 2^P patterns
    up to 16 differences that are not zero, beyond that of ``num_resamples`` random ones, the one that was seen counted
    among them (so it is never 0). NaN without problems.
    """
    differences = np.asarray(differences_P, dtype=np.float64).reshape(-1)
    if differences.size == 0:
        return nan
    moved = differences[differences != 0]
    if moved.size == 0:
        return 1.0
    seen = abs(float(moved.sum())) - _TIE
    as_far = np.concatenate(
        [np.abs((2 * inside_BP - 1) @ moved) >= seen for inside_BP in _subsets(moved.size, num_resamples, seed)]
    )
    if moved.size <= _MAX_EXACT_PROBLEMS:
        return float(as_far.mean())
    return (1 + int(as_far.sum())) / (1 + num_resamples)


def not_rejected(differences_P: Numbers, *, num_resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The least and the greatest δ for which the sign-flip test of differences − δ has a p-value of 0.05 or more.

    δ is too small where fewer than 2.5 % of all subsets of the problems have a mean of at most δ, and too great where
    fewer have one of at least δ (Hartigan, Using Subsample Values as Typical Values, 1969). The subset of no problem
    counts on both sides, so that below six problems nothing is rejected: (−∞, ∞). All subsets up to 16 problems, beyond
    that ``num_resamples`` random ones.
    """
    differences_P = np.asarray(differences_P, dtype=np.float64).reshape(-1)
    means_B = np.concatenate(
        [_means(inside_BP, differences_P) for inside_BP in _subsets(differences_P.size, num_resamples, seed)]
    )
    means_B[np.abs(means_B) < _TIE] = 0.0
    empty_B = np.isnan(means_B)
    low = np.quantile(np.where(empty_B, -inf, means_B), 0.025, method="inverted_cdf")
    high = -np.quantile(np.where(empty_B, -inf, -means_B), 0.025, method="inverted_cdf")
    return float(low), float(high)


def _subsets(size: int, num_resamples: int, seed: int) -> Iterator[NDArray[Any]]:
    """Subsets of ``size`` problems as rows of 0 and 1, in chunks: all up to 16 problems, beyond that random ones."""
    if size <= _MAX_EXACT_PROBLEMS:
        yield np.arange(1 << size)[:, None] >> np.arange(size) & 1
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_SIGNS // size)
    for start in range(0, num_resamples, chunk):
        yield rng.integers(2, size=(min(chunk, num_resamples - start), size), dtype=np.int8)


def _means(inside_BP: NDArray[Any], differences_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over each subset, shape (B,); NaN for the subset of no problem."""
    count_B = inside_BP.sum(axis=1, dtype=np.float64)
    means_B = np.full(len(count_B), nan)
    np.divide(inside_BP @ differences_P, count_B, out=means_B, where=count_B > 0)
    return means_B


def paired_difference(
    first_P: Numbers,
    second_P: Numbers,
    *,
    strata: Labels | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """``second - first`` over problems, with a 95 % interval and the sign-flip p-value.

    The interval is the bootstrap's, widened to what the sign-flip test does not reject: a handful of problems that
    moved all one way would else give an interval without 0 whatever their number. None below six problems.
    first_P, second_P: one value per problem, in the same order, shape (P,). A problem where either is NaN (Pass@k with
    fewer than k samples) takes no part. Raises UserError where the lengths differ.
    """
    first = np.asarray(first_P, dtype=np.float64).reshape(-1)
    second = np.asarray(second_P, dtype=np.float64).reshape(-1)
    if first.shape != second.shape:
        raise UserError(f"compare: {first.size} values against {second.size}; both must be on the same problems.")
    differences = second - first
    defined_P = np.isfinite(differences)
    differences = differences[defined_P]
    labels = None if strata is None else np.asarray(strata)[defined_P]
    return PairedDifference(
        num_problems=differences.size,
        difference=_widened(
            bootstrap_mean(differences, strata=labels, num_resamples=num_resamples, seed=seed),
            *not_rejected(differences, num_resamples=num_resamples, seed=seed),
        ),
        p_value=sign_flip_p_value(differences, num_resamples=num_resamples, seed=seed),
        std=float(differences.std(ddof=1)) if differences.size > 1 else nan,
    )


def _widened(estimate: Estimate, low: float, high: float) -> Estimate:
    """The estimate, its interval reaching from ``low`` to ``high`` at least; without one where these are infinite."""
    if isinf(low) or isinf(high):
        return Estimate(estimate.mean, nan, nan)
    return Estimate(estimate.mean, min(estimate.low, low), max(estimate.high, high))
