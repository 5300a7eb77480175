"""What a run did before a tracker was there, read off its files and told in order."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from unsqueeze.metrics.summary import Summary
from unsqueeze.store.run_directory import RunDirectory


class Told(Protocol):
    """What is told: the trackers of a run."""

    def optimizer_step(self, record: Mapping[str, Any]) -> None: ...

    def gauges(self, step: int, values: Mapping[str, Any]) -> None: ...

    def evaluation(self, kind: str, step: int, summary: Summary) -> None: ...

    def phase_report(self, report: Mapping[str, Any]) -> None: ...


def tell_past(told: Told, path: Path, *, step: int, phase: int, metrics_lines: int) -> None:
    """Tell everything up to a checkpoint: ``step`` RL steps, ``phase`` whole phases, ``metrics_lines`` optimizer steps.

    Evaluations, phase reports and the gauges before training follow the optimizer step that they followed in training.
    RunError naming a file that is damaged.
    """
    run = RunDirectory.open(path)
    lines = run.metrics.read()[:metrics_lines]
    events = run.journal.read()
    after: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
    for event in events:
        if event["event"] == "gauged" and event["step"] == 0:
            after[0] = [partial(told.gauges, 0, {name: event[name] for name in ("greedy_logp", "entropy")})]
    for kind, evaluations in (("evaluation", run.evals), ("validation", run.validation)):
        for done in evaluations.steps():
            if done <= step:
                place = sum(line["step"] <= done for line in lines)
                after[place].append(partial(told.evaluation, kind, done, evaluations.summary(done)))
    reports = {event["phase"]: event for event in events if event["event"] == "phase_finished"}
    for number, report in reports.items():
        if number < phase:
            fields = {name: value for name, value in report.items() if name not in ("seq", "time", "event")}
            after[sum(line["phase"] <= number for line in lines)].append(partial(told.phase_report, fields))
    for place in range(len(lines) + 1):
        if place:
            told.optimizer_step(lines[place - 1])
        for tell in after[place]:
            tell()
