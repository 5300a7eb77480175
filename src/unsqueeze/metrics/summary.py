"""Avg@n and Pass@k of a set of problems, with intervals.

Axes: P problems.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers
from unsqueeze.metrics.intervals import Estimate, bootstrap_each
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of samples by how they ended. ``mean_tokens`` is NaN where lengths are not known."""

    num_samples: int
    num_unparsable: int
    num_cut_off: int
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of a set of samples.

    ``avg`` is Avg@n, the mean over problems of the share of correct samples. ``pass_at[k]`` is the mean of the unbiased
    Pass@k over the problems that have at least k samples, and ``num_undefined[k]`` says how many have fewer and take no
    part; where all have fewer the estimate is NaN. ``coverage`` is the share of problems with at least one correct
    sample, at whatever n each has; ``majority`` is maj@n, None where the answers are not known. ``num_not_judged``
    counts the samples that take no part. ``counts`` is None where only verdicts are known, ``greedy_logp`` (nats per
    token, Table 6) where no greedy answers were drawn, and
    ``benchmarks`` holds the parts by their names.
    """

    n_problems: int
    avg: Estimate
    pass_at: dict[int, Estimate]
    num_undefined: dict[int, int]
    coverage: Estimate
    majority: Estimate | None = None
    num_not_judged: int = 0
    max_samples: int = 0
    counts: Counts | None = None
    greedy_logp: float | None = None
    benchmarks: dict[str, "Summary"] = field(default_factory=dict)

    @property
    def max_k(self) -> int:
        """The largest k there is."""
        return max(self.pass_at)

    def to_json_object(self) -> dict[str, object]:
        """Return ``{"n_problems", "avg", "pass_at": {"1": {"mean", "low", "high"}, …}}`` and what else is known.

        ``avg`` is the number, its interval stands in ``avg_low`` and ``avg_high``; undefined values are null, and
        ``num_undefined`` names the ks that some problems have too few samples for, and how many problems.
        """
        avg = self.avg.to_json_object()
        fields: dict[str, object] = {
            "n_problems": self.n_problems,
            "avg": avg["mean"],
            "avg_low": avg["low"],
            "avg_high": avg["high"],
            "pass_at": {str(k): estimate.to_json_object() for k, estimate in self.pass_at.items()},
            "coverage": self.coverage.to_json_object(),
            "majority": None if self.majority is None else self.majority.to_json_object(),
            "num_undefined": {str(k): count for k, count in self.num_undefined.items() if count},
            "num_not_judged": self.num_not_judged,
            "max_samples": self.max_samples,
        }
        if self.greedy_logp is not None:
            fields["greedy_logp"] = self.greedy_logp
        if self.counts is not None:
            fields |= asdict(self.counts)
        if self.benchmarks:
            fields["benchmarks"] = {name: part.to_json_object() for name, part in self.benchmarks.items()}
        return fields

    @classmethod
    def from_json_object(cls, fields: Mapping[str, Any]) -> "Summary":
        """Return the summary that ``to_json_object`` wrote; other keys are passed over.

        KeyError, TypeError, ValueError, AttributeError or OverflowError where something is missing or of another kind.
        """
        pass_at = {int(k): Estimate.from_json_object(entry) for k, entry in fields["pass_at"].items()}
        if not pass_at:
            raise ValueError("pass_at is empty")
        undefined = fields.get("num_undefined", {})
        average = {"mean": fields["avg"], "low": fields["avg_low"], "high": fields["avg_high"]}
        majority = fields.get("majority")
        return cls(
            n_problems=int(fields["n_problems"]),
            avg=Estimate.from_json_object(average),
            pass_at=pass_at,
            num_undefined={k: int(undefined.get(str(k), 0)) for k in pass_at},
            coverage=Estimate.from_json_object(fields["coverage"]),
            majority=None if majority is None else Estimate.from_json_object(majority),
            num_not_judged=int(fields.get("num_not_judged", 0)),
            max_samples=int(fields.get("max_samples", 0)),
            counts=_counts_from(fields),
            greedy_logp=_number(fields["greedy_logp"]) if "greedy_logp" in fields else None,
            benchmarks={name: cls.from_json_object(part) for name, part in fields.get("benchmarks", {}).items()},
        )


def _counts_from(fields: Mapping[str, Any]) -> Counts | None:
    names = [each.name for each in dataclass_fields(Counts)]
    if not all(name in fields for name in names):
        return None
    return Counts(
        num_samples=int(fields["num_samples"]),
        num_unparsable=int(fields["num_unparsable"]),
        num_cut_off=int(fields["num_cut_off"]),
        mean_tokens=_number(fields["mean_tokens"]),
    )


def _number(value: Any) -> float:
    """A number of JSON, where null stands for what is not one."""
    return math.nan if value is None else float(value)


def powers_of_two_up_to(num_samples: int) -> list[int]:
    """1, 2, 4, … and ``num_samples`` itself: the ks that are worth a look."""
    powers = [1 << shift for shift in range(max(num_samples, 0).bit_length())]
    return sorted({*powers, num_samples}) if num_samples > 0 else []


def check_ks(ks: Iterable[int], num_samples: int) -> list[int]:
    """Return the ks in order, each once. UserError for none at all, one below 1, or one that n samples cannot tell.

    To be asked before anything is sampled: Pass@k is undefined for k > n.
    """
    wanted = sorted(set(ks))
    if not wanted or wanted[0] < 1:
        raise UserError(f"k is {', '.join(map(str, wanted)) or 'empty'}; give whole numbers from 1 on, such as 1, 8.")
    if wanted[-1] > num_samples:
        raise UserError(
            f"k is {wanted[-1]}, and n is {num_samples}: Pass@{wanted[-1]} takes {wanted[-1]} samples of a problem or "
            f"more. Give n = {wanted[-1]}, or ks up to {num_samples}."
        )
    return wanted


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
        max_samples=int(samples_P.max(initial=0)),
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
