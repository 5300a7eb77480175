"""The figures of a report: Pass@k against k, the histogram, Cover@τ, and the order of all. Shares are in per cent."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from unsqueeze.metrics.cover import TAUS, cover
from unsqueeze.metrics.histogram import accuracy_histogram
from unsqueeze.metrics.intervals import Estimate
from unsqueeze.metrics.reliability import needed_successes
from unsqueeze.metrics.summary import Summary
from unsqueeze.report.figures import Axis, Figure, Series, Span
from unsqueeze.report.model import BASE, Checkpoint, Report
from unsqueeze.report.over_steps import gauges, over_steps, reward_over_steps
from unsqueeze.report.percent import in_words, percent

NUM_INNER_BINS = 4


def pass_at_k(report: Report) -> Figure:
    """Pass@k against k of the base and of what every side ended with, and where lines cross."""
    curves: dict[str, tuple[int, list[Summary]]] = {}
    seeds: set[int | None] = set()
    for number, side in enumerate(report.sides):
        for run in side.measured:
            if run.before is not None and run.seed not in seeds:  # arms of one seed begin with the same evaluation
                seeds.add(run.seed)
                curves.setdefault(BASE, (-1, []))[1].append(run.before.summary)
            if run.last is not None and run.last.step != 0:
                curves.setdefault(side.name, (number, []))[1].append(run.last.summary)
    return pass_at_k_of(curves, report.ks)


def pass_at_k_of(curves: Mapping[str, tuple[int, Sequence[Summary]]], ks: Sequence[int]) -> Figure:
    """Draw Pass@k of named models, each of one summary or of several seeds, and mark where they cross."""
    series: list[Series] = []
    means: dict[str, list[float]] = {}
    for name, (color, summaries) in curves.items():
        estimates = [_over_seeds([each.pass_at[k] for each in summaries]) for k in ks]
        means[name] = [each.mean for each in estimates]
        series.append(_band(name, color, list(ks), estimates))
        series.append(
            Series(
                name=name,
                kind="line",
                color=color,
                x=list(ks),
                y=[percent(each.mean) for each in estimates],
                text=[f"{name}: Pass@{k} {in_words(each)}" for k, each in zip(ks, estimates, strict=True)],
                label=name,
            )
        )
    spans, told = [], []
    for name, values in means.items():
        first = next(iter(means))
        if name != first and (place := crossover(list(ks), means[first], values)) is not None:
            spans.append(Span(start=place, end=place, label=f"{name} and {first} cross at k ≈ {place:.3g}"))
            told.append(f"{name} solves more than {first} up to k ≈ {place:.3g}, and less beyond.")
    several = any(len(summaries) > 1 for _, summaries in curves.values())
    return Figure(
        name="pass-at-k",
        title="Pass@k against k",
        says=" ".join(
            [
                "Share of problems that one of k answers solves; bands are "
                + ("the range over seeds." if several else "95 % intervals over problems."),
                *told,
            ]
        ),
        x=Axis(title="k, answers to a problem", log2=True, ticks=list(ks)),
        y=Axis(title="Pass@k, %", percent=True),
        series=series,
        spans=spans,
    )


def crossover(ks: Sequence[int], first: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the k at which ``other`` falls from above ``first`` to below, between two ks on a log scale; else None."""
    gaps = [b - a for a, b in zip(first, other, strict=True)]
    for (k0, gap0), (k1, gap1) in pairwise(zip(ks, gaps, strict=True)):
        if gap0 > 0 >= gap1:
            share = gap0 / (gap0 - gap1)
            return float(2 ** (math.log2(k0) + share * (math.log2(k1) - math.log2(k0))))
    return None


def _over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """Return the estimate, or of several seeds their mean with the smallest and the largest of them."""
    if len(estimates) == 1:
        return estimates[0]
    means = [each.mean for each in estimates]
    return Estimate(math.fsum(means) / len(means), min(means), max(means))


def _band(name: str, color: int, x: Sequence[float], estimates: Sequence[Estimate]) -> Series:
    return Series(
        name=name,
        kind="band",
        color=color,
        x=x,
        low=[percent(each.low) for each in estimates],
        high=[percent(each.high) for each in estimates],
        in_legend=False,
    )


