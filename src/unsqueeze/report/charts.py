"""The figures of a report. Shares are drawn in per cent, log-probs in nats per token."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from unsqueeze.metrics.cover import TAUS, cover
from unsqueeze.metrics.histogram import accuracy_histogram
from unsqueeze.metrics.intervals import Estimate
from unsqueeze.metrics.plane import upper_hull_at
from unsqueeze.metrics.reliability import needed_successes
from unsqueeze.metrics.summary import Summary
from unsqueeze.report.figures import Axis, Choice, Figure, Series, Span
from unsqueeze.report.model import BASE, Checkpoint, Report, RunRecord, Side

NUM_INNER_BINS = 4


def plane(report: Report) -> Choice:
    """Avg@n against Pass@k: the path of every run from its base, for every k, the largest first."""
    ks = [k for k in report.ks if k > 1] or report.ks
    return Choice(
        name="plane",
        of="k",
        values=[str(k) for k in ks],
        figures=[_plane_at(report, k) for k in ks],
        shown=max(0, len(ks) - 1),
    )


def _plane_at(report: Report, k: int) -> Figure:
    series: list[Series] = []
    labels = {side.name: side.name for side in report.sides}
    labels |= {each.other: f"{each.other}: lost {each.comparison.num_lost}" for each in report.against_base}
    bases: dict[tuple[float, float], Checkpoint] = {}
    for number, side in enumerate(report.sides):
        for run in side.measured:
            series.append(_path(run, number, k, in_legend=run is side.measured[0], label=labels[side.name], side=side))
            if run.before is not None:
                bases.setdefault((run.before.summary.avg.mean, run.before.summary.pass_at[k].mean), run.before)
        if side.role == "control" and (hull := _hull(side, k)):
            series.append(
                Series(
                    name=f"hull of {side.name}",
                    kind="line",
                    color=number,
                    x=[100 * avg for avg, _ in hull],
                    y=[100 * pass_at for _, pass_at in hull],
                    dashed=True,
                )
            )
    for place, base in enumerate(bases.values()):
        series.append(_points(BASE, -1, [base], k, in_legend=place == 0, label=BASE if place == 0 else ""))
    return Figure(
        name=f"plane-{k}",
        title=f"How often one answer is right, and how many problems {k} answers solve",
        says=f"Avg@n against Pass@{k} in per cent; further right: more answers are right; further up: more problems "
        f"are solved by one of {k}. Bars: 95 % intervals over problems, of the base and of the ends; dotted: the upper "
        f"hull of the control's checkpoints, which mixtures of them reach. A point leads to its answers.",
        x=Axis(title=f"Avg@{report.n}, %: one answer is right →", percent=True),
        y=Axis(title=f"Pass@{k}, %: one of {k} is right →", percent=True),
        series=series,
    )


def _path(run: RunRecord, color: int, k: int, *, in_legend: bool, label: str, side: Side) -> Series:
    """Return the path of a run. Intervals are drawn at its end alone, and told of every point."""
    shown = [each for each in run.checkpoints if math.isfinite(each.summary.pass_at[k].mean)]
    whole = _points(
        side.name, color, shown, k, in_legend=in_legend, kind="path", label=label if in_legend else "", run=run
    )
    before = [None] * (len(shown) - 1)
    return replace(
        whole,
        low=[*before, *whole.low[-1:]],
        high=[*before, *whole.high[-1:]],
        x_low=[*before, *whole.x_low[-1:]],
        x_high=[*before, *whole.x_high[-1:]],
    )


def _points(
    name: str,
    color: int,
    found: Sequence[Checkpoint],
    k: int,
    *,
    in_legend: bool,
    label: str,
    kind: str = "points",
    run: RunRecord | None = None,
) -> Series:
    avgs = [each.summary.avg for each in found]
    passes = [each.summary.pass_at[k] for each in found]
    of = run.label if run else name
    return Series(
        name=name,
        kind="path" if kind == "path" else "points",
        color=color,
        x=[_percent(each.mean) for each in avgs],
        y=[_percent(each.mean) for each in passes],
        low=[_percent(each.low) for each in passes],
        high=[_percent(each.high) for each in passes],
        x_low=[_percent(each.low) for each in avgs],
        x_high=[_percent(each.high) for each in avgs],
        text=[
            f"{of}{'' if each.step is None else f', step {each.step}'}: Avg@{each.summary.max_samples} "
            f"{_in_words(each.summary.avg)}, Pass@{k} {_in_words(each.summary.pass_at[k])}"
            for each in found
        ],
        keys=["" if run is None or each.step is None else f"{run.label}@{each.step}" for each in found],
        in_legend=in_legend,
        label=label,
    )


def _hull(side: Side, k: int) -> list[tuple[float, float]]:
    """Return the upper hull of all points of a side, which mixtures of its checkpoints reach (``metrics.plane``).

    Empty for a single point.
    """
    means = [
        (each.summary.avg.mean, each.summary.pass_at[k].mean)
        for run in side.measured
        for each in run.checkpoints
        if math.isfinite(each.summary.pass_at[k].mean)
    ]
    at = np.array(sorted({avg for avg, _ in means}))
    if len(at) < 2:
        return []
    points = np.broadcast_to(np.array(means).T[:, None, :], (2, len(at), len(means)))
    return list(zip(at.tolist(), upper_hull_at(at, points[0], points[1]).tolist(), strict=True))


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
                y=[_percent(each.mean) for each in estimates],
                text=[f"{name}: Pass@{k} {_in_words(each)}" for k, each in zip(ks, estimates, strict=True)],
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
        low=[_percent(each.low) for each in estimates],
        high=[_percent(each.high) for each in estimates],
        in_legend=False,
    )


def over_steps(report: Report) -> list[Figure]:
    """Avg@n and Pass@k over the steps of training, with IRL phases as bands."""
    if not report.trainings or not report.ks:
        return []
    most = report.ks[-1]
    wanted: list[tuple[str, str, Callable[[Summary], Estimate]]] = [
        ("avg", f"Avg@{report.n}", lambda summary: summary.avg),
        ("pass", f"Pass@{most}", lambda summary: summary.pass_at[most]),
    ]
    return [
        Figure(
            name=f"{name}-over-steps",
            title=f"{what} while training",
            says=f"{what} on the test problems after RL steps, in per cent, with 95 % intervals over problems"
            + ("; shaded: after these steps an IRL phase was run." if irl_spans(report) else "."),
            x=Axis(title="RL steps"),
            y=Axis(title=f"{what}, %", percent=True),
            series=[
                Series(
                    name=side.name,
                    kind="path",
                    color=number,
                    x=[each.step for each in run.checkpoints],
                    y=[_percent(value(each.summary).mean) for each in run.checkpoints],
                    low=[_percent(value(each.summary).low) for each in run.checkpoints],
                    high=[_percent(value(each.summary).high) for each in run.checkpoints],
                    text=[
                        f"{run.label}, step {each.step}: {what} {_in_words(value(each.summary))}"
                        for each in run.checkpoints
                    ],
                    keys=[f"{run.label}@{each.step}" for each in run.checkpoints],
                    in_legend=run is side.measured[0],
                    label=side.name if run is side.measured[0] else "",
                )
                for number, side in enumerate(report.sides)
                for run in side.measured
                if run.is_training
            ],
            spans=irl_spans(report),
        )
        for name, what, value in wanted
    ]


def irl_spans(report: Report) -> list[Span]:
    """Return a span an IRL phase, of the first run of every side that has them."""
    found = []
    for number, side in enumerate(report.sides):
        phases = [phase for phase in side.runs[0].phases if phase.kind == "irl"]
        width = max((run.phases[-1].last_step for run in report.trainings if run.phases), default=0) / 200
        found += [
            Span(
                start=phase.last_step,
                end=phase.last_step + width,
                label=f"{side.name}: IRL phase {phase.phase}",
                color=number,
            )
            for phase in phases
        ]
    return found


def reward_over_steps(report: Report) -> list[Figure]:
    """Reward of the rollouts of every RL step, averaged over neighbouring steps for the eye."""
    series = []
    for number, side in enumerate(report.sides):
        for run in side.runs:
            steps, rewards = run.metrics.get("step", ()), run.metrics.get("reward", ())
            known = [(s, r) for s, r in zip(steps, rewards, strict=True) if r is not None]
            if not known:
                continue
            width = max(1, len(known) // 50)
            chunks = [known[start : start + width] for start in range(0, len(known), width)]
            series.append(
                Series(
                    name=side.name,
                    kind="line",
                    color=number,
                    x=[chunk[-1][0] for chunk in chunks],
                    y=[_percent(math.fsum(r for _, r in chunk) / len(chunk)) for chunk in chunks],
                    text=[
                        f"{run.label}, steps {chunk[0][0]} to {chunk[-1][0]}: "
                        f"{100 * math.fsum(r for _, r in chunk) / len(chunk):.1f} % right"
                        for chunk in chunks
                    ],
                    keys=[f"{run.label}#{chunk[-1][0]}" for chunk in chunks],
                    in_legend=run is side.runs[0],
                )
            )
    if not series:
        return []
    return [
        Figure(
            name="reward",
            title="Rewards of the rollouts it learned from",
            says="Mean reward of the rollouts of neighbouring RL steps, in per cent. A point leads to its rollouts.",
            x=Axis(title="RL steps"),
            y=Axis(title="reward, %", percent=True),
            series=series,
            spans=irl_spans(report),
        )
    ]


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
        shares = [_percent(float((correct_P >= np.array(needed_P)).mean())) for needed_P in needed_TP]
        at_taus = [cover(samples_P, correct_P, tau) for tau in TAUS]
        series += [
            Series(name=name, kind="line", color=color, x=[100 * tau for tau in taus], y=shares),
            Series(
                name=name,
                kind="points",
                color=color,
                x=[100 * tau for tau in TAUS],
                y=[_percent(each.mean) for each in at_taus],
                low=[_percent(each.low) for each in at_taus],
                high=[_percent(each.high) for each in at_taus],
                text=[f"{name}: Cover@{tau:g} {_in_words(each)}" for tau, each in zip(TAUS, at_taus, strict=True)],
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


def gauges(report: Report) -> list[Figure]:
    """The gauges of squeezing over training; those that no run has are left out."""
    wanted: list[tuple[str, str, str, Callable[[RunRecord], list[tuple[float, float]]]]] = [
        (
            "greedy-logp",
            "Log-prob of greedy answers",
            "nats per token; nearer to 0: more sure of one answer",
            lambda run: _readings(run, "greedy_logp"),
        ),
        (
            "top-1-mass",
            "Mass on the most likely token",
            "%, geometric mean along greedy answers: exp of their log-prob per token",
            lambda run: [(step, 100 * math.exp(value)) for step, value in _readings(run, "greedy_logp")],
        ),
        (
            "entropy",
            "Entropy of the next token",
            "nats, of answers drawn at temperature 1",
            lambda run: _readings(run, "entropy"),
        ),
        (
            "similarity",
            "Similarity of answers to one problem",
            "%, 3-grams shared by two answers",
            lambda run: [
                (each.step, 100 * each.similarity)
                for each in run.checkpoints
                if each.similarity is not None and each.step is not None
            ],
        ),
    ]
    figures = []
    for name, title, unit, values in wanted:
        series = [
            Series(
                name=side.name,
                kind="path" if name == "similarity" else "line",
                color=number,
                x=[step for step, _ in found],
                y=[value for _, value in found],
                text=[f"{run.label}, step {step}: {value:.4g}" for step, value in found],
                in_legend=run is side.runs[0],
            )
            for number, side in enumerate(report.sides)
            for run in side.runs
            if run.is_training and (found := values(run))
        ]
        if series:
            figures.append(
                Figure(
                    name=name,
                    title=title,
                    says=f"{title}: {unit}.",
                    x=Axis(title="RL steps"),
                    y=Axis(title=unit.split(";")[0].split(":")[0]),
                    series=series,
                    spans=irl_spans(report),
                )
            )
    return figures


def _readings(run: RunRecord, name: str) -> list[tuple[float, float]]:
    return [(each.step, value) for each in run.gauges if (value := getattr(each, name)) is not None]


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


def _percent(share: float) -> float | None:
    return 100 * share if math.isfinite(share) else None


def _in_words(estimate: Estimate) -> str:
    if not math.isfinite(estimate.mean):
        return "–"
    between = f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]" if math.isfinite(estimate.low) else ""
    return f"{100 * estimate.mean:.1f} %{between}"
