"""Two sides on the same problems: a model each, or several trainings of one, which differ in their seed.

Axes: S seeds (pairs of runs), P problems that all tallies have.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.cover import TAUS
from unsqueeze.metrics.paired import PairedDifference, paired_differences
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.power import required_problems
from unsqueeze.metrics.reliability_summary import Reliability, reliability_of
from unsqueeze.metrics.tally import Key, Tally
from unsqueeze.metrics.turnover import Turnover, largest_k, turnover


@dataclass(frozen=True, slots=True)
class Contrast:
    """One metric of two sides: the mean of each over the problems that have it, and the paired difference.

    Of several seeds, a problem's value is its mean over them; ``by_seed`` has the difference of each pair of runs.
    Samples that were not judged count as wrong. Were they right on one side alone, the difference would lie between
    ``least`` and ``greatest``.
    """

    first: float
    second: float
    paired: PairedDifference
    least: float = nan
    greatest: float = nan
    by_seed: tuple[float, ...] = ()

    def required_problems(self, difference: float) -> int | None:
        """Problems needed to see ``difference`` (a share, 0.05 for five points) with power 0.8.

        None where nothing is known of how differences vary: fewer than two problems, or all differences equal.
        """
        known = isfinite(self.paired.std) and self.paired.std > 0
        return required_problems(difference, self.paired.std) if known else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Change from first to second.

    ``num_unpaired``: problems of the first side, and of the second, that are not in every tally. ``num_not_judged``:
    samples of each that count as wrong; ``num_unreadable``: problems that take no part, since one side could not read
    their gold answer. ``num_gained`` problems were solved by a sample of the second side alone, ``num_lost`` of the
    first alone; of several seeds, pairs of a problem and a seed. ``turnover`` says where these lie and how many are
    lost by chance; None where the first has fewer than two samples of a problem. ``reliability`` has pass^k, G-Pass@k
    and Cover@τ, the last as the samples show it: compare it at equal n.
    """

    num_problems: int
    num_unpaired: tuple[int, int]
    avg: Contrast
    pass_at: dict[int, Contrast]
    num_not_judged: tuple[int, int] = (0, 0)
    num_unreadable: int = 0
    num_seeds: int = 1
    num_gained: int = 0
    num_lost: int = 0
    turnover: Turnover | None = None
    reliability: Reliability[Contrast] = field(default_factory=Reliability)

    def to_json_object(self, *, difference: float) -> dict[str, object]:
        """Return everything, with the number of problems needed to see ``difference``. What is undefined is null."""

        def entry(contrast: Contrast) -> dict[str, object]:
            paired = contrast.paired
            numbers = {
                "first": contrast.first,
                "second": contrast.second,
                "difference": paired.difference.mean,
                "low": paired.difference.low,
                "high": paired.difference.high,
                "p_value": paired.p_value,
                "least": contrast.least,
                "greatest": contrast.greatest,
            }
            return {
                **{name: value if isfinite(value) else None for name, value in numbers.items()},
                "n_problems": paired.num_problems,
                "required_problems": contrast.required_problems(difference),
                "by_seed": [each if isfinite(each) else None for each in contrast.by_seed],
            }

        return {
            "n_problems": self.num_problems,
            "n_unpaired_first": self.num_unpaired[0],
            "n_unpaired_second": self.num_unpaired[1],
            "to_see": difference,
            "avg": entry(self.avg),
            "pass_at": {str(k): entry(contrast) for k, contrast in self.pass_at.items()},
            "num_not_judged_first": self.num_not_judged[0],
            "num_not_judged_second": self.num_not_judged[1],
            "num_unreadable": self.num_unreadable,
            "n_seeds": self.num_seeds,
            "num_gained": self.num_gained,
            "num_lost": self.num_lost,
            "turnover": None if self.turnover is None else self.turnover.to_json_object(),
            "reliability": self.reliability.to_json_object(entry),
        }


