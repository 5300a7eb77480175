"""Two sides on the same problems: a model each, or several trainings of one, which differ in their seed.

Axes: S seeds (pairs of runs), P problems that all tallies have.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.paired import PairedDifference, paired_difference
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.power import required_problems
from unsqueeze.metrics.tally import Key, Tally


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
    first alone; of several seeds, pairs of a problem and a seed.
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
        }


def compare_tallies(
    first_S: Sequence[Tally], second_S: Sequence[Tally], ks: Iterable[int], *, seed: int = 0
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

    def rows_of(tally: Tally) -> NDArray[np.intp]:
        places = {key: place for place, key in enumerate(tally.keys)}
        return np.array([places[key] for key in shared], dtype=np.intp)

    rows = [[rows_of(tally) for tally in side] for side in sides]

    def values(side: int, k: int, *, open_right: bool) -> NDArray[np.float64]:
        """Pass@k of every seed and problem, shape (S, P)."""
        found = []
        for tally, rows_P in zip(sides[side], rows[side], strict=True):
            correct_P = tally.num_correct_P + tally.num_open_P if open_right else tally.num_correct_P
            found.append(pass_at_k_per_problem(tally.num_samples_P[rows_P], correct_P[rows_P], k))
        return np.stack(found)

    def contrast(k: int) -> Contrast:
        worst = [values(side, k, open_right=False) for side in (0, 1)]
        defined_P = np.isfinite(worst[0]).all(axis=0) & np.isfinite(worst[1]).all(axis=0)
        low, high = (
            [_mean(side_SP.mean(axis=0)[defined_P]) for side_SP in pair]
            for pair in (worst, [values(0, k, open_right=True), values(1, k, open_right=True)])
        )
        return Contrast(
            low[0],
            low[1],
            paired_difference(worst[0].mean(axis=0), worst[1].mean(axis=0), strata=strata, seed=seed),
            least=low[1] - high[0],
            greatest=high[1] - low[0],
            by_seed=tuple(_mean(difference_P) for difference_P in (worst[1] - worst[0])[:, defined_P]),
        )

    solved = [
        np.stack([tally.num_correct_P[rows_P] > 0 for tally, rows_P in zip(side, rows_S, strict=True)])
        for side, rows_S in zip(sides, rows, strict=True)
    ]
    return Comparison(
        num_problems=len(shared),
        num_unpaired=(_others(keys[0], shared), _others(keys[1], shared)),
        avg=contrast(1),
        pass_at={k: contrast(k) for k in sorted(set(ks))},
        num_not_judged=(_not_judged(first_S), _not_judged(second_S)),
        num_unreadable=len(unreadable),
        num_seeds=len(first_S),
        num_gained=int((solved[1] & ~solved[0]).sum()),
        num_lost=int((solved[0] & ~solved[1]).sum()),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else nan


def _not_judged(tally_S: Sequence[Tally]) -> int:
    """Count what was not judged; a tally that stands beside several seeds counts once."""
    return sum(tally.num_not_judged for tally in {id(tally): tally for tally in tally_S}.values())


def _others(keys_S: Sequence[Sequence[Key]], shared: Sequence[Key]) -> int:
    """Count the problems of a side that are not shared."""
    return len({key for keys in keys_S for key in keys} - set(shared))
