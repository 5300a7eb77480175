"""The plane of Avg@n and Pass@k as a figure for every k. Shares are drawn in per cent."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unsqueeze.metrics.plane import upper_hull_at
from unsqueeze.report.figures import Axis, Choice, Figure, Series
from unsqueeze.report.model import BASE, Checkpoint, Report, RunRecord, Side
from unsqueeze.report.percent import in_words, percent


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
        x=[percent(each.mean) for each in avgs],
        y=[percent(each.mean) for each in passes],
        low=[percent(each.low) for each in passes],
        high=[percent(each.high) for each in passes],
        x_low=[percent(each.low) for each in avgs],
        x_high=[percent(each.high) for each in avgs],
        text=[
            f"{of}{'' if each.step is None else f', step {each.step}'}: Avg@{each.summary.max_samples} "
            f"{in_words(each.summary.avg)}, Pass@{k} {in_words(each.summary.pass_at[k])}"
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
