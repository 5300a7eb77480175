"""The tables of a report (``unsqueeze.tables``): results, differences, phases, time, problems, settings."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unsqueeze.metrics.comparison import Contrast
from unsqueeze.metrics.intervals import Estimate
from unsqueeze.metrics.tally import Key, Tally
from unsqueeze.report.model import BASE, Checkpoint, Contrasted, Report, RunRecord, Side
from unsqueeze.tables import SHOWN_KS, Column, Table


def all_tables(report: Report) -> dict[str, Table]:
    """Return every table by its name, in the order of the page; those without a row are left out."""
    made = {
        "results": results(report),
        "differences": differences(report),
        "all-differences": differences(report, every_k=True),
        "pass-at-k": pass_at_k(report),
        "phases": phases(report),
        "costs": costs(report),
        "turnover": turnover(report),
        "settings": settings(report),
    }
    return {name: table for name, table in made.items() if table.rows}


def shown_ks(ks: Sequence[int]) -> list[int]:
    """Return the ks of a table that is read at a glance."""
    return [k for k in ks if k in SHOWN_KS or k == max(ks)] if len(ks) > 4 else [k for k in ks if k > 1] or list(ks)


def _estimate(value: Sequence[float]) -> str:
    mean, low, high = value
    return f"{mean:.1f}" if math.isnan(low) else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _estimates(heading: str) -> Column:
    return Column(heading, show=_estimate, parts=("", "low", "high"))


def _in_percent(estimate: Estimate) -> tuple[float, float, float]:
    return 100 * estimate.mean, 100 * estimate.low, 100 * estimate.high


def _number(digits: int) -> Any:
    return lambda value: f"{value:,.{digits}f}"


def evaluated(report: Report) -> list[tuple[str, Side, RunRecord | None, Checkpoint]]:
    """Return the first base, and what every run ended with, by name."""
    rows: list[tuple[str, Side, RunRecord | None, Checkpoint]] = []
    bases: set[tuple[float, float]] = set()
    for side, run in report.runs:
        before = run.before
        if before is None:
            continue
        place = (before.summary.avg.mean, before.summary.greedy_logp or math.nan)
        if place not in bases:
            bases.add(place)
            rows.append((BASE if len(bases) == 1 else f"{BASE} of {run.label}", side, None, before))
    for side, run in report.runs:
        if run.last is not None and run.last.step != 0:
            rows.append((run.label, side, run, run.last))
    return rows


def results(report: Report) -> Table:
    """Avg@n and Pass@k with 95 % intervals of the base and of what every run ended with."""
    ks = shown_ks(report.ks)
    rows = [
        [
            name,
            _in_percent(checkpoint.summary.avg),
            *(_in_percent(checkpoint.summary.pass_at[k]) for k in ks),
            checkpoint.summary.greedy_logp,
            checkpoint.step,
            None if run is None else run.minutes,
        ]
        for name, _, run, checkpoint in evaluated(report)
    ]
    problems = {checkpoint.summary.n_problems for *_, checkpoint in evaluated(report)}
    return Table(
        [
            Column("", left=True),
            _estimates(f"Avg@{report.n}"),
            *(_estimates(f"Pass@{k}") for k in ks),
            Column("greedy log-prob", show=_number(3)),
            Column("step"),
            Column("minutes", show=_number(1)),
        ],
        rows,
        title="Results",
        caption=f"{' or '.join(map(str, sorted(problems)))} held-out problems, up to {report.n} samples each; % with "
        f"95 % intervals over problems, log-probs in nats per token",
    )


def differences(report: Report, *, every_k: bool = False) -> Table:
    """Paired differences against the first side and against the base, with intervals and p, and problems that moved.

    Of Avg@n and of Pass@k at the largest k, or at every k that tables show.
    """
    found = [*report.against_first, *report.against_base]
    ks = shown_ks(sorted(set.intersection(*(set(each.comparison.pass_at) for each in found)))) if found else []
    ks = ks if every_k else ks[-1:]
    return Table(
        [
            Column("", left=True),
            *(
                column
                for name in (f"Avg@{report.n}", *(f"Pass@{k}" for k in ks))
                for column in (
                    Column(name, show=_signed, parts=("", "low", "high")),
                    Column("p", show=lambda p: "<0.0001" if p < 1e-4 else f"{p:.4f}"),
                )
            ),
            Column("gained"),
            Column("lost"),
        ],
        [
            [
                f"{each.other} − {each.first}",
                *_contrast(each.comparison.avg),
                *(value for k in ks for value in _contrast(each.comparison.pass_at[k])),
                each.comparison.num_gained,
                each.comparison.num_lost,
            ]
            for each in found
        ],
        title="Paired differences" + (" at every k" if every_k else ""),
        caption="points, with 95 % intervals over problems; p by sign flips; gained and lost: problems that only the "
        "former, only the latter solved with any sample",
    )


def _contrast(contrast: Contrast) -> tuple[tuple[float, float, float], float]:
    return _in_percent(contrast.paired.difference), contrast.paired.p_value


def _signed(value: Sequence[float]) -> str:
    mean, low, high = value
    return f"{mean:+.1f}" if math.isnan(low) else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def pass_at_k(report: Report) -> Table:
    """Pass@k at every k."""
    return Table(
        [Column("", left=True), *(_estimates(f"Pass@{k}") for k in report.ks)],
        [
            [name, *(_in_percent(checkpoint.summary.pass_at[k]) for k in report.ks)]
            for name, _, _, checkpoint in evaluated(report)
        ],
        title="Pass@k",
        caption="% with 95 % intervals over problems",
    )


def phases(report: Report) -> Table:
    """What every phase did to the policy; with IRL phases, those alone."""
    irl = any(phase.kind == "irl" for run in report.trainings for phase in run.phases)
    return Table(
        [
            Column("run", left=True),
            Column("phase"),
            Column("kind", left=True),
            Column("after step"),
            Column("updates"),
            Column("moved KL, nats/token", show=lambda value: f"{value:.2g}"),
            Column("greedy log-prob before", show=_number(4)),
            Column("after", show=_number(4)),
            Column("most likely token before, %", show=_number(1)),
            Column("after, %", show=_number(1)),
            Column("NLL before", show=_number(3)),
            Column("NLL after", show=_number(3)),
            Column("weights moved, %", show=lambda value: f"{value:.3g}"),
            Column("did nothing", show=lambda value: "NOTHING" if value else "", left=True),
        ],
        [
            [
                run.label,
                phase.phase,
                phase.kind.upper(),
                phase.last_step,
                phase.num_updates,
                phase.kl_moved,
                phase.greedy_logp_before,
                phase.greedy_logp_after,
                100 * math.exp(phase.greedy_logp_before),
                100 * math.exp(phase.greedy_logp_after),
                phase.nll_before,
                phase.nll_after,
                100 * phase.share_moved,
                phase.did_nothing,
            ]
            for run in report.trainings
            for phase in run.phases
            if phase.kind == "irl" or not irl
        ],
        title="What every IRL phase changed" if irl else "What every phase changed",
        caption="on watched prompts; the most likely token: geometric mean of its probability along greedy answers",
    )


def costs(report: Report) -> Table:
    """Time and tokens of every phase."""
    seconds = {
        (run.label, phase.phase): (phase.seconds, phase.measuring_s) for run in report.trainings for phase in run.phases
    }
    return Table(
        [
            Column("run", left=True),
            Column("phase"),
            Column("kind", left=True),
            Column("seconds", show=_number(1)),
            Column("generating", show=_number(1)),
            Column("judging", show=_number(1)),
            Column("updating", show=_number(1)),
            Column("measuring", show=_number(1)),
            Column("sampled tokens", show=lambda value: f"{value:,}"),
        ],
        [
            [
                run.label,
                cost.phase,
                cost.kind.upper(),
                seconds.get((run.label, cost.phase), (None, None))[0],
                cost.generate_s,
                cost.verify_s,
                cost.update_s,
                seconds.get((run.label, cost.phase), (None, None))[1],
                cost.sampled_tokens,
            ]
            for run in report.trainings
            for cost in run.costs
        ],
        title="Time and tokens",
        caption="seconds",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Right answers and all answers to a problem, before training and after; or of the first side and of another."""

    run: str
    benchmark: str
    problem: str
    before: tuple[int, int]
    after: tuple[int, int]
    before_run: str
    before_step: int | None
    after_step: int | None

    def to_json_object(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def change(self) -> float:
        return self.after[0] / self.after[1] - self.before[0] / self.before[1]


def moved_problems(report: Report) -> list[Moved]:
    """Return every problem that was answered before and after, by run, the greatest loss first."""
    first = next((run for _, run in report.runs if run.last is not None), None)
    found = []
    for _, run in report.runs:
        before, after = run.before or (first.last if first else None), run.last
        if before is None or after is None or before is after or after.step == 0:
            continue
        if before.tally is None or after.tally is None:
            continue
        then, now = _counts(before.tally), _counts(after.tally)
        found += [
            Moved(
                run=run.label,
                benchmark=key[0],
                problem=key[1],
                before=then[key],
                after=counts,
                before_run=run.label if run.before else first.label if first else "",
                before_step=before.step,
                after_step=after.step,
            )
            for key, counts in now.items()
            if key in then
        ]
    return sorted(found, key=lambda each: each.change)


def _counts(tally: Tally) -> dict[Key, tuple[int, int]]:
    """Return right answers and all answers by problem, of those that were answered."""
    triples = zip(tally.keys, tally.num_correct_P.tolist(), tally.num_samples_P.tolist(), strict=True)
    return {key: (correct, samples) for key, correct, samples in triples if samples}


def turnover(report: Report) -> Table:
    """Problems that were lost or gained whole, worst first."""
    rows = [
        [
            each.run,
            each.problem,
            f"{each.before[0]} of {each.before[1]}",
            f"{each.after[0]} of {each.after[1]}",
            "lost" if each.after[0] == 0 else "gained",
        ]
        for each in moved_problems(report)
        if (each.before[0] == 0) != (each.after[0] == 0)
    ]
    return Table(
        [
            Column("run", left=True),
            Column("problem", left=True),
            Column("right before"),
            Column("right after"),
            Column("", left=True),
        ],
        rows,
        title="Problems lost and gained",
        caption="lost: solved by an answer before and by none after; of several, the one solved most often first",
    )


def settings(report: Report) -> Table:
    """Recipe, versions and machine of every run, a line a setting, with those in which runs differ first."""
    flat = {run.label: _flat(run) for run in report.trainings}
    names = list(dict.fromkeys(name for each in flat.values() for name in each))
    differing = [name for name in names if len({each.get(name) for each in flat.values()}) > 1]
    ordered = [*differing, *(name for name in names if name not in set(differing))]
    return Table(
        [Column("setting", left=True), *(Column(label, left=True) for label in flat)],
        [[name, *(each.get(name) for each in flat.values())] for name in ordered],
        title="Recipe, versions, seeds",
        caption="settings in which runs differ stand first" if differing else "",
    )


def _flat(run: RunRecord) -> dict[str, str]:
    found: dict[str, str] = {"run": str(run.path), "status": run.status}
    wanted = ("recipe", "versions", "git", "device", "num_parameters", "threads", "processes", "platform", "data")
    for name in wanted:
        if name in run.info:
            found |= _leaves(run.info[name], name)
    return {name.removeprefix("recipe."): value for name, value in found.items()}


def _leaves(value: Any, name: str) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {key: text for each, inner in value.items() for key, text in _leaves(inner, f"{name}.{each}").items()}
    return {name: value if isinstance(value, str) else json.dumps(value)}


def contrast_rows(found: Sequence[Contrasted]) -> list[dict[str, object]]:
    """Return comparisons as ``compare --json`` writes them, with the names of their sides."""
    return [
        {"first": each.first, "second": each.other, **each.comparison.to_json_object(difference=0.05)} for each in found
    ]
