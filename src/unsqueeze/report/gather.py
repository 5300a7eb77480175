"""Read runs and evaluations into the values of a report. What cannot be read is said, and the rest is shown."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from unsqueeze.api.judging import compare_all, score
from unsqueeze.api.runs import RunView, open_run
from unsqueeze.errors import RunError, UnsqueezeError, one_line
from unsqueeze.evaluation.sides import paired_by_seed
from unsqueeze.evaluation.summarise import describe_unjudged, tally_of
from unsqueeze.evaluation.tallying import sample_source
from unsqueeze.metrics.diversity import trajectory_similarity
from unsqueeze.metrics.summary import Summary
from unsqueeze.metrics.tally import Tally
from unsqueeze.progress import Progress, Silent
from unsqueeze.report.model import (
    BASE,
    Checkpoint,
    Contrasted,
    GaugeReading,
    PhaseCost,
    Report,
    Role,
    RunRecord,
    Side,
)
from unsqueeze.report.sources import named_sources
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.journal import ENDS
from unsqueeze.store.records import read_record
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table
from unsqueeze.training.phase_report import PhaseReport

T = TypeVar("T")

SIMILARITY_SAMPLES = 16
"""Answers to a problem that are compared with each other, as ``diagnose`` does by default."""

DRAWN_METRICS = ("step", "phase", "reward", "entropy", "response_tokens_mean", "cut_off", "unparsable")
"""Metrics of RL steps that a page draws."""


def gather(arguments: Sequence[str], *, seed: int = 0, progress: Progress | None = None) -> Report:
    """Return the report of what is named (``sources.named_sources``). UserError where a name fits nothing."""
    shown = progress or Silent()
    named, notes = named_sources(arguments)
    records: dict[str, list[RunRecord]] = {name: [] for name in named}
    with shown.work("reading", sum(map(len, named.values()))) as advance:
        for name, sources in named.items():
            for source in sources:
                records[name].append(_record(name, source, len(sources)))
                advance(1)
    sides = [Side(name=name, role=_role(runs), runs=runs) for name, runs in records.items()]
    sides.sort(key=lambda side: {"control": 0, "irl": 1, "other": 1}[side.role])
    trained = [side for side in sides if side.runs[0].is_training]
    notes += _different_steps(trained)
    against_base = _compared(_base_first(trained, notes), notes, seed, shown) if trained else []
    against_first = _compared([(side.name, _last_samples(side)) for side in sides], notes, seed, shown)
    return Report(
        title=", ".join(dict.fromkeys(_title(argument) for argument in arguments)),
        sides=sides,
        against_base=against_base,
        against_first=against_first,
        notes=list(dict.fromkeys(notes)),
    )


def _title(argument: str) -> str:
    return Path(argument).resolve().name or argument


def _role(runs: Sequence[RunRecord]) -> Role:
    recipe = runs[0].recipe
    if recipe is None:
        return "other"
    return "control" if recipe.irl is None else "irl"


def _record(name: str, source: str, count: int) -> RunRecord:
    path = Path(source)
    return _of_run(name, path, count) if (path / "run.json").is_file() else _of_samples(name, path)


def _of_run(name: str, path: Path, count: int) -> RunRecord:
    """Read a run, whatever state it is in."""
    run, missing = open_run(path), list[str]()

    def attempt(what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (UnsqueezeError, OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            why = f"it does not say {error}" if isinstance(error, KeyError) else one_line(error)
            missing.append(f"{what}: {why}")
            return otherwise

    info: Mapping[str, Any] = attempt("run.json", lambda: run.info, {})
    recipe = attempt("the recipe", lambda: run.recipe, None) if info else None
    events: list[dict[str, Any]] = attempt("the journal", lambda: run.events, [])
    metrics = attempt("the metrics", lambda: run.metrics, pa.table({}))
    phases: list[PhaseReport] = attempt("the phase reports", lambda: PhaseReport.all_in(events), [])
    evals = RunDirectory.open(path).evals
    found = [
        attempt(f"the evaluation after step {step}", partial(_checkpoint, evals, step), None) for step in evals.steps()
    ]
    checkpoints = [checkpoint for checkpoint in found if checkpoint is not None]
    best = attempt("the best checkpoint", lambda: run.best, None)
    seed = None if recipe is None else recipe.seed
    status, is_done = _status(events, recipe.rl.steps if recipe else None)
    if not checkpoints:
        missing.append("no evaluation is finished")
    warnings = [said for said in (report.warning() for report in phases) if said]
    warnings += [
        f"after step {each.step}: {words}" for each in checkpoints[-1:] for words in describe_unjudged(each.summary)
    ]
    if recipe is not None and best is None and len(checkpoints) > 2:
        warnings.append(
            "There are no validation problems: whoever chooses among these checkpoints by the curves below selects on "
            "the test problems."
        )
    return RunRecord(
        label=name if count == 1 or seed is None else f"{name}, seed {seed}",
        path=path,
        seed=seed,
        recipe=recipe,
        info=info,
        is_training=True,
        status=status,
        is_done=is_done,
        checkpoints=checkpoints,
        validations=attempt("the validations", lambda: run.validations, {}),
        best_step=best.step if best else None,
        gauges=attempt("the gauges", lambda: _gauges(run) if events else [], []),
        phases=phases,
        costs=attempt("time and tokens", lambda: _costs(metrics), []),
        metrics=attempt("the metrics", lambda: _drawn(metrics), {}),
        minutes=_minutes(events),
        warnings=warnings,
        missing=missing,
    )


def _checkpoint(evals: EvalWriter, step: int) -> Checkpoint | None:
    path = evals.samples_path(step)
    samples = read_table(path, SAMPLE_SCHEMA)
    return Checkpoint(
        step=step,
        summary=evals.summary(step),
        tally=tally_of(samples),
        samples=path,
        similarity=_similarity(samples),
    )


def _similarity(samples: pa.Table) -> float | None:
    """Return the mean over problems of how alike the first answers to it are."""
    texts: dict[tuple[str, str], list[str]] = {}
    for benchmark, problem, text in zip(
        *(samples[name].to_pylist() for name in ("benchmark", "problem_id", "text")), strict=True
    ):
        found = texts.setdefault((benchmark, problem), [])
        if len(found) < SIMILARITY_SAMPLES:
            found.append(text)
    values = [trajectory_similarity(each) for each in texts.values() if len(each) > 1]
    return math.fsum(values) / len(values) if values else None


def _of_samples(name: str, path: Path) -> RunRecord:
    """Read an evaluation, or a file of samples. UserError or RunError where there is none."""
    found = Path(sample_source(str(path)))
    record: Mapping[str, Any] = {}
    summary_path = path / "summary.json"
    if path.is_dir() and summary_path.is_file():
        record = read_record(summary_path)
        summary = Summary.from_json_object(record)
    else:
        summary = score(str(path))
    tally = similarity = None
    try:
        table = read_table(found, SAMPLE_SCHEMA)
        tally, similarity = tally_of(table), _similarity(table)
    except UnsqueezeError:
        found_samples = None  # a file of another form has verdicts, and no texts that are ours to show
    else:
        found_samples = found
    return RunRecord(
        label=name,
        path=path,
        status="evaluation" if record else "samples",
        checkpoints=[Checkpoint(step=None, summary=summary, tally=tally, samples=found_samples, similarity=similarity)],
        warnings=describe_unjudged(summary),
    )


def _status(events: Sequence[Mapping[str, Any]], steps: int | None) -> tuple[str, bool]:
    """Say how far a run is, and whether it is over."""
    if not events:
        return "nothing is in its journal", True
    last = events[-1]
    of = f" of {steps}" if steps else ""
    done = max((event.get("step") or event.get("last_step") or 0 for event in events), default=0)
    if last["event"] == "finished":
        return f"finished after {last.get('steps', done)} RL steps", True
    if last["event"] == "failed":
        return f"failed by step {done}{of}: {one_line(last.get('error', 'unknown'))}", True
    if last["event"] == "interrupted":
        return f"interrupted by step {done}{of}; --resume goes on", True
    return f"unfinished, step {done}{of}; last heard of at {last.get('time', 'an unknown time')}", False


def _minutes(events: Sequence[Mapping[str, Any]]) -> float | None:
    seconds = [event["seconds"] for event in events if event["event"] in ENDS and "seconds" in event]
    return sum(seconds) / 60 if seconds else None


def _gauges(run: RunView) -> list[GaugeReading]:
    rows = run.gauges.to_pylist()
    return [
        GaugeReading(**{name: row[name] for name in ("step", "phase", "kind", "greedy_logp", "entropy")})
        for row in rows
    ]


def _costs(metrics: pa.Table) -> list[PhaseCost]:
    found: dict[tuple[int, str], dict[str, float]] = {}
    names = ("sampled_tokens", "generate_s", "verify_s", "update_s")
    for row in metrics.to_pylist():
        sums = found.setdefault((row["phase"], row["kind"]), dict.fromkeys(names, 0.0))
        for name in names:
            sums[name] += row.get(name) or 0
    return [
        PhaseCost(
            phase=phase,
            kind=kind,
            sampled_tokens=int(sums["sampled_tokens"]),
            generate_s=sums["generate_s"],
            verify_s=sums["verify_s"],
            update_s=sums["update_s"],
        )
        for (phase, kind), sums in sorted(found.items())
    ]


def _drawn(metrics: pa.Table) -> dict[str, list[Any]]:
    rows = [row for row in metrics.to_pylist() if row.get("kind") == "rl"]
    last = {row["step"]: row for row in rows}  # several optimizer steps of one generation: the last
    return {name: [row.get(name) for row in last.values()] for name in DRAWN_METRICS}


def _last_samples(side: Side) -> list[str]:
    """Return what the runs of a side ended with; a run that was only evaluated before training ended with nothing."""
    return [_samples_of(run, run.last) for run in side.runs if run.last is not None and run.last.step != 0]


def _different_steps(sides: Sequence[Side]) -> list[str]:
    """Say where sides are compared that were not trained for as long."""
    last = {run.label: run.last.step for side in sides for run in side.runs if run.last and run.last.step}
    if len(set(last.values())) < 2:
        return []
    told = ", ".join(f"{label} after step {step}" for label, step in last.items())
    return [f"These were not trained for as long when last evaluated: {told}."]


def _samples_of(run: RunRecord, checkpoint: Checkpoint) -> str:
    return str(run.path if checkpoint.samples is None else checkpoint.samples)


def _base_first(sides: Sequence[Side], notes: list[str]) -> list[tuple[str, list[str]]]:
    """Return the base of every run, seed by seed, and the sides that trained away from it at all of these seeds; the
    others are noted.
    """
    trained = [
        (side.name, [run for run in side.runs if run.before is not None and len(run.checkpoints) > 1]) for side in sides
    ]
    bases = {run.seed: _samples_of(run, run.before) for _, runs in trained for run in runs if run.before is not None}
    whole = [(name, runs) for name, runs in trained if len(runs) == len(bases)]
    notes += [
        f"{name} is not compared with the {BASE}: {len(runs)} of its runs were evaluated before and after training, "
        f"and there are {len(bases)} seeds."
        for name, runs in trained
        if runs and len(runs) != len(bases)
    ]
    if not whole:
        return []
    order = list(bases)
    return [
        (BASE, [bases[seed] for seed in order]),
        *(
            (name, [str(run.last.samples) for seed in order for run in runs if run.seed == seed and run.last])
            for name, runs in whole
        ),
    ]


def _compared(named: Sequence[tuple[str, list[str]]], notes: list[str], seed: int, shown: Progress) -> list[Contrasted]:
    """Compare every side with the first, as ``compare`` does; what cannot be compared is noted."""
    found = {name: sources for name, sources in named if sources}
    if len(found) < 2:
        return []
    (first, firsts), *others = found.items()
    made = []
    with shown.work(f"comparing with {first}", len(others)) as advance:
        for other, sources in others:
            try:
                comparison = compare_all({first: list(firsts), other: list(sources)}, seed=seed)[other, first]
                pairs = paired_by_seed([(first, firsts), (other, sources)])
                solved = _num_solved(pairs[0], pairs[1])
            except (UnsqueezeError, OSError) as error:
                notes.append(f"{other} is not compared with {first}: {one_line(error)}")
            else:
                made.append(Contrasted(first=first, other=other, comparison=comparison, num_solved_first=solved))
            advance(1)
    return made


def _num_solved(first_S: Sequence[str], second_S: Sequence[str]) -> int | None:
    """Count the problems (pairs of a problem and a seed) of both sides that the first solved with any sample.

    None where samples are of a form that is not ours.
    """
    try:
        tallies = [[_tally_at(source) for source in side] for side in (first_S, second_S)]
    except RunError:
        return None
    shared = set.intersection(*(set(tally.keys) for side in tallies for tally in side))
    shared -= {key for side in tallies for tally in side for key in tally.unreadable}
    return sum(
        bool(correct) and key in shared
        for tally in tallies[0]
        for key, correct in zip(tally.keys, tally.num_correct_P.tolist(), strict=True)
    )


def _tally_at(source: str) -> Tally:
    return tally_of(read_table(Path(sample_source(source)), SAMPLE_SCHEMA))
