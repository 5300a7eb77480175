"""Avg@n and Pass@k of a set of problems, with intervals.

Axes: P problems.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Labels, Numbers
from unsqueeze.metrics.cover import TAUS, cover
from unsqueeze.metrics.intervals import Estimate, bootstrap_each
from unsqueeze.metrics.passk import pass_at_k_per_problem
from unsqueeze.metrics.reliability_summary import Reliability, V, reliability_of
from unsqueeze.metrics.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of samples by how they ended. ``mean_tokens`` is NaN where lengths are not known."""

    num_samples: int
    num_unparsable: int
    num_cut_off: int
    mean_tokens: float


@dataclass(frozen=True, slots=True)
class AtBest:
    """The means of a summary were every sample right that was not judged: the upper ends of what is not known."""

    avg: float
    pass_at: dict[int, float]
    coverage: float
    majority: float | None = None
    reliability: Reliability[float] = field(default_factory=Reliability)

    def to_json_object(self) -> dict[str, object]:
        pass_at = {str(k): _or_null(value) for k, value in self.pass_at.items()}
        return {
            **{name: _or_null(getattr(self, name)) for name in ("avg", "coverage", "majority")},
            "pass_at": pass_at,
            "reliability": self.reliability.to_json_object(_or_null),
        }

    @classmethod
    def from_json_object(cls, fields: Mapping[str, Any]) -> "AtBest":
        majority = fields.get("majority")
        return cls(
            avg=_number(fields["avg"]),
            pass_at={int(k): _number(value) for k, value in fields["pass_at"].items()},
            coverage=_number(fields["coverage"]),
            majority=None if majority is None else float(majority),
            reliability=_reliability_from(fields, _number),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of a set of samples.

    ``avg`` is Avg@n, the mean over problems of the share of correct samples. ``pass_at[k]`` is the mean of the unbiased
    Pass@k over the problems that have at least k samples, and ``num_undefined[k]`` says how many have fewer and take no
    part; where all have fewer the estimate is NaN. ``coverage`` is the share of problems with at least one correct
    sample, at whatever n each has; ``majority`` is maj@n, None where the answers are not known; ``reliability`` has
    pass^k, G-Pass@k and Cover@τ, empty in what was written before they were estimated.

    ``num_not_judged`` counts the samples that were not judged. They count as wrong in every estimate; ``at_best`` has
    the means were they all right, None where all were judged. ``num_unreadable`` counts the problems whose gold answer
    cannot be read, which are in no estimate, nor in ``n_problems``.

    ``counts`` is None where only verdicts are known, ``greedy_logp`` (nats per token, Table 6) where no greedy answers
    were drawn, and ``benchmarks`` holds the parts by their names.
    """

    n_problems: int
    avg: Estimate
    pass_at: dict[int, Estimate]
    num_undefined: dict[int, int]
    coverage: Estimate
    majority: Estimate | None = None
    reliability: Reliability[Estimate] = field(default_factory=Reliability)
    num_not_judged: int = 0
    num_unreadable: int = 0
    at_best: AtBest | None = None
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
        ``num_undefined`` names the ks that some problems have too few samples for, and how many problems. ``at_best``
        is there where some samples were not judged.
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
            "reliability": self.reliability.to_json_object(Estimate.to_json_object),
            "num_undefined": {str(k): count for k, count in self.num_undefined.items() if count},
            "num_not_judged": self.num_not_judged,
            "num_unreadable": self.num_unreadable,
            "max_samples": self.max_samples,
        }
        if self.at_best is not None:
            fields["at_best"] = self.at_best.to_json_object()
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
            reliability=_reliability_from(fields, Estimate.from_json_object),
            num_not_judged=int(fields.get("num_not_judged", 0)),
            num_unreadable=int(fields.get("num_unreadable", 0)),
            at_best=AtBest.from_json_object(fields["at_best"]) if "at_best" in fields else None,
            max_samples=int(fields.get("max_samples", 0)),
            counts=_counts_from(fields),
            greedy_logp=_number(fields["greedy_logp"]) if "greedy_logp" in fields else None,
            benchmarks={name: cls.from_json_object(part) for name, part in fields.get("benchmarks", {}).items()},
        )


def _reliability_from(fields: Mapping[str, Any], read: Callable[[Any], V]) -> Reliability[V]:
    return Reliability.from_json_object(fields["reliability"], read) if "reliability" in fields else Reliability()


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


def _or_null(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


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
    num_open_P: Numbers | None = None,
    strata: Labels | None = None,
    majority_P: Numbers | None = None,
    best_majority_P: Numbers | None = None,
    taus: Sequence[float] = TAUS,
    seed: int = 0,
) -> Summary:
    """Avg@n and Pass@k for every k of ``ks``, each with a 95 % bootstrap interval over problems (stratified).

    And so pass^k, mG-Pass@k, and G-Pass@k_τ and Cover@τ for every τ of ``taus``.

    num_samples_P (all samples, n may differ), num_correct_P, num_open_P (those that were not judged, which count as
    wrong; none by default): integers, shape (P,). majority_P: maj@n of every problem (``metrics.vote``), where known,
    and best_majority_P, were the open ones right. A problem without samples has no Avg@n, coverage or maj@n, and takes
    no part in them.
    """
    samples_P = np.asarray(num_samples_P, dtype=np.int64).reshape(-1)
    correct_P = np.asarray(num_correct_P, dtype=np.int64).reshape(-1)
    open_P = np.zeros_like(correct_P) if num_open_P is None else np.asarray(num_open_P, dtype=np.int64).reshape(-1)
    if not samples_P.shape == correct_P.shape == open_P.shape:
        raise UserError(f"summary: {samples_P.size} sample counts for {correct_P.size} correct counts; give one each.")
    labels_P = np.zeros(samples_P.size, dtype=np.int64) if strata is None else np.asarray(strata)
    values = _values(samples_P, correct_P, sorted(set(ks)))
    avg, coverage, *pass_at = _estimates(list(values.all), labels_P, seed)
    sampled_P = samples_P > 0
    voted_P = None if majority_P is None else np.where(sampled_P, np.asarray(majority_P), np.nan)
    reliable = reliability_of(samples_P, correct_P, values.ks, taus)
    reliability = reliable.refilled(_estimates(reliable.flat(), labels_P, seed))
    return Summary(
        n_problems=int(samples_P.size),
        avg=avg,
        pass_at=dict(zip(values.ks, pass_at, strict=True)),
        num_undefined={k: int(np.isnan(values_P).sum()) for k, values_P in zip(values.ks, values.pass_KP, strict=True)},
        coverage=coverage,
        majority=None if voted_P is None else _estimates([voted_P], labels_P, seed)[0],
        reliability=replace(
            reliability,
            cover={
                tau: cover(samples_P[sampled_P], correct_P[sampled_P], tau, strata=labels_P[sampled_P], seed=seed)
                for tau in taus
            },
        ),
        num_not_judged=int(open_P.sum()),
        at_best=_at_best(samples_P, correct_P + open_P, values.ks, taus, best_majority_P) if open_P.any() else None,
        max_samples=int(samples_P.max(initial=0)),
    )


def _at_best(
    samples_P: NDArray[np.int64],
    correct_P: NDArray[np.int64],
    ks: list[int],
    taus: Sequence[float],
    majority_P: Numbers | None,
) -> AtBest:
    values = _values(samples_P, correct_P, ks)
    reliable = reliability_of(samples_P, correct_P, ks, taus)
    voted_P = None if majority_P is None else np.where(samples_P > 0, np.asarray(majority_P), np.nan)
    return AtBest(
        avg=_mean(values.avg_P),
        pass_at={k: _mean(values_P) for k, values_P in zip(ks, values.pass_KP, strict=True)},
        coverage=_mean(values.solved_P),
        majority=None if voted_P is None else _mean(voted_P),
        reliability=reliable.refilled(map(_mean, reliable.flat())),
    )


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of every problem; NaN where undefined."""

    ks: list[int]
    avg_P: NDArray[np.float64]
    solved_P: NDArray[np.float64]
    pass_KP: list[NDArray[np.float64]]

    @property
    def all(self) -> Iterable[NDArray[np.float64]]:
        return (self.avg_P, self.solved_P, *self.pass_KP)


def _values(samples_P: NDArray[np.int64], correct_P: NDArray[np.int64], ks: list[int]) -> _Values:
    return _Values(
        ks,
        pass_at_k_per_problem(samples_P, correct_P, 1),
        np.where(samples_P > 0, (correct_P > 0).astype(np.float64), np.nan),
        [pass_at_k_per_problem(samples_P, correct_P, k) for k in ks],
    )


def _mean(values_P: NDArray[np.float64]) -> float:
    """The mean over the problems that have a value; NaN where none has."""
    defined = values_P[np.isfinite(values_P)]
    return float(defined.mean()) if defined.size else math.nan


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


def summarise_tally(tally: Tally, ks: Iterable[int], *, taus: Sequence[float] = TAUS, seed: int = 0) -> Summary:
    """``summarise`` of a whole tally, its intervals stratified by benchmark."""
    return replace(_summary_of(tally, ks, taus, seed, strata=tally.benchmarks), num_unreadable=len(tally.unreadable))


def summaries_by_benchmark(
    tally: Tally, ks: Iterable[int], *, taus: Sequence[float] = TAUS, seed: int = 0
) -> dict[str, Summary]:
    """A summary of every benchmark by its name. Empty where there is but one."""
    if len(tally.strata) < 2:
        return {}
    wanted = list(ks)
    summaries = {}
    for name in tally.strata:
        num_unreadable = sum(benchmark == name for benchmark, _ in tally.unreadable)
        summaries[name or "no benchmark"] = replace(
            _summary_of(tally, wanted, taus, seed, part=name), num_unreadable=num_unreadable
        )
    return summaries


def _summary_of(
    tally: Tally,
    ks: Iterable[int],
    taus: Sequence[float],
    seed: int,
    *,
    strata: Labels | None = None,
    part: str | None = None,
) -> Summary:
    """The summary of a tally, or of the part of it that is of one benchmark."""
    of_it_P = np.array([part is None or name == part for name in tally.benchmarks], dtype=bool)

    def votes(majority_P: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if majority_P is None else majority_P[of_it_P]

    return summarise(
        tally.num_samples_P[of_it_P],
        tally.num_correct_P[of_it_P],
        ks,
        num_open_P=tally.num_open_P[of_it_P],
        strata=strata,
        majority_P=votes(tally.majority_P),
        best_majority_P=votes(tally.best_majority_P),
        taus=taus,
        seed=seed,
    )
