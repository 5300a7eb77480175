"""Intervals for a mean over problems, by a weighted bootstrap over problems.

The unit that is resampled is the problem, not the sample: samples of one problem are not independent evidence about a
benchmark. The plain percentile bootstrap is too narrow for the thirty problems of a contest (its nominal 95 % interval
covered 81 % to 96 % of the time in our simulations, ``benchmarks/coverage.py``), most of all where a few problems are
solved sometimes and the others never. So the weights here are Rubin's (The Bayesian Bootstrap, Ann. Statist. 9, 1981,
130–134) with two corrections, explained and measured in ``docs/statistics.md``:

- Gamma(c) instead of Gamma(1) weights, with c chosen so that the variance of the resampled mean is that of Student's
  interval, s²/n · (t/z)², instead of the too small s²/(n+1) · (n−1)/n;
- for values that lie between bounds, such as rates in [0, 1], one pseudo-problem at each bound with weight Gamma(φ/2),
  where φ in [0, 1] is the variance of the values as a share of the largest that their mean allows. For values that are
  0 or 1 that is the prior of Jeffreys (Beta(½, ½)); for values that hardly vary it is nothing.

Axes: P problems, M those of one stratum, D distinct ones of them, K values of each, B resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan, pi, sqrt, tan
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers

# Weights held at a time: 2**21 of 8 bytes, 16 MiB.
_CHUNK_WEIGHTS = 1 << 21
# Reached below six problems, where Student's correction would leave the weight to one problem and the bounds.
_SMALLEST_SHAPE = 0.25
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with the ends of its interval. NaN where undefined: no problem, or one problem (low and high only)."""

    mean: float
    low: float
    high: float

    def to_json_object(self) -> dict[str, float | None]:
        """``{"mean", "low", "high"}``; NaN, which JSON does not know, as null."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    @classmethod
    def from_json_object(cls, entry: Mapping[str, Any]) -> "Estimate":
        """Return the estimate that ``to_json_object`` wrote.

        KeyError where a number is missing, TypeError or ValueError where it is none.
        """
        return cls(*(nan if entry[name] is None else float(entry[name]) for name in ("mean", "low", "high")))


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t, by the Cornish–Fisher expansion (Abramowitz & Stegun 26.7.5); exact for 1 and 2 degrees.

    Right to 0.5 % at 95 % confidence from three degrees of freedom on, and to 1e-4 from ten.
    """
    if degrees == 1:
        return tan(pi * (probability - 0.5))
    if degrees == 2:
        return (2 * probability - 1) / sqrt(2 * probability * (1 - probability))
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))


def strata_of(num_problems: int, strata: Labels | None) -> list[NDArray[np.intp]]:
    """The positions of the problems of each stratum. One stratum where ``strata`` is None."""
    if strata is None:
        return [np.arange(num_problems)]
    labels_P = np.asarray(strata)
    if labels_P.shape != (num_problems,):
        raise UserError(f"intervals: {labels_P.size} strata for {num_problems} problems; give one each.")
    _, where_P = np.unique(labels_P, return_inverse=True)
    return [np.flatnonzero(where_P == stratum) for stratum in range(where_P.max(initial=-1) + 1)]


def _variance_share(values: NDArray[np.float64]) -> float:
    """φ: the variance of values in [0, 1] as a share of mean · (1 − mean), the largest it can be. 1 at a bound."""
    mean = float(values.mean())
    largest = mean * (1 - mean)
    if largest <= 0 or values.size < 2:
        return 1.0
    return min(1.0, float(values.var(ddof=1)) / largest)