def compare_tallies(
    first_S: Sequence[Tally],
    second_S: Sequence[Tally],
    ks: Iterable[int],
    *,
    taus: Sequence[float] = TAUS,
    seed: int = 0,
) -> Comparison:
    """Avg@n and Pass@k, paired by benchmark, problem id and seed; intervals over problems, stratified by benchmark.

    The s-th tally of one side is paired with the s-th of the other. The unit that is resampled, and whose sign is
    flipped, is the problem, with its values of all seeds together: they are no independent evidence about a benchmark.
    The number of samples may differ between tallies and between problems: every estimate is unbiased at its own n.
    """
    sides = (first_S, second_S)
    unreadable = {key for tally in (*first_S, *second_S) for key in tally.unreadable}
    keys = [[[key for key in tally.keys if key not in unreadable] for tally in side] for side in sides]
    theirs = [set(found) for side in keys for found in side]
    shared = [key for key in keys[0][0] if all(key in found for found in theirs)]
    strata = [benchmark for benchmark, _ in shared]
    wanted = sorted({1, *ks})
    counts = [[_counts(tally, shared) for tally in side] for side in sides]

    def values(side: int, *, open_right: bool) -> NDArray[np.float64]:
        """All metrics of every seed and problem, shape (K, S, P)."""
        found = []
        for samples_P, correct_P, open_P in counts[side]:
            right_P = correct_P + open_P if open_right else correct_P
            pass_at = [pass_at_k_per_problem(samples_P, right_P, k) for k in wanted]
            found.append([*pass_at, *reliability_of(samples_P, right_P, wanted, taus).flat()])
        return np.array(found).swapaxes(0, 1)

    worst = [values(side, open_right=False) for side in (0, 1)]
    best = [values(side, open_right=True) for side in (0, 1)]
    paired = paired_differences(worst[0].mean(axis=1), worst[1].mean(axis=1), strata=strata, seed=seed)
    contrasts = [_contrast(*each) for each in zip(*worst, *best, paired, strict=True)]
    pass_at = dict(zip(wanted, contrasts, strict=False))
    names = reliability_of(*counts[0][0][:2], wanted, taus)
    reliability = names.refilled(contrasts[len(wanted) :])

    judged = [[(samples_P, correct_P) for samples_P, correct_P, _ in side] for side in counts]
    solved = [np.stack([correct_P > 0 for _, correct_P in side]) for side in judged]
    fewest = [min(int(samples_P.min()) for samples_P, _ in side) if shared else 0 for side in judged]
    k = largest_k(*fewest)
    return Comparison(
        num_problems=len(shared),
        num_unpaired=(_others(keys[0], shared), _others(keys[1], shared)),
        avg=pass_at[1],
        pass_at={each: pass_at[each] for each in sorted(set(ks))},
        num_not_judged=(_not_judged(first_S), _not_judged(second_S)),
        num_unreadable=len(unreadable),
        num_seeds=len(first_S),
        num_gained=int((solved[1] & ~solved[0]).sum()),
        num_lost=int((solved[0] & ~solved[1]).sum()),
        turnover=turnover(judged[0], judged[1], k, strata=strata, seed=seed) if k else None,
        reliability=reliability,
    )


def _counts(tally: Tally, shared: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Samples, correct and open ones of the shared problems."""
    places = {key: place for place, key in enumerate(tally.keys)}
    rows_P = np.array([places[key] for key in shared], dtype=np.intp)
    return tally.num_samples_P[rows_P], tally.num_correct_P[rows_P], tally.num_open_P[rows_P]


def _contrast(
    first_SP: NDArray[np.float64],
    second_SP: NDArray[np.float64],
    first_best_SP: NDArray[np.float64],
    second_best_SP: NDArray[np.float64],
    paired: PairedDifference,
) -> Contrast:
    """One metric, of values by seed and problem, and of what they would be were all right that was not judged."""
    defined_P = np.isfinite(first_SP).all(axis=0) & np.isfinite(second_SP).all(axis=0)

    def mean(values_SP: NDArray[np.float64]) -> float:
        return _mean(values_SP.mean(axis=0)[defined_P])

    return Contrast(
        mean(first_SP),
        mean(second_SP),
        paired,
        least=mean(second_SP) - mean(first_best_SP),
        greatest=mean(second_best_SP) - mean(first_SP),
        by_seed=tuple(_mean(difference_P) for difference_P in (second_SP - first_SP)[:, defined_P]),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else nan


def _not_judged(tally_S: Sequence[Tally]) -> int:
    """Count what was not judged; a tally that stands beside several seeds counts once."""
    return sum(tally.num_not_judged for tally in {id(tally): tally for tally in tally_S}.values())


def _others(keys_S: Sequence[Sequence[Key]], shared: Sequence[Key]) -> int:
    """Count the problems of a side that are not shared."""
    return len({key for keys in keys_S for key in keys} - set(shared))
