"""Avg@n and Pass@k of a set of problems, with intervals.

Axes: P problems.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers
from unsqueeze.metrics.intervals import Estimate, bootstrap_each
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.tally import Tally


@dataclass(frozen=True, slots=True)
class Summary:
    """What a set of samples shows.

    ``avg`` is Avg@n, the mean over problems of the share of correct samples. ``pass_at[k]`` is the mean of the unbiased
    Pass@k over the problems that have at least k samples, and ``num_undefined[k]`` says how many have fewer and take no
    part; where all have fewer the estimate is NaN. ``coverage`` is the share of problems with at least one correct
    sample, at whatever n each has; ``majority`` is maj@n, None where the answers are not known.
    """

    n_problems: int
    avg: Estimate
    pass_at: dict[int, Estimate]
    num_undefined: dict[int, int]
    coverage: Estimate
    majority: Estimate | None = None

    def to_json_object(self) -> dict[str, object]:
        """``{"n_problems", "avg", "pass_at": {"1": {"mean", "low", "high"}, …}}`` and, beside them, what is undefined.

        ``avg`` is the number, its interval stands in ``avg_low`` and ``avg_high``; undefined values are null, and
        ``num_undefined`` names the ks that some problems have too few samples for, and how many problems.
        """
        avg = self.avg.to_json_object()
        return {
            "n_problems": self.n_problems,
            "avg": avg["mean"],
            "avg_low": avg["low"],
            "avg_high": avg["high"],
            "pass_at": {str(k): estimate.to_json_object() for k, estimate in self.pass_at.items()},
            "coverage": self.coverage.to_json_object(),
            "majority": None if self.majority is None else self.majority.to_json_object(),
            "num_undefined": {str(k): count for k, count in self.num_undefined.items() if count},
        }


def powers_of_two_up_to(num_samples: int) -> list[int]:
    """1, 2, 4, … and ``num_samples`` itself: the ks that are worth a look."""
    powers = [1 << shift for shift in range(max(num_samples, 0).bit_length())]
    return sorted({*powers, num_samples}) if num_samples > 0 else []


def summarise(
    num_samples_P: Numbers,
    num_correct_P: Numbers,
    ks: Iterable[int],
    *,
    strata: Labels | None = None,
    majority_P: Numbers | None = None,
    seed: int = 0,
) -> Summary:
    """Avg@n and Pass@k for every k of ``ks``, each with a 95 % bootstrap interval over problems (stratified).

    num_samples_P (judged samples, n may differ), num_correct_P: integers, shape (P,). majority_P: maj@n of every
    problem (``metrics.vote``), where known. A problem with no judged sample has no Avg@n, coverage or maj@n either, and
    takes no part in them.
    """
    samples_P = np.asarray(num_samples_P, dtype=np.int64).reshape(-1)
    correct_P = np.asarray(num_correct_P, dtype=np.int64).reshape(-1)
    if samples_P.shape != correct_P.shape:
        raise UserError(f"summary: {samples_P.size} sample counts for {correct_P.size} correct counts; give one each.")
    labels_P = np.zeros(samples_P.size, dtype=np.int64) if strata is None else np.asarray(strata)
    pass_P = {k: pass_at_k_per_problem(samples_P, correct_P, k) for k in sorted(set(ks))}
    avg_P = pass_at_k_per_problem(samples_P, correct_P, 1)
    judged_P = samples_P > 0
    solved_P = np.where(judged_P, (correct_P > 0).astype(np.float64), np.nan)
    avg, coverage, *pass_at = _estimates([avg_P, solved_P, *pass_P.values()], labels_P, seed)
    voted_P = None if majority_P is None else np.where(judged_P, np.asarray(majority_P), np.nan)
    return Summary(
        n_problems=int(samples_P.size),
        avg=avg,
        pass_at=dict(zip(pass_P, pass_at, strict=True)),
        num_undefined={k: int(np.isnan(values_P).sum()) for k, values_P in pass_P.items()},
        coverage=coverage,
        majority=None if voted_P is None else _estimates([voted_P], labels_P, seed)[0],
    )


def _estimates(values_KP: Sequence[NDArray[np.float64]], labels_P: NDArray[Any], seed: int) -> list[Estimate]:
    """The mean of each over the problems that it is defined for (not NaN), with its interval, stratified by label.

    Those that are defined for the same problems share one draw of the bootstrap's weights, and equal ones are resampled
    once: Avg@n is Pass@1, and the coverage is Pass@n where every problem has n samples.
    """
    keys = [values_P.tobytes() for values_P in values_KP]
    groups: dict[bytes, dict[bytes, NDArray[np.float64]]] = {}
    for key, values_P in zip(keys, values_KP, strict=True):
        groups.setdefault(np.isfinite(values_P).tobytes(), {})[key] = values_P
    estimates: dict[bytes, Estimate] = {}
    for group in groups.values():
        values = np.stack(list(group.values()))
        defined_P = np.isfinite(values[0])
        estimates |= zip(
            group,
            bootstrap_each(values[:, defined_P], strata=labels_P[defined_P], bounds=(0.0, 1.0), seed=seed),
            strict=True,
        )
    return [estimates[key] for key in keys]


def summarise_tally(tally: Tally, ks: Iterable[int], *, seed: int = 0) -> Summary:
    """``summarise`` of a whole tally, its intervals stratified by benchmark."""
    return summarise(
        tally.num_samples_P,
        tally.num_correct_P,
        ks,
        strata=tally.benchmarks,
        majority_P=tally.majority_P,
        seed=seed,
    )


def summaries_by_benchmark(tally: Tally, ks: Iterable[int], *, seed: int = 0) -> dict[str, Summary]:
    """A summary of every benchmark by its name. Empty where there is but one."""
    if len(tally.strata) < 2:
        return {}
    wanted = list(ks)
    labels_P = np.asarray(tally.benchmarks)
    summaries = {}
    for name in tally.strata:
        of_this_P = labels_P == name
        majority_P = None if tally.majority_P is None else tally.majority_P[of_this_P]
        summaries[name or "no benchmark"] = summarise(
            tally.num_samples_P[of_this_P], tally.num_correct_P[of_this_P], wanted, majority_P=majority_P, seed=seed
        )
    return summaries