def _resampled_means(
    rng: np.random.Generator,
    values_KM: NDArray[np.float64],
    shape: float,
    bound_shapes: Sequence[float],
    num_resamples: int,
) -> NDArray[np.float64]:
    """Weighted means of the M problems of one stratum, with Gamma(shape) weights and a pseudo-value at 0 and at 1.

    The K values of a problem share its weight; the weights of the bounds are each row's own. Shape (K, B).
    """
    # Every row draws its bounds from the same place; the first one last, so that its weights follow as if alone.
    begun = rng.bit_generator.state
    bounds_K2B: list[list[NDArray[np.float64]]] = []
    for bound_shape in reversed(bound_shapes):
        rng.bit_generator.state = begun
        bounds_K2B.insert(0, [rng.standard_gamma(bound_shape, num_resamples) for _ in range(2)])
    means_KB = np.empty((len(values_KM), num_resamples))
    # Equal problems share one weight: a sum of gammas of one scale is a gamma again.
    distinct_KD, counts_D = np.unique(values_KM, axis=1, return_counts=True)
    chunk = max(1, _CHUNK_WEIGHTS // counts_D.size)
    for start in range(0, num_resamples, chunk):
        part = slice(start, min(start + chunk, num_resamples))
        # The gammas of a small shape can all underflow to 0; then the weights are equal.
        weights_BD = rng.standard_gamma(shape * counts_D, (part.stop - start, counts_D.size)) + _TINY
        sums_B = weights_BD.sum(axis=1)
        for means_B, distinct_D, (low_B, high_B) in zip(means_KB, distinct_KD, bounds_K2B, strict=True):
            means_B[part] = (weights_BD @ distinct_D + high_B[part]) / (sums_B + low_B[part] + high_B[part])
    return means_KB


def bootstrap_means(
    values_KP: NDArray[np.float64],
    *,
    strata: Labels | None = None,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Means of ``num_resamples`` weighted resamples of the problems, each stratum resampled within itself.

    values_KP: K values of every problem, such as Pass@k at K ks, which share its weights. Each row is resampled as it
    would be alone but for the draw of the weights; the first row is drawn as alone. ``confidence`` is the one the
    quantiles will be taken at: the correction t/z depends on it a little. Returns shape (K, B).
    """
    rng = np.random.default_rng(seed)
    num_problems = values_KP.shape[1]
    groups = strata_of(num_problems, strata)
    offset, scale = (bounds[0], bounds[1] - bounds[0]) if bounds else (0.0, 1.0)
    narrowing = _narrowing(num_problems, len(groups), confidence)
    means_KB = np.zeros((len(values_KP), num_resamples))
    for members in groups:
        values_KM = (values_KP[:, members] - offset) / scale
        shape = _shape(members.size, narrowing)
        share = members.size / num_problems
        bound_shapes = [_variance_share(values_M) / 2 * share if bounds else 0.0 for values_M in values_KM]
        means_KB += share * (offset + scale * _resampled_means(rng, values_KM, shape, bound_shapes, num_resamples))
    return means_KB


def problem_weights(
    rng: np.random.Generator,
    num_problems: int,
    *,
    strata: Labels | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
) -> NDArray[np.float64]:
    """Weights of the problems in ``num_resamples`` resamples, each adding up to 1, as ``bootstrap_means`` draws them.

    For statistics that are no means. Without pseudo-problems at bounds. A single problem weighs 1. Shape (B, P).
    """
    groups = strata_of(num_problems, strata)
    narrowing = _narrowing(num_problems, len(groups), confidence)
    weights_BP = np.empty((num_resamples, num_problems))
    for members in groups:
        drawn_BM = rng.standard_gamma(_shape(members.size, narrowing), (num_resamples, members.size)) + _TINY
        weights_BP[:, members] = members.size / num_problems * drawn_BM / drawn_BM.sum(axis=1, keepdims=True)
    return weights_BP


def _narrowing(num_problems: int, num_strata: int, confidence: float) -> float:
    """(z/t)²."""
    upper = (1 + confidence) / 2
    student = student_quantile(upper, max(1, num_problems - num_strata))
    return (NormalDist().inv_cdf(upper) / student) ** 2


def _shape(num_members: int, narrowing: float) -> float:
    """The shape c of the weights of one stratum.

    The mean of n values with Dirichlet(c, …, c) weights has the variance (population variance) / (n c + 1).
    """
    return max(_SMALLEST_SHAPE, ((num_members - 1) * narrowing - 1) / num_members)


def bootstrap_mean(
    values_P: Numbers,
    *,
    strata: Labels | None = None,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean over problems with its interval by weighted bootstrap over problems.

    values_P: finite floats, shape (P,), in any unit. The rest is as for ``bootstrap_each``.
    """
    values_P = np.asarray(values_P, dtype=np.float64).reshape(-1)
    (estimate,) = bootstrap_each(
        values_P[np.newaxis],
        strata=strata,
        bounds=bounds,
        confidence=confidence,
        num_resamples=num_resamples,
        seed=seed,
    )
    return estimate


def bootstrap_each(
    values_KP: Numbers,
    *,
    strata: Labels | None = None,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[Estimate]:
    """The means of K values of the same problems, each with its interval; one draw of weights serves all.

    values_KP: finite floats, shape (K, P), in any unit. strata: one label per problem, or None; problems are resampled
    inside their stratum, and the mean is over all problems. bounds: the least and the largest value there can be, where
    there are such; give (0, 1) for rates, so that thirty zeros do not look like certainty. No problem gives NaN
    throughout; a single one gives no interval. Raises UserError for values that are not finite or out of bounds.
    """
    values_KP = np.asarray(values_KP, dtype=np.float64)
    if not 0 < confidence < 1:
        raise UserError(f"intervals: confidence is {confidence}; it must lie between 0 and 1, such as 0.95.")
    if not np.isfinite(values_KP).all():
        raise UserError("intervals: a value is NaN or infinite; leave problems without a value out.")
    if bounds and values_KP.size and not (bounds[0] <= values_KP.min() and values_KP.max() <= bounds[1]):
        raise UserError(
            f"intervals: a value lies outside the bounds {bounds}; give bounds that hold them all, or none."
        )
    if values_KP.size == 0:
        return [Estimate(nan, nan, nan)] * len(values_KP)
    means = [float(values_P.mean()) for values_P in values_KP]
    if values_KP.shape[1] == 1:
        return [Estimate(mean, nan, nan) for mean in means]
    means_KB = bootstrap_means(
        values_KP, strata=strata, bounds=bounds, confidence=confidence, num_resamples=num_resamples, seed=seed
    )
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    return [
        Estimate(mean, min(mean, float(low)), max(mean, float(high)))
        for mean, (low, high) in zip(means, (np.quantile(means_B, ends) for means_B in means_KB), strict=True)
    ]
