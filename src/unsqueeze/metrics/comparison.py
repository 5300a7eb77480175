"""Two tallies of the same problems, side by side.

Axes: P problems that both tallies have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.paired import PairedDifference, paired_difference
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.power import required_problems
from unsqueeze.metrics.tally import Tally


@dataclass(frozen=True, slots=True)
class Contrast:
    """One metric of two models: the mean of each over the problems that have it, and the paired difference.

    Samples that were not judged count as wrong. Were they right on one side alone, the difference would lie between
    ``least`` and ``greatest``.
    """

    first: float
    second: float
    paired: PairedDifference
    least: float = nan
    greatest: float = nan

    def required_problems(self, difference: float) -> int | None:
        """Problems needed to see ``difference`` (a share, 0.05 for five points) with power 0.8.

        None where nothing is known of how differences vary: fewer than two problems, or all differences equal.
        """
        known = isfinite(self.paired.std) and self.paired.std > 0
        return required_problems(difference, self.paired.std) if known else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Change from first to second. ``num_unpaired``: problems that only the first, and only the second,
    has; ``num_not_judged``: samples of each that count as wrong; ``num_unreadable``: problems that take no part, since
    one side could not read their gold answer."""

    num_problems: int
    num_unpaired: tuple[int, int]
    avg: Contrast
    pass_at: dict[int, Contrast]
    num_not_judged: tuple[int, int] = (0, 0)
    num_unreadable: int = 0

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
        }


def compare_tallies(first: Tally, second: Tally, ks: Iterable[int], *, seed: int = 0) -> Comparison:
    """Avg@n and Pass@k, paired by benchmark and problem id; intervals stratified by benchmark.

    The number of samples may differ between the two and between problems: every estimate is unbiased at its own n.
    """
    unreadable = {*first.unreadable, *second.unreadable}
    keys = [[key for key in tally.keys if key not in unreadable] for tally in (first, second)]
    places = [{key: place for place, key in enumerate(tally.keys)} for tally in (first, second)]
    theirs = set(keys[1])
    shared = [key for key in keys[0] if key in theirs]
    rows = [np.array([side[key] for key in shared], dtype=np.intp) for side in places]
    strata = [benchmark for benchmark, _ in shared]

    def values(side: int, k: int, *, open_right: bool) -> NDArray[np.float64]:
        tally, rows_P = (first, second)[side], rows[side]
        correct_P = tally.num_correct_P + tally.num_open_P if open_right else tally.num_correct_P
        return pass_at_k_per_problem(tally.num_samples_P[rows_P], correct_P[rows_P], k)

    def contrast(k: int) -> Contrast:
        worst = [values(side, k, open_right=False) for side in (0, 1)]
        defined_P = np.isfinite(worst[0]) & np.isfinite(worst[1])
        low, high = (
            [_mean(side[defined_P]) for side in sides]
            for sides in (worst, [values(0, k, open_right=True), values(1, k, open_right=True)])
        )
        return Contrast(
            low[0],
            low[1],
            paired_difference(worst[0], worst[1], strata=strata, seed=seed),
            least=low[1] - high[0],
            greatest=high[1] - low[0],
        )

    return Comparison(
        num_problems=len(shared),
        num_unpaired=(len(keys[0]) - len(shared), len(keys[1]) - len(shared)),
        avg=contrast(1),
        pass_at={k: contrast(k) for k in sorted(set(ks))},
        num_not_judged=(first.num_not_judged, second.num_not_judged),
        num_unreadable=len(unreadable),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else nan
