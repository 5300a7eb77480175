"""Sums of stored samples."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from unsqueeze.evaluation.votes import as_vote
from unsqueeze.metrics.cover import TAUS
from unsqueeze.metrics.summary import Counts, Summary, summaries_by_benchmark, summarise_tally
from unsqueeze.metrics.tally import Tallier, Tally
from unsqueeze.rollout.types import StopReason
from unsqueeze.verify.verdict import Verdict, of_unreadable_gold
from unsqueeze.wording import counted, verb

TALLIED = ("benchmark", "problem_id", "gold", "correct", "extracted", "verdict", "reason")
"""The columns of samples that are counted."""


def summarise_samples(samples: pa.Table, ks: Sequence[int], *, taus: Sequence[float] = TAUS, seed: int) -> Summary:
    """Sum up samples: over all benchmarks, stratified by them, and each by itself under ``benchmarks``."""
    tally = tally_of(samples)
    whole = _with_counts(summarise_tally(tally, ks, taus=taus, seed=seed), samples)
    parts = summaries_by_benchmark(tally, ks, taus=taus, seed=seed) or dict.fromkeys(tally.strata, whole)
    return replace(
        whole,
        benchmarks={
            name: _with_counts(part, samples.filter(pc.field("benchmark") == name)) for name, part in parts.items()
        },
    )


def _with_counts(summary: Summary, samples: pa.Table) -> Summary:
    return replace(summary, counts=counts_of(samples), benchmarks={})


def tally_of(samples: pa.Table) -> Tally:
    """Count the samples of every problem, in the order in which the problems first stand there."""
    tallier = Tallier()
    columns = (samples[name].to_pylist() for name in TALLIED)
    for sample, count in Counter(zip(*columns, strict=True)).items():
        benchmark, problem_id, gold, correct, extracted, verdict, reason = sample
        tallier.add(
            problem_id,
            correct,
            benchmark=benchmark or "",
            answer=as_vote(extracted),
            gold=gold,
            readable=not of_unreadable_gold(verdict, reason),
            count=count,
        )
    return tallier.tally()


def counts_of(samples: pa.Table) -> Counts:
    """Count the samples, how long they are, and how many were cut off, unparsable or not judged."""
    mean_tokens = pc.mean(samples["num_tokens"]).as_py()
    return Counts(
        num_samples=samples.num_rows,
        num_unparsable=samples.filter(pc.field("verdict") == Verdict.UNPARSABLE.value).num_rows,
        num_cut_off=samples.filter(pc.field("stop_reason") == StopReason.LENGTH.value).num_rows,
        mean_tokens=math.nan if mean_tokens is None else mean_tokens,
    )


def describe_unjudged(summary: Summary) -> list[str]:
    """Say what was not judged and what it may be worth: clauses, none where all was judged."""
    clauses = []
    if summary.at_best is not None:
        largest = summary.max_k
        clauses.append(
            f"{counted(summary.num_not_judged, 'sample', 'was', 'were')} not judged and "
            f"{verb(summary.num_not_judged, 'counts', 'count')} as wrong; were "
            f"{verb(summary.num_not_judged, 'it', 'they all')} right, Avg would be "
            f"{100 * summary.at_best.avg:.1f} % and Pass@{largest} {100 * summary.at_best.pass_at[largest]:.1f} %"
        )
    if summary.num_unreadable:
        clauses.append(
            f"{counted(summary.num_unreadable, 'problem', 'is', 'are')} left out: "
            f"{verb(summary.num_unreadable, 'its gold answer', 'their gold answers')} cannot be read"
        )
    return clauses
