"""Two tallies of the same problems, side by side.

Axes: P problems that both tallies have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from unsqueeze.metrics.paired import PairedDifference, paired_difference
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.power import required_problems
from unsqueeze.metrics.tally import Tally


@dataclass(frozen=True, slots=True)
class Contrast:
    """One metric of two models: the mean of each over the problems that have it, and the paired difference."""

    first: float
    second: float
    paired: PairedDifference

    def required_problems(self, difference: float) -> int | None:
        """Problems needed to see ``difference`` (a share, 0.05 for five points) with power 0.8.

        None where nothing is known of how differences vary: fewer than two problems, or all differences equal.
        """
        known = isfinite(self.paired.std) and self.paired.std > 0
        return required_problems(difference, self.paired.std) if known else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Change from first to second. ``num_unpaired``: problems that only the first, and only the second,
    has; ``num_not_judged``: samples of each that take no part."""

    num_problems: int
    num_unpaired: tuple[int, int]
    avg: Contrast
    pass_at: dict[int, Contrast]
    num_not_judged: tuple[int, int] = (0, 0)

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
        }


def compare_tallies(first: Tally, second: Tally, ks: Iterable[int], *, seed: int = 0) -> Comparison:
    """Avg@n and Pass@k, paired by benchmark and problem id; intervals stratified by benchmark.

    The number of samples may differ between the two and between problems: every estimate is unbiased at its own n.
    """
    keys = [list(zip(tally.benchmarks, tally.problem_ids, strict=True)) for tally in (first, second)]
    places = [{key: place for place, key in enumerate(side)} for side in keys]
    shared = [key for key in keys[0] if key in places[1]]
    rows = [np.array([side[key] for key in shared], dtype=np.intp) for side in places]
    strata = [benchmark for benchmark, _ in shared]

    def contrast(k: int) -> Contrast:
        values: list[NDArray[np.float64]] = [
            pass_at_k_per_problem(tally.num_samples_P[rows_P], tally.num_correct_P[rows_P], k)
            for tally, rows_P in zip((first, second), rows, strict=True)
        ]
        defined_P = np.isfinite(values[0]) & np.isfinite(values[1])
        means = [float(side[defined_P].mean()) if defined_P.any() else float("nan") for side in values]
        return Contrast(means[0], means[1], paired_difference(values[0], values[1], strata=strata, seed=seed))

    return Comparison(
        num_problems=len(shared),
        num_unpaired=(len(keys[0]) - len(shared), len(keys[1]) - len(shared)),
        avg=contrast(1),
        pass_at={k: contrast(k) for k in sorted(set(ks))},
    )
