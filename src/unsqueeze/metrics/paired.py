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
_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first, in the unit of the values, over ``num_problems`` problems that both have a value for.

    The interval of ``difference`` holds 0 wherever ``p_value`` is 0.05 or more. ``std`` is the standard deviation
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
    differences_P = np.asarray(differences_P, dtype=np.float64).reshape(-1)
    if differences_P.size == 0:
        return nan
    moved = differences_P[differences_P != 0]
    if moved.size == 0:
        return 1.0
    # Signs of zeros change no sum; where patterns are drawn, they are those that ``not_rejected`` draws.
    flipped = moved if moved.size <= _MAX_EXACT_PROBLEMS else differences_P
    low_B, high_B = _spans(flipped, num_resamples, seed)
    as_far = int(((low_B <= 0) & (high_B >= 0)).sum())
    return as_far / low_B.size if flipped is moved else (1 + as_far) / (1 + num_resamples)


def not_rejected(differences_P: Numbers, *, num_resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The least and the greatest δ for which the sign-flip test of differences − δ has a p-value of 0.05 or more.

    A sign pattern parts the problems into those that keep their sign and those that lose it. Its sum is at least as far
    from zero as the sum that was seen exactly where δ lies between the means of the two parts (``_spans``). Every such
    span holds the mean of all differences, so the δ that 5 % of the spans hold are an interval, whose ends are order
    statistics of the spans' ends (as in Hartigan, Using Subsample Values as Typical Values, 1969). The pattern that
    keeps all signs spans everything, so that below six problems nothing is rejected: (−∞, ∞). All patterns up to 16
    problems, beyond that ``num_resamples`` random ones and the one that was seen.
    """
    differences_P = np.asarray(differences_P, dtype=np.float64).reshape(-1)
    low_B, high_B = _spans(differences_P, num_resamples, seed)
    if differences_P.size > _MAX_EXACT_PROBLEMS:  # the pattern that was seen, which p-values count too
        low_B, high_B = np.append(low_B, -inf), np.append(high_B, inf)
    # The least number of spans whose share is 0.05 or more, as ``count / size`` is rounded.
    needed = int(0.05 * low_B.size)
    while needed / low_B.size < _LEVEL:
        needed += 1
    return float(np.sort(low_B)[needed - 1]), float(np.sort(high_B)[-needed])


def _spans(differences_P: NDArray[np.float64], num_resamples: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """For every sign pattern the lesser and the greater of the means of its two parts, shape (B,).

    Let T be the sum of d − δ over one part and S that over all. The pattern's sum is 2T − S, and |2T − S| ≥ |S| exactly
    where T · (S − T) ≤ 0: where one part's mean is at most δ and the other's at least. A part of no problem has sum 0,
    so it is (−∞, ∞). All 2^P patterns up to 16 differences, beyond that ``num_resamples`` random ones.
    """
    lows, highs = [], []
    for inside_BP in _subsets(differences_P.size, num_resamples, seed):
        one_B, other_B = _means(inside_BP, differences_P), _means(1 - inside_BP, differences_P)
        lows.append(np.minimum(one_B, other_B))
        highs.append(np.maximum(one_B, other_B))
    low_B, high_B = np.concatenate(lows), np.concatenate(highs)
    low_B[np.abs(low_B) < _TIE] = 0.0
    high_B[np.abs(high_B) < _TIE] = 0.0
    is_whole_B = np.isnan(low_B)
    return np.where(is_whole_B, -inf, low_B), np.where(is_whole_B, inf, high_B)


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
    moved all one way would else give an interval without 0 whatever their number. None below six problems. It holds 0
    wherever the p-value is 0.05 or more: beyond 16 problems of which at most 16 differ the p-value is exact and
    ``not_rejected`` is not, so there 0 is taken in by the p-value.
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
    p_value = sign_flip_p_value(differences, num_resamples=num_resamples, seed=seed)
    low, high = not_rejected(differences, num_resamples=num_resamples, seed=seed)
    if p_value >= _LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return PairedDifference(
        num_problems=differences.size,
        difference=_widened(
            bootstrap_mean(differences, strata=labels, num_resamples=num_resamples, seed=seed), low, high
        ),
        p_value=p_value,
        std=float(differences.std(ddof=1)) if differences.size > 1 else nan,
    )


def _widened(estimate: Estimate, low: float, high: float) -> Estimate:
    """The estimate, its interval reaching from ``low`` to ``high`` at least; without one where these are infinite."""
    if isinf(low) or isinf(high):
        return Estimate(estimate.mean, nan, nan)
    return Estimate(estimate.mean, min(estimate.low, low), max(estimate.high, high))
