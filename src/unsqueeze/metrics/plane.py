"""The plane (Avg@n, Pass@k): the paths of trainings in it, their hypervolume, and the gap at equal Avg.

A training trades exploration for accuracy, and its checkpoints are points of a path. Two trainings are compared by what
their paths reach, not by where they happen to stop:

- the *hypervolume* of a path over a reference point r is the area of ∪ [r_1, avg] × [r_2, pass] over its points;
- the *gap at equal Avg* of a point of one path is its Pass@k less what the rival's path has at the same Avg, on the
  upper hull of the rival's points: the largest Pass@k of any mixture of two of them that has this Avg. Beyond the least
  and the greatest Avg of the rival nothing is known of it: there is no gap there, and what is told instead is the
  difference to the rival's end, at the Avg that it has.

Of several seeds a path is that of the means over seeds, point by point. Both the largest area and the upper hull are
maxima over noisy points and so a little too high; as the rival's hull is the one that is raised, a gap errs against
the arm.

Intervals are of a bootstrap over problems and seeds at once, crossed (Owen, The Pigeonhole Bootstrap, Ann. Appl. Stat.
1, 2007, 386–411): every resample weighs problems and seeds, the same for all arms, so that differences are paired by
problem and by seed. What is left of noise between problem and seed is counted with both, so intervals are no narrower
than they should be. Problems get the weights of ``metrics.intervals``. Seeds are few, and a resample of five of them
never leaves the range of the five: their weights are 1/S + t/z · (g_s − ḡ) / √(S (S − 1)) with standard normal g, under
which a mean over seeds varies as Student's interval says. One seed has no spread: the interval is over problems then.

Axes: S seeds, F points of a path, P problems, B resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels
from unsqueeze.metrics.intervals import Estimate, problem_weights, student_quantile
from unsqueeze.metrics.passk import pass_at_k_per_problem

REFERENCE = (0.0, 0.0)
"""The reference point of hypervolumes: below everything, so that no path and no base moves it."""
_CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""What two sums of the same numbers may differ by, such as the Avg of a base that both paths begin with."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The points of one arm: how many of how many samples of every problem were correct, by seed and point.

    num_correct_SFP, num_samples_SFP: integers of one shape (S, F, P), or num_samples_SFP one that broadcasts to it. The
    F points follow each other in training and are the same steps for every seed; the P problems are those of all arms,
    in one order. Samples that were not judged count as wrong.
    """

    num_correct_SFP: NDArray[np.int64]
    num_samples_SFP: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.num_correct_SFP.ndim != 3 or 0 in self.num_correct_SFP.shape:
            raise UserError(
                f"plane: the counts of a path have shape {self.num_correct_SFP.shape}; give seeds × points × problems, "
                "one of each at least, and as many points for every seed."
            )
        samples = np.broadcast_to(self.num_samples_SFP, self.num_correct_SFP.shape)
        if (self.num_correct_SFP < 0).any() or (self.num_correct_SFP > samples).any():
            raise UserError("plane: correct counts must lie between 0 and the samples.")

    @property
    def num_seeds(self) -> int:
        return int(self.num_correct_SFP.shape[0])

    @property
    def num_points(self) -> int:
        return int(self.num_correct_SFP.shape[1])

    def values(self, k: int) -> NDArray[np.float64]:
        """Avg@n and Pass@k of every problem, shape (2, S, F, P). UserError where one has fewer than k samples."""
        samples = np.broadcast_to(self.num_samples_SFP, self.num_correct_SFP.shape)
        if samples.min() < k:
            raise UserError(
                f"plane: a problem has {samples.min()} samples, and Pass@{k} takes {k}; give a smaller k, or more "
                "samples."
            )
        shape = self.num_correct_SFP.shape
        flat = (samples.reshape(-1), self.num_correct_SFP.reshape(-1))
        return np.stack([pass_at_k_per_problem(*flat, each).reshape(shape) for each in (1, k)])


@dataclass(frozen=True, slots=True)
class PlanePoint:
    """A point of a path: its Avg@n and Pass@k, each with its interval over problems and seeds."""

    avg: Estimate
    pass_at_k: Estimate


