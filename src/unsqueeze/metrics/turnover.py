"""Problems lost and gained against a base, by the base's success rate.

Let q_k be the chance that k samples of a problem are all wrong, estimated without bias by C(n − c, k) / C(n, k) =
1 − Pass@k. A problem is *lost* where k samples of the base solve it and k of the other side do not, and *gained* where
it is the other way round:

    lost = (1 − q_k) q'_k        gained = q_k (1 − q'_k)        gained − lost = Pass@k' − Pass@k

The two sides are sampled independently, so the products are unbiased as well. Some are lost by chance alone, since k
samples may miss what k others find. Of the base against itself that is q_k (1 − q_k) in the mean, for which q_k − q_2k
is unbiased where n ≥ 2 k: the chance that of two disjoint sets of k samples the first solves the problem and the second
does not. What is lost beyond that is a change of the model.

Axes: S seeds (pairs of runs), P problems.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.arrays import Labels
from unsqueeze.metrics.histogram import place_in_histogram
from unsqueeze.metrics.intervals import Estimate, bootstrap_mean
from unsqueeze.metrics.passk import pass_at_k_per_problem


@dataclass(frozen=True, slots=True)
class TurnoverBin:
    """Problems that the base solves at a rate within ``label``, and how many of them are lost and gained.

    ``lost``, ``gained`` and ``by_chance`` are expected numbers of problems, of k samples a problem. ``first`` and
    ``second`` are the mean shares of correct samples, NaN where there is no problem. A base's rate is that of its
    samples: where few of them were right, part of what moves is their luck, which ``by_chance`` counts.
    """

    label: str
    num_problems: int
    first: float
    second: float
    lost: float
    gained: float
    by_chance: float


@dataclass(frozen=True, slots=True)
class Turnover:
    """Shares of problems lost and gained with ``k`` samples, with 95 % intervals over problems, and where they lie.

    ``by_chance`` is the share that the base would lose against itself (and gain); ``beyond_chance`` is lost less that.
    """

    k: int
    num_problems: int
    lost: Estimate
    gained: Estimate
    by_chance: Estimate
    beyond_chance: Estimate
    bins: list[TurnoverBin]

    def to_json_object(self) -> dict[str, object]:
        """Return everything; what is undefined is null."""
        shares = {
            name: getattr(self, name).to_json_object() for name in ("lost", "gained", "by_chance", "beyond_chance")
        }
        bins = [{key: _or_null(value) for key, value in asdict(each).items()} for each in self.bins]
        return {"k": self.k, "n_problems": self.num_problems, **shares, "by_rate": bins}


def largest_k(num_samples_first: int, num_samples_second: int) -> int:
    """The most samples a side that both have, and the base twice over; 0 where it has fewer than two."""
    return max(0, min(num_samples_first // 2, num_samples_second))


def turnover(
    first_S: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    second_S: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    k: int,
    *,
    strata: Labels | None = None,
    seed: int = 0,
) -> Turnover:
    """Problems lost and gained from the first side to the second, with k samples each.

    Each side has a pair (num_samples_P, num_correct_P) a seed, on the same problems; a problem's values are their means
    over seeds. One with fewer than 2 k samples of the first side, or k of the second, takes no part.
    """
    lost_P, gained_P, chance_P = (np.mean(values_SP, axis=0) for values_SP in _values(first_S, second_S, k))
    defined_P = np.isfinite(lost_P + chance_P)
    labels = None if strata is None else np.asarray(strata)[defined_P]
    lost_P, gained_P, chance_P = lost_P[defined_P], gained_P[defined_P], chance_P[defined_P]

    def estimate(values_P: NDArray[np.float64], bounds: tuple[float, float] | None = (0.0, 1.0)) -> Estimate:
        return bootstrap_mean(values_P, strata=labels, bounds=bounds, seed=seed)

    samples_P, correct_P = (np.sum([side[of] for side in first_S], axis=0)[defined_P] for of in (0, 1))
    rates = [
        np.mean([correct_P / np.maximum(samples_P, 1) for samples_P, correct_P in side], axis=0)[defined_P]
        for side in (first_S, second_S)
    ]
    labels_of_bins, place_P = place_in_histogram(samples_P, correct_P)
    bins = []
    for place, label in enumerate(labels_of_bins):
        there_P = place_P == place
        found = bool(there_P.any())
        bins.append(
            TurnoverBin(
                label=label,
                num_problems=int(there_P.sum()),
                first=float(rates[0][there_P].mean()) if found else float("nan"),
                second=float(rates[1][there_P].mean()) if found else float("nan"),
                lost=float(lost_P[there_P].sum()),
                gained=float(gained_P[there_P].sum()),
                by_chance=float(chance_P[there_P].sum()),
            )
        )
    return Turnover(
        k=k,
        num_problems=int(defined_P.sum()),
        lost=estimate(lost_P),
        gained=estimate(gained_P),
        by_chance=estimate(chance_P),
        beyond_chance=estimate(lost_P - chance_P, None),
        bins=bins,
    )


def _values(
    first_S: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    second_S: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    k: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lost, gained, and lost by chance, of every seed and problem, shape (S, P)."""
    lost, gained, chance = [], [], []
    for (samples_P, correct_P), (others_P, right_P) in zip(first_S, second_S, strict=True):
        solved_P = pass_at_k_per_problem(samples_P, correct_P, k)
        other_P = pass_at_k_per_problem(others_P, right_P, k)
        lost.append(solved_P * (1 - other_P))
        gained.append((1 - solved_P) * other_P)
        chance.append(pass_at_k_per_problem(samples_P, correct_P, 2 * k) - solved_P)
    return np.stack(lost), np.stack(gained), np.stack(chance)


def _or_null(value: object) -> object:
    return None if isinstance(value, float) and not isfinite(value) else value
