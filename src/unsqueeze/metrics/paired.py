"""Two models on the same problems: the difference, its interval, and whether it could be chance.

Axes: K values of a problem, P problems, B sign patterns, or subsets of the problems.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isinf, nan

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers
from unsqueeze.metrics.intervals import Estimate, bootstrap_each

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
    return _p_value(differences_P, _spans(differences_P[None], num_resamples, seed)[:, 0])


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
    return _not_rejected(differences_P.size, _spans(differences_P[None], num_resamples, seed)[:, 0])


def _p_value(differences_P: NDArray[np.float64], spans_2B: NDArray[np.float64]) -> float:
    """``sign_flip_p_value`` of differences whose spans are known."""
    moved = differences_P[differences_P != 0]
    if moved.size == 0:
        return 1.0 if differences_P.size else nan
    # Signs of zeros change no sum; where patterns are drawn, they are those that ``not_rejected`` draws.
    exact = moved.size <= _MAX_EXACT_PROBLEMS
    low_B, high_B = _spans(moved[None], 0, 0)[:, 0] if exact and moved.size < differences_P.size else spans_2B
    as_far, num_patterns = int(((low_B <= 0) & (high_B >= 0)).sum()), int(low_B.size)
    return as_far / num_patterns if exact else (1 + as_far) / (1 + num_patterns)


def _not_rejected(num_problems: int, spans_2B: NDArray[np.float64]) -> tuple[float, float]:
    """``not_rejected`` of differences whose spans are known."""
    low_B, high_B = spans_2B
    if num_problems > _MAX_EXACT_PROBLEMS:  # the pattern that was seen, which p-values count too
        low_B, high_B = np.append(low_B, -inf), np.append(high_B, inf)
    # The least number of spans whose share is 0.05 or more, as ``count / size`` is rounded.
    needed = int(0.05 * low_B.size)
    while needed / low_B.size < _LEVEL:
        needed += 1
    return float(np.sort(low_B)[needed - 1]), float(np.sort(high_B)[-needed])


def _spans(differences_KP: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """For every sign pattern the lesser and the greater of the means of its two parts, shape (2, K, B).

    Let T be the sum of d − δ over one part and S that over all. The pattern's sum is 2T − S, and |2T − S| ≥ |S| exactly
    where T · (S − T) ≤ 0: where one part's mean is at most δ and the other's at least. A part of no problem has sum 0,
    so it is (−∞, ∞). All 2^P patterns up to 16 differences, beyond that ``num_resamples`` random ones, the same for
    every row.
    """
    lows, highs = [], []
    for inside_BP in _subsets(differences_KP.shape[1], num_resamples, seed):
        one_KB, other_KB = _means(inside_BP, differences_KP), _means(1 - inside_BP, differences_KP)
        lows.append(np.minimum(one_KB, other_KB))
        highs.append(np.maximum(one_KB, other_KB))
    ends_2KB = np.stack([np.concatenate(lows, axis=1), np.concatenate(highs, axis=1)])
    ends_2KB[np.abs(ends_2KB) < _TIE] = 0.0
    is_whole_KB = np.isnan(ends_2KB[0])
    ends_2KB[0][is_whole_KB], ends_2KB[1][is_whole_KB] = -inf, inf
    return ends_2KB


def _subsets(size: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Subsets of ``size`` problems as rows of 0 and 1, in chunks: all up to 16 problems, beyond that random ones."""
    if size <= _MAX_EXACT_PROBLEMS:
        yield (np.arange(1 << size)[:, None] >> np.arange(size) & 1).astype(np.float64)
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_SIGNS // size)
    for start in range(0, num_resamples, chunk):
        shape = (min(chunk, num_resamples - start), size)
        yield rng.integers(2, size=shape, dtype=np.int8).astype(np.float64)


def _means(inside_BP: NDArray[np.float64], differences_KP: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row over each subset, shape (K, B); NaN for the subset of no problem."""
    count_B = inside_BP.sum(axis=1)
    means_KB = np.full((len(differences_KP), len(count_B)), nan)
    np.divide(differences_KP @ inside_BP.T, count_B, out=means_KB, where=count_B > 0)
    return means_KB


def paired_difference(
    first_P: Numbers,
    second_P: Numbers,
    *,
    strata: Labels | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """``paired_differences`` of one value a problem: first_P and second_P have shape (P,)."""
    first = np.asarray(first_P, dtype=np.float64).reshape(-1)
    second = np.asarray(second_P, dtype=np.float64).reshape(-1)
    if first.shape != second.shape:
        raise UserError(f"compare: {first.size} values against {second.size}; both must be on the same problems.")
    (paired,) = paired_differences(first[None], second[None], strata=strata, num_resamples=num_resamples, seed=seed)
    return paired


def paired_differences(
    first_KP: NDArray[np.float64],
    second_KP: NDArray[np.float64],
    *,
    strata: Labels | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[PairedDifference]:
    """``second - first`` over problems of each row, with a 95 % interval and the sign-flip p-value.

    The interval is the bootstrap's, widened to what the sign-flip test does not reject: a handful of problems that
    moved all one way would else give an interval without 0 whatever their number. None below six problems. It holds 0
    wherever the p-value is 0.05 or more: beyond 16 problems of which at most 16 differ the p-value is exact and
    ``not_rejected`` is not, so there 0 is taken in by the p-value.
    first_KP, second_KP: K values per problem, in the same order, shape (K, P); rows that have values for the same
    problems share the weights of the bootstrap and the random signs. A problem where either side is NaN (Pass@k with
    fewer than k samples) takes no part in its row.
    """
    differences_KP = second_KP - first_KP
    defined_KP = np.isfinite(differences_KP)
    groups: dict[bytes, list[int]] = {}
    for row, defined_P in enumerate(defined_KP):
        groups.setdefault(defined_P.tobytes(), []).append(row)
    found: dict[int, PairedDifference] = {}
    for rows in groups.values():
        defined_P = defined_KP[rows[0]]
        values_KP = differences_KP[rows][:, defined_P]
        labels = None if strata is None else np.asarray(strata)[defined_P]
        estimates = bootstrap_each(values_KP, strata=labels, num_resamples=num_resamples, seed=seed)
        spans_2KB = _spans(values_KP, num_resamples, seed)
        for place, row in enumerate(rows):
            found[row] = _paired(values_KP[place], estimates[place], spans_2KB[:, place])
    return [found[row] for row in range(len(differences_KP))]


def _paired(differences_P: NDArray[np.float64], estimate: Estimate, spans_2B: NDArray[np.float64]) -> PairedDifference:
    """The paired difference of a bootstrap's estimate and the spans of the sign patterns."""
    p_value = _p_value(differences_P, spans_2B)
    low, high = _not_rejected(differences_P.size, spans_2B)
    if p_value >= _LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return PairedDifference(
        num_problems=differences_P.size,
        difference=_widened(estimate, low, high),
        p_value=p_value,
        std=float(differences_P.std(ddof=1)) if differences_P.size > 1 else nan,
    )


def _widened(estimate: Estimate, low: float, high: float) -> Estimate:
    """The estimate, its interval reaching from ``low`` to ``high`` at least; without one where these are infinite."""
    if isinf(low) or isinf(high):
        return Estimate(estimate.mean, nan, nan)
    return Estimate(estimate.mean, min(estimate.low, low), max(estimate.high, high))