@dataclass(frozen=True, slots=True)
class PathSummary:
    """The points of a path, and its hypervolume over the reference point."""

    points: list[PlanePoint]
    hypervolume: Estimate
    num_seeds: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Pass@k of a point less that of a rival's path at the same Avg.

    ``where``: "inside" the rival's range of Avg, or "below" or "above" it; outside ``gap`` is NaN throughout.
    ``to_end`` is then the difference in Pass@k to the rival's end on that side, which has another Avg (``end_avg``);
    inside it is None. ``share_inside``: of the resamples; in those outside, the rival's end stood for what it does not
    have, so that an interval with a small share says little about equal Avg.
    """

    avg: float
    pass_at_k: float
    rival: float
    where: str
    gap: Estimate
    share_inside: float
    to_end: Estimate | None = None
    end_avg: float = nan

    def to_json_object(self) -> dict[str, object]:
        """Return everything; what is undefined is null."""
        return {
            "avg": self.avg,
            "pass_at_k": self.pass_at_k,
            "rival": None if isnan(self.rival) else self.rival,
            "where": self.where,
            "gap": self.gap.to_json_object(),
            "share_inside": self.share_inside,
            "to_end": None if self.to_end is None else self.to_end.to_json_object(),
            "end_avg": None if isnan(self.end_avg) else self.end_avg,
        }


@dataclass(frozen=True, slots=True)
class PathComparison:
    """An arm against a rival: the gap at equal Avg of every point of the arm, and the difference of hypervolumes."""

    gaps: list[Gap]
    hypervolume: Estimate

    @property
    def last(self) -> Gap:
        """The gap of the arm's last point, where its training ended."""
        return self.gaps[-1]

    def to_json_object(self) -> dict[str, object]:
        return {
            "last": self.last.to_json_object(),
            "gaps": [gap.to_json_object() for gap in self.gaps],
            "hypervolume": self.hypervolume.to_json_object(),
        }


class Plane:
    """Several arms in one plane, with one draw of problems and seeds for all of them.

    UserError where arms differ in their problems, or in their number of seeds: one may have a single one, such as a
    base, which then stands beside every seed.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        k: int,
        *,
        strata: Labels | None = None,
        reference: tuple[float, float] = REFERENCE,
        num_resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        problems = {name: path.num_correct_SFP.shape[2] for name, path in paths.items()}
        if len(set(problems.values())) != 1:
            raise UserError(f"plane: the arms need the same problems, and have {_told(problems)}.")
        seeds = {name: path.num_seeds for name, path in paths.items()}
        if len(set(seeds.values()) - {1}) > 1:
            raise UserError(f"plane: the arms need as many seeds each, or a single one, and have {_told(seeds)}.")
        if not all(0 <= each < 1 for each in reference):
            raise UserError(f"plane: the reference point is {reference}; give two numbers from 0 on and below 1.")
        self._reference = reference
        self._num_seeds = seeds
        most = max(seeds.values())
        rng = np.random.default_rng(seed)
        weights_BP = problem_weights(
            rng, next(iter(problems.values())), strata=strata, confidence=_CONFIDENCE, num_resamples=num_resamples
        )
        weights_BS = _seed_weights(rng, most, num_resamples)
        # The mean itself is the resample in which everything weighs the same, and stands before the others.
        weights_BP = np.vstack([np.full(weights_BP.shape[1], 1 / weights_BP.shape[1]), weights_BP])
        weights_BS = np.vstack([np.full(most, 1 / most), weights_BS])
        self._means = {name: _path_means(path.values(k), weights_BP, weights_BS) for name, path in paths.items()}

    def summary(self, name: str) -> PathSummary:
        """The points of an arm and its hypervolume, with intervals."""
        avg_BF, pass_BF = self._means[name]
        points = [
            PlanePoint(_estimate(avg_B), _estimate(pass_B)) for avg_B, pass_B in zip(avg_BF.T, pass_BF.T, strict=True)
        ]
        return PathSummary(points, _estimate(self._hypervolumes(name)), self._num_seeds[name])

    def compare(self, arm: str, rival: str) -> PathComparison:
        """Gaps at equal Avg of the points of ``arm`` on the hull of ``rival``, and hypervolume less hypervolume."""
        avg_BF, pass_BF = self._means[arm]
        gaps = [_gap(avg_B, pass_B, *self._means[rival]) for avg_B, pass_B in zip(avg_BF.T, pass_BF.T, strict=True)]
        return PathComparison(gaps, _estimate(self._hypervolumes(arm) - self._hypervolumes(rival)))

    def _hypervolumes(self, name: str) -> NDArray[np.float64]:
        avg_BF, pass_BF = self._means[name]
        return hypervolume(avg_BF, pass_BF, self._reference)


def hypervolume(
    avg_BF: NDArray[np.float64], pass_BF: NDArray[np.float64], reference: tuple[float, float] = REFERENCE
) -> NDArray[np.float64]:
    """The area of ∪_f [r_1, avg_f] × [r_2, pass_f], r being ``reference``, of every row of points; shape (B,).

    A point that is below the reference in a coordinate adds nothing.
    """
    order = np.argsort(-avg_BF, axis=1)
    wide_BF = np.maximum(np.take_along_axis(avg_BF, order, axis=1) - reference[0], 0.0)
    high_BF = np.maximum(np.take_along_axis(pass_BF, order, axis=1) - reference[1], 0.0)
    # From the right: between a point and the next one to its left, the area is as high as the highest so far.
    widths_BF = wide_BF - np.concatenate([wide_BF[:, 1:], np.zeros((len(wide_BF), 1))], axis=1)
    area_B: NDArray[np.float64] = (widths_BF * np.maximum.accumulate(high_BF, axis=1)).sum(axis=1)
    return area_B


def upper_hull_at(
    at_B: NDArray[np.float64], x_BF: NDArray[np.float64], y_BF: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The upper (concave) hull of every row of points at ``at_B``: the largest y of a mixture of two of them that has
    this x. NaN outside of the points' range of x. Shape (B,).
    """
    best_B = np.full(at_B.shape, -np.inf)
    num_points = x_BF.shape[1]
    for i in range(num_points):
        left_B, low_B = x_BF[:, i], y_BF[:, i]
        # Pairs of point i with every other: i left of (or at) the place, the other right of (or at) it.
        span_BF = x_BF - left_B[:, None]
        fits_BF = (left_B <= at_B)[:, None] & (x_BF >= at_B[:, None])
        share_BF = np.divide(
            (at_B - left_B)[:, None], span_BF, out=np.zeros_like(span_BF), where=fits_BF & (span_BF > 0)
        )
        # Where both have the same x, the place is there too, and each of the two is a candidate by itself.
        mixed_BF = np.where(fits_BF, low_B[:, None] + share_BF * (y_BF - low_B[:, None]), -np.inf)
        best_B = np.maximum(best_B, mixed_BF.max(axis=1))
    return np.where(np.isfinite(best_B), best_B, nan)


