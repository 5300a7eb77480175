"""What moves over the steps of training, as figures: evaluations, rewards (in per cent) and the gauges of squeezing."""

import math
from collections.abc import Callable

from unsqueeze.metrics.intervals import Estimate
from unsqueeze.metrics.summary import Summary
from unsqueeze.report.figures import Axis, Figure, Series, Span
from unsqueeze.report.model import Report, RunRecord
from unsqueeze.report.percent import in_words, percent


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
                    y=[percent(value(each.summary).mean) for each in run.checkpoints],
                    low=[percent(value(each.summary).low) for each in run.checkpoints],
                    high=[percent(value(each.summary).high) for each in run.checkpoints],
                    text=[
                        f"{run.label}, step {each.step}: {what} {in_words(value(each.summary))}"
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
                    y=[percent(math.fsum(r for _, r in chunk) / len(chunk)) for chunk in chunks],
                    text=[
                        f"{run.label}, steps {chunk[0][0]} to {chunk[-1][0]}: "
                        f"reward {100 * math.fsum(r for _, r in chunk) / len(chunk):.1f} %"
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
