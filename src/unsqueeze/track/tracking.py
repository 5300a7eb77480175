"""All trackers of a run as one thing that never fails."""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError, UnsqueezeError, one_line
from unsqueeze.metrics.summary import Summary
from unsqueeze.store.records import read_record, write_record
from unsqueeze.track.mlflow import MLflow
from unsqueeze.track.tensorboard import TensorBoard
from unsqueeze.track.tracker import TrackedRun, Tracker
from unsqueeze.track.trackio import Trackio
from unsqueeze.track.wandb import WandB

TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
    "trackio": Trackio,
}
ID_FILE = "tracking.json"
GAUGE = "gauge_"
"""Begins the names of the gauges in a line of metrics: curves of their own, over RL and IRL steps alike."""


class Tracking:
    """Tells the trackers that are on. One that raises, at whatever, is warned of once and off from then on.

    The step that values stand under counts optimizer steps, RL and IRL together: the lines of ``metrics.jsonl``.
    Evaluations and phase reports stand under that of the step before them.
    """

    def __init__(self, names: Sequence[str], *, warn: Callable[[str], None]) -> None:
        self._names = names
        self._warn = warn
        self._step = 0
        self._open: dict[str, Tracker] = {}
        self._known: dict[tuple[str, str], int | None] = {}
        self._path: Path | None = None
        self._lacking: set[str] = set()

    def open(self, run: TrackedRun, past: Callable[["Tracking"], None] | None = None) -> None:
        """Start all trackers, or go on with them. One that lacks what a run did before is told: ``past`` tells all."""
        self._path = run.path
        whole = set(self._names) if past is None or not run.first_step else whole_in(run.path)
        for name in self._names:
            known = run if name in whole else replace(run, first_step=0)
            self._try(name, "starting", partial(self._start, name, known))
        others = {name: self._open.pop(name) for name in list(self._open) if name in whole}
        if self._open:
            assert past is not None, "whoever is to be told needs somebody who tells"
            try:
                past(self)
            except (UnsqueezeError, KeyError, TypeError) as error:
                self._lacking = set(self._open)
                self._warn(f"{', '.join(self._open)} cannot be told what the run did before: {one_line(error)}")
        self._open |= others
        self._step = max(0, run.first_step - 1)
        self._note_whole()

    def optimizer_step(self, record: Mapping[str, Any]) -> None:
        """A line of metrics."""
        self._step += 1
        gauges = {name: value for name, value in record.items() if name.startswith(GAUGE)}
        self._log(str(record["kind"]), scalars({name: record[name] for name in record.keys() - gauges.keys()}))
        if gauges:
            self.gauges(record["step"], {name.removeprefix(GAUGE): value for name, value in gauges.items()})

    def gauges(self, step: int, values: Mapping[str, Any]) -> None:
        """Log the gauges of squeezing after an RL step and what followed it."""
        self._log("gauges", scalars(values) | {"step": float(step)})

    def evaluation(self, kind: str, step: int, summary: Summary) -> None:
        """Log an evaluation or a validation after an RL step: Avg@n, Pass@k with their intervals, greedy log-prob."""
        values = scalars(summary.to_json_object() | {"step": step})
        for k, estimate in summary.pass_at.items():
            ends = {"": estimate.mean, "_low": estimate.low, "_high": estimate.high}
            values |= scalars({f"pass_at_{k}{end}": value for end, value in ends.items()})
        self._log(kind, values)

    def phase_report(self, report: Mapping[str, Any]) -> None:
        """Log what a phase did."""
        self._log(f"phase_{report['kind']}", scalars(report) | {"step": float(report["last_step"])})

    def close(self) -> None:
        for name in list(self._open):
            self._try(name, "closing", self._open[name].close)
        self._open.clear()

    def leave(self, path: Path) -> None:
        """Write down that no tracker hears of what comes now."""
        self._path = path
        self._note_whole()

    def _note_whole(self) -> None:
        """Write down which trackers hold everything so far: others are told what they lack when the run goes on."""
        if self._path is not None:
            with suppress(OSError, RunError):  # no run ends by its trackers
                record = read_record(self._path / ID_FILE) | {"whole": sorted(self._open.keys() - self._lacking)}
                write_record(self._path / ID_FILE, record, replace=True)

    def _log(self, kind: str, values: Mapping[str, float]) -> None:
        named = {f"{kind}/{name}": value for name, value in values.items()}
        for name in list(self._open):
            self._try(name, "logging", partial(self._log_to, name, kind, named))

    def _start(self, name: str, run: TrackedRun) -> None:
        self._open[name] = TRACKERS[name](run)

    def _log_to(self, name: str, kind: str, values: Mapping[str, float]) -> None:
        tracker = self._open[name]
        if (name, kind) not in self._known:
            self._known[name, kind] = tracker.last_step(kind)
        known = self._known[name, kind]
        if known is None or self._step > known:
            tracker.log(self._step, values)

    def _try(self, name: str, doing: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 - of a foreign service anything may be expected; no run ends by it
            self._open.pop(name, None)
            self._note_whole()
            detail = one_line(f"{type(error).__name__}: {error}")
            if isinstance(error, ImportError):
                detail = f"{detail}; pip install 'unsqueeze[{name}]'"
            self._warn(f"the tracker {name} failed at {doing} and is off for the rest of this run: {detail}")


def scalars(fields: Mapping[str, Any]) -> dict[str, float]:
    """The fields that a curve can be drawn of: finite numbers, and truth values as 0 and 1."""
    return {
        name: float(value)
        for name, value in fields.items()
        if isinstance(value, bool | int | float) and math.isfinite(value)
    }


def whole_in(path: Path) -> set[str]:
    """The trackers that hold everything a run did so far."""
    try:
        names = read_record(path / ID_FILE).get("whole", [])
    except RunError:
        return set()
    return {str(name) for name in names} if isinstance(names, list) else set()


def run_id(path: Path) -> str:
    """The id of the run in ``path``, made when first asked for. RunError where it cannot be read or written."""
    file = path / ID_FILE
    if not file.exists():
        write_record(file, {"id": uuid.uuid4().hex})
    found = read_record(file).get("id")
    if not isinstance(found, str):
        raise RunError(f"{file} holds no id; remove it, and trackers begin a run of their own.")
    return found