def _gap(
    avg_B: NDArray[np.float64],
    pass_B: NDArray[np.float64],
    rival_avg_BF: NDArray[np.float64],
    rival_pass_BF: NDArray[np.float64],
) -> Gap:
    """The gap of one point. The first of the B is the estimate itself, the others are resamples."""
    low_B, high_B = rival_avg_BF.min(axis=1), rival_avg_BF.max(axis=1)
    inside_B = (low_B - _ROUNDING <= avg_B) & (avg_B <= high_B + _ROUNDING)
    rival_B = upper_hull_at(np.clip(avg_B, low_B, high_B), rival_avg_BF, rival_pass_BF)
    difference = _estimate(pass_B - rival_B)
    inside = bool(inside_B[0])
    where = "inside" if inside else "below" if avg_B[0] < low_B[0] else "above"
    return Gap(
        avg=float(avg_B[0]),
        pass_at_k=float(pass_B[0]),
        rival=float(rival_B[0]) if inside else nan,
        where=where,
        gap=difference if inside else Estimate(nan, nan, nan),
        share_inside=float(inside_B[1:].mean()),
        to_end=None if inside else difference,
        end_avg=nan if inside else float(low_B[0] if where == "below" else high_B[0]),
    )


def _path_means(
    values_2SFP: NDArray[np.float64], weights_BP: NDArray[np.float64], weights_BS: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Avg@n and Pass@k of every resample and point, shape (2, B, F). They stay in [0, 1]."""
    _, num_seeds, num_points, num_problems = values_2SFP.shape
    by_seed_NB = values_2SFP.reshape(-1, num_problems) @ weights_BP.T
    by_seed_2SFB = by_seed_NB.reshape(2, num_seeds, num_points, -1)
    # A single seed beside several has no weight to share: it stands for each of them.
    weights_BS = weights_BS if num_seeds > 1 else np.ones((len(weights_BS), 1))
    means_2BF: NDArray[np.float64] = np.einsum("asfb,bs->abf", by_seed_2SFB, weights_BS)
    return means_2BF.clip(0.0, 1.0)


def _seed_weights(rng: np.random.Generator, num_seeds: int, num_resamples: int) -> NDArray[np.float64]:
    """Weights of the seeds that add up to 1 and may be negative, shape (B, S); see the module's docstring."""
    if num_seeds == 1:
        return np.ones((num_resamples, 1))
    upper = (1 + _CONFIDENCE) / 2
    widening = student_quantile(upper, num_seeds - 1) / NormalDist().inv_cdf(upper)
    normal_BS = rng.standard_normal((num_resamples, num_seeds))
    centred_BS = normal_BS - normal_BS.mean(axis=1, keepdims=True)
    weights_BS: NDArray[np.float64] = 1 / num_seeds + widening * centred_BS / sqrt(num_seeds * (num_seeds - 1))
    return weights_BS


def _estimate(values_B: NDArray[np.float64]) -> Estimate:
    """The first value, and the quantiles of the others, widened to hold it."""
    mean = float(values_B[0])
    low, high = np.quantile(values_B[1:], [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Estimate(mean, min(mean, float(low)), max(mean, float(high)))


def _told(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in numbers.items())
