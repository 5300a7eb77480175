"""Bootstrap intervals over problems.

The unit that is resampled is the problem, not the sample: samples of one problem are not independent evidence about a
benchmark. Axes: P problems, B resamples.
"""

from dataclasses import asdict, dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unsqueeze.errors import UserError

# Resample indices held at a time: 2**21 of 8 bytes, 16 MiB.
_CHUNK_INDICES = 1 << 21


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with the ends of its interval. NaN where undefined: no problem, or one problem (low and high only)."""

    mean: float
    low: float
    high: float

    def to_json_object(self) -> dict[str, float | None]:
        """``{"mean", "low", "high"}``; NaN, which JSON does not know, as null."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def stratum_indices(num_problems: int, strata: ArrayLike | None) -> list[NDArray[np.intp]]:
    """The positions of the problems of each stratum. One stratum where ``strata`` is None."""
    if strata is None:
        return [np.arange(num_problems)]
    labels_P = np.asarray(strata)
    if labels_P.shape != (num_problems,):
        raise UserError(f"intervals: {labels_P.size} strata for {num_problems} problems; give one each.")
    _, where_P = np.unique(labels_P, return_inverse=True)
    return [np.flatnonzero(where_P == stratum) for stratum in range(where_P.max(initial=-1) + 1)]


def bootstrap_means(
    values_P: NDArray[np.float64], *, strata: ArrayLike | None, num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Means of ``num_resamples`` resamples of the problems, each stratum resampled within itself. Shape (B,)."""
    rng = np.random.default_rng(seed)
    sums_B = np.zeros(num_resamples)
    for members in stratum_indices(values_P.size, strata):
        chunk = max(1, _CHUNK_INDICES // members.size)
        for start in range(0, num_resamples, chunk):
            stop = min(start + chunk, num_resamples)
            picks = rng.integers(members.size, size=(stop - start, members.size))
            sums_B[start:stop] += values_P[members][picks].sum(axis=1)
    return sums_B / values_P.size


def bootstrap_mean(
    values_P: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean over problems with its interval by bootstrap over problems.

    values_P: finite floats, shape (P,). strata: one label per problem, or None; problems are resampled inside their
    stratum, and the mean is over all problems. No problem gives NaN throughout; a single one gives no interval.
    """
    values_P = np.asarray(values_P, dtype=np.float64).reshape(-1)
    if not 0 < confidence < 1:
        raise UserError(f"intervals: confidence is {confidence}; it must lie between 0 and 1, such as 0.95.")
    if not np.isfinite(values_P).all():
        raise UserError("intervals: a value is NaN or infinite; leave problems without a value out.")
    if values_P.size == 0:
        return Estimate(nan, nan, nan)
    mean = float(values_P.mean())
    if values_P.size == 1:
        return Estimate(mean, nan, nan)
    means_B = bootstrap_means(values_P, strata=strata, num_resamples=num_resamples, seed=seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_B, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high))