def histogram(report: Report) -> list[Figure]:
    """Problems by the share of their answers that are right, before and after (Fig. 5 of arXiv 2604.16995)."""
    found = _before_and_after(report)
    if not found:
        return []
    series = []
    for name, (color, checkpoint) in found.items():
        assert checkpoint.tally is not None
        bins = accuracy_histogram(checkpoint.tally.num_samples_P, checkpoint.tally.num_correct_P, NUM_INNER_BINS)
        series.append(
            Series(
                name=name,
                kind="bars",
                color=color,
                x=[each.label for each in bins],
                y=[each.num_problems for each in bins],
                text=[f"{name}: {each.num_problems} problems are solved {each.label} of the time" for each in bins],
                keys=[f"bin:{name}:{place}" for place in range(len(bins))],
            )
        )
    return [
        Figure(
            name="accuracy-histogram",
            title="Problems by how often they are solved",
            says="How many problems are never, sometimes and always solved. Squeezing moves them to the two ends. A "
            "bar leads to its problems.",
            x=Axis(title="share of right answers to a problem"),
            y=Axis(title="problems"),
            series=series,
        )
    ]


def _before_and_after(report: Report) -> dict[str, tuple[int, Checkpoint]]:
    """Return the base and what the first run of every side ended with, of those whose problems are known."""
    found: dict[str, tuple[int, Checkpoint]] = {}
    for number, side in enumerate(report.sides):
        run = next(iter(side.measured), None)
        if run is None or run.last is None or run.last.tally is None:
            continue
        if run.before is not None and run.before.tally is not None:
            found.setdefault(BASE, (-1, run.before))
        if run.last.step != 0:
            found[side.name] = (number, run.last)
    return found


def models(report: Report) -> list[dict[str, object]]:
    """Return of which run and step the bars of the histogram are, by their names."""
    found: list[dict[str, object]] = []
    for side in report.sides:
        run = next(iter(side.measured), None)
        if run is None or run.last is None:
            continue
        if run.before is not None and not any(each["name"] == BASE for each in found):
            found.append({"name": BASE, "run": run.label, "step": run.before.step})
        found.append({"name": side.name, "run": run.label, "step": run.last.step})
    return found


def cover_at_tau(report: Report) -> list[Figure]:
    """Cover@τ: the share of problems whose answers are right at least τ of the time (``metrics.cover``)."""
    found = _before_and_after(report)
    if not found:
        return []
    series = []
    for name, (color, checkpoint) in found.items():
        assert checkpoint.tally is not None
        some_P = checkpoint.tally.num_samples_P > 0
        samples_P, correct_P = checkpoint.tally.num_samples_P[some_P], checkpoint.tally.num_correct_P[some_P]
        if not some_P.any():
            continue
        taus = [place / 50 for place in range(1, 51)]
        needed_TP = [[needed_successes(tau, int(n)) for n in samples_P] for tau in taus]
        shares = [percent(float((correct_P >= np.array(needed_P)).mean())) for needed_P in needed_TP]
        at_taus = [cover(samples_P, correct_P, tau) for tau in TAUS]
        series += [
            Series(name=name, kind="line", color=color, x=[100 * tau for tau in taus], y=shares),
            Series(
                name=name,
                kind="points",
                color=color,
                x=[100 * tau for tau in TAUS],
                y=[percent(each.mean) for each in at_taus],
                low=[percent(each.low) for each in at_taus],
                high=[percent(each.high) for each in at_taus],
                text=[f"{name}: Cover@{tau:g} {in_words(each)}" for tau, each in zip(TAUS, at_taus, strict=True)],
                in_legend=False,
            ),
        ]
    return [
        Figure(
            name="cover",
            title="Cover@τ: problems that are solved at least so often",
            says="Share of problems whose answers are right at least τ of the time: at the left breadth, at the right "
            "reliability. Bars: 95 % intervals that hold for the true success rates.",
            x=Axis(title="τ, %", percent=True),
            y=Axis(title="Cover@τ, %", percent=True),
            series=series,
        )
    ]


def all_figures(report: Report) -> list[Figure]:
    """Every figure but the plane, in the order of the page."""
    made = [pass_at_k(report)] if report.ks else []
    return [
        *made,
        *over_steps(report),
        *reward_over_steps(report),
        *histogram(report),
        *cover_at_tau(report),
        *gauges(report),
    ]
