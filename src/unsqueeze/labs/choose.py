"""The choice of a learning rate, from evaluations on validation problems alone.

A run's path is a sequence of points (Avg@n, Pass@n), shares in [0, 1], one for every validated checkpoint in order.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np

from unsqueeze.metrics.plane import hypervolume

Criterion = Literal["area", "avg", "pass_at_n"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen of the factors, and the mean score of each over the seeds of the search."""

    factor: float
    scores: Mapping[float, float]


def choose(paths: Mapping[float, Sequence[Sequence[Point]]], criterion: Criterion) -> Choice | None:
    """Choose among factors by the paths of their runs, one for each seed of the search.

    A factor is a candidate only where it has as many runs as any other: a failed run is not passed over in favour of
    those that went well. Of equal scores the factor nearest to 1 wins. None where no run has a path.
    """
    most = max((len(found) for found in paths.values()), default=0)
    scores = {
        factor: fmean(score(path, criterion) for path in found)
        for factor, found in paths.items()
        if found and len(found) == most
    }
    if not scores:
        return None
    return Choice(max(scores, key=lambda factor: (scores[factor], -abs(math.log(factor)))), scores)


def beyond(tried: Collection[float], best: float) -> float | None:
    """Return the factor to try next where the best of those tried is the largest or the smallest: as far from it as it
    is from its neighbour, by ratio. None where it lies between others, or is the only one.
    """
    ordered = sorted(tried)
    if len(ordered) < 2 or best not in (ordered[0], ordered[-1]):
        return None
    neighbour = ordered[-2] if best == ordered[-1] else ordered[1]
    return best * best / neighbour


def score(path: Sequence[Point], criterion: Criterion) -> float:
    """What a path is worth: Avg@n or Pass@n at its end, or the area that all of its points dominate."""
    if criterion == "avg":
        return path[-1][0]
    if criterion == "pass_at_n":
        return path[-1][1]
    return dominated_area(path)


def dominated_area(points: Sequence[Point]) -> float:
    """Area of the union of the rectangles from (0, 0) to each point: the hypervolume of the plane, reference (0, 0)."""
    avg_BF, pass_BF = np.array([points], dtype=np.float64).reshape(1, -1, 2).transpose(2, 0, 1)
    return float(hypervolume(avg_BF, pass_BF)[0])
