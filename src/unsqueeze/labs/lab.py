"""A lab at work: the search of learning rates, the reported runs, and what they add up to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unsqueeze.errors import Interrupted, RunError
from unsqueeze.labs.choose import Choice, Point, beyond, choose
from unsqueeze.labs.gather import Gathered, Results, gather, gathered_by_cell
from unsqueeze.labs.grid import Cell, Grid, Job, PlannedRun
from unsqueeze.labs.pool import Pool
from unsqueeze.labs.record import awaited_entry, choice_entries, run_entry, write_lab, write_results
from unsqueeze.labs.runner import Live, Runner
from unsqueeze.labs.slots import slots_for
from unsqueeze.labs.timing import Pace, planned_seconds, probe, wall_seconds
from unsqueeze.labs.views import VIEWS
from unsqueeze.labs.views.learning_rates import learning_rates
from unsqueeze.progress import StopRequest
from unsqueeze.store.atomic import make_folder
from unsqueeze.store.lock import RunLock
from unsqueeze.store.provenance import provenance
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tables import Table

RUNS = "runs"


class Watcher(Protocol):
    """A person's view of a lab at work."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def show(self, lives: Sequence[Live], left_s: float | None) -> None:
        """Show how all runs stand, several times a second; ``left_s``: seconds that are left, None: not known."""
        ...


class Unwatched:
    """Nobody looks."""

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def show(self, lives: Sequence[Live], left_s: float | None) -> None: ...


@dataclass(frozen=True, slots=True)
class LabPlan:
    """What a lab is about to do: its runs, those that are there already, and the seconds that the others will take."""

    grid: Grid
    folder: Path
    runs: Sequence[Job]
    """All of them; those that are reported with the learning rate of the recipe where the search is not finished."""
    num_done: int
    num_left: int
    """Runs that are still to be made, those that stand under two names once."""
    num_wider: int
    """Runs by which the search may yet grow beyond them, at most."""
    jobs: int
    seconds: float | None
    """Seconds that those will take; None where there are none, or it could not be found out."""


@dataclass(frozen=True, slots=True)
class LabResult:
    """What a lab came to: its tables, the learning rates that were chosen, the runs that failed, with the reasons."""

    path: Path
    tables: Mapping[str, Table]
    chosen: Mapping[str, float]
    """The factor on the learning rate of every arm."""
    failed: Mapping[str, str]
    num_runs: int
    """Runs that the tables are made of."""


@dataclass(eq=False)
class Lab:
    """One suite in a folder: its record and results in ``out/NAME``, its runs in ``out/runs``."""

    grid: Grid
    out: Path
    jobs: int | None
    watcher: Watcher
    stop: StopRequest
    _lives: list[Live] = field(default_factory=list)
    _choices: dict[Cell, Choice] = field(default_factory=dict)
    _not_chosen: dict[Cell, str] = field(default_factory=dict)
    _pace: Pace | None = None
    _sizes: Mapping[str, int] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    """The estimate of every run that was not there when it was made, by its digest."""
    _record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.out / self.grid.suite.name
        self.pool = Pool(self.out / RUNS)
        recipe = next(iter(self.grid.cells.values()), None)
        self.slots = [] if recipe is None else slots_for(recipe, self.jobs)

    def plan(self) -> LabPlan:
        """Find out what is left to do and how long it will take, by a short run that is timed. Writes nothing."""
        searched, choices = self._searched_so_far()
        reported = self.grid.reported(self.grid.as_given() | _factors(choices))
        runs: list[Job] = [*searched, *reported, *self.grid.points(reported)]
        left = list({run.digest: run for run in runs if not self.pool.is_done(run)}.values())
        seconds = None
        if left:
            self.watcher.say("a short run is timed, to say how long this will take …")
            try:
                seconds = self._estimate(left)
            except RunError as error:
                self.watcher.warn(f"how long this will take is not known: {error}")
        num_done = sum(map(self.pool.is_done, runs))
        num_wider = self._num_wider(searched, choices)
        return LabPlan(self.grid, self.folder, runs, num_done, len(left), num_wider, len(self.slots), seconds)

    def _num_wider(self, searched: Sequence[PlannedRun], choices: Mapping[Cell, Choice]) -> int:
        """Count the runs by which the search may yet grow, at most: none for an arm whose choice lies inside."""
        rates = self.grid.suite.learning_rates
        if rates is None or not rates.widen:
            return 0
        tried = {cell: {run.factor for run in searched if run.cell == cell} for cell in self.grid.cells}
        left = [
            rates.widen + len(rates.factors) - len(factors)
            for cell, factors in tried.items()
            if cell not in choices
            or beyond(factors, choices[cell].factor) is not None
            or not self._is_done(cell, searched)
        ]
        return len(rates.seeds) * sum(left)

    def _is_done(self, cell: Cell, searched: Sequence[PlannedRun]) -> bool:
        return all(self.pool.is_done(run) for run in searched if run.cell == cell)

    def _searched_so_far(self) -> tuple[list[PlannedRun], dict[Cell, Choice]]:
        """The runs of the search as far as it can be told, and what was chosen where all of an arm's are done."""
        searched = self.grid.search()
        choices = self._choices_of_whole(searched)
        for _ in range(self._times_wider):
            wider = self.grid.wider(_factors(choices), searched)
            if not wider:
                break
            searched += wider
            choices |= self._choices_of_whole(searched)
        return searched, choices

    def _choices_of_whole(self, searched: Sequence[PlannedRun]) -> dict[Cell, Choice]:
        """What was chosen for the arms of which every run is done."""
        whole = {cell for cell in self.grid.cells if self._is_done(cell, searched)}
        return self._choices_by([run for run in searched if run.cell in whole])

    @property
    def _times_wider(self) -> int:
        rates = self.grid.suite.learning_rates
        return 0 if rates is None else rates.widen

    def _estimate(self, left: Sequence[Job]) -> float:
        """Time a short run of the control, and count the work of what is left."""
        recipe = next(recipe for cell, recipe in self.grid.cells.items() if cell.arm == self.grid.control)
        self._pace, self._sizes = probe(recipe, self.slots, self.stop)
        self._seconds = planned_seconds(left, self._pace, self._sizes)
        self._record["pace"] = self._pace.to_json_object()
        return wall_seconds(list(self._seconds.values()), len(self.slots))

    def work(self, plan: LabPlan) -> LabResult:
        """Do all that is left of a plan, and make the tables. Interrupted where ``stop`` was asked."""
        make_folder(self.folder)
        lock = RunLock(self.folder / "lock", advice="wait for that lab to end, or name another folder (--out)")
        lock.take()
        begun = time.monotonic()
        self._record = {
            "suite": self.grid.suite.model_dump(mode="json"),
            **provenance(),
            "status": "running",
            "jobs": len(self.slots),
            "estimate_s": plan.seconds,
            "took_s": None,
            "num_done_before": plan.num_done,
            **self._record,
        }
        try:
            self._work()
            result = self._results()
            self._record["status"] = "failed" if result.failed else "finished"
            return result
        except (Interrupted, KeyboardInterrupt):
            self._record["status"] = "stopped"
            self._results()
            raise
        finally:
            self._record["took_s"] = time.monotonic() - begun
            self._write()
            lock.release()

    def _work(self) -> None:
        if self.grid.suite.learning_rates is not None:
            self._search()
            self._estimate_what_was_chosen()
            factors = _factors(self._choices)
        else:
            factors = self.grid.as_given()
        reported = self.grid.reported(factors)
        self._run(reported)
        finished = {live.run.digest for live in self._lives if live.state == "finished"}
        self._run(self.grid.points([run for run in reported if run.digest in finished]))

    def _results(self) -> LabResult:
        """Gather what is finished of the reported runs."""
        gathered = self._gather([live.run for live in self._lives if live.run.role == "reported"])
        found = Results(gathered_by_cell(gathered, self.grid.rows), self.grid.control, self.grid.suite.subject or "")
        tables: dict[str, Table] = {
            name: VIEWS[name](found) for name in self.grid.suite.tables if gathered or not self.grid.cells
        }
        rates = self.grid.suite.learning_rates
        if rates is not None and tables:
            tables["learning_rates"] = learning_rates(self.grid, rates, self._choices)
        made = {name: self._record[name] for name in ("versions", "git", "platform", "argv")}
        write_results(self.folder, self.grid, self._choices, gathered, tables, made)
        failed = {live.run.label: live.error or "" for live in self._lives if live.state == "failed"}
        failed |= {cell.label: reason for cell, reason in self._not_chosen.items()}
        chosen = {cell.label: choice.factor for cell, choice in self._choices.items()}
        return LabResult(self.folder, tables, chosen, failed, len(gathered))

    def _run(self, runs: Sequence[Job]) -> None:
        lives = [Live(run) for run in runs]
        self._lives += lives
        runner = Runner(self.pool, self.slots, on_change=self._write, on_look=self._show)
        runner.work_off(lives, self.stop)
        self._show()
        self.stop.check()
        for live in lives:
            if live.state == "failed":
                self.watcher.warn(f"{live.run.label} failed: {live.error}")

    def _estimate_what_was_chosen(self) -> None:
        """Put the runs with the chosen learning rates in the estimate, for those with the recipe's."""
        if self._pace is None:
            return
        ended = {live.run.digest for live in self._lives}
        reported = self.grid.reported(_factors(self._choices))
        runs: list[Job] = [*reported, *self.grid.points(reported)]
        left = [run for run in runs if not self.pool.is_done(run)]
        searched = {digest: seconds for digest, seconds in self._seconds.items() if digest in ended}
        self._seconds = searched | planned_seconds(left, self._pace, self._sizes)

    def _search(self) -> None:
        """Choose the learning rate of every arm by the validation problems, as far out as the suite goes.

        The search of an arm goes on only where none of its runs failed: those of one factor are held against all.
        """
        searched = self.grid.search()
        self._run(searched)
        choices = self._choices_by(self._finished(searched))
        for _ in range(self._times_wider):
            finished = {run.digest for run in self._finished(searched)}
            failed = {run.cell for run in searched if run.digest not in finished}
            whole = {cell: factor for cell, factor in _factors(choices).items() if cell not in failed}
            wider = self.grid.wider(whole, searched)
            if not wider:
                break
            self._expect(wider)
            self._run(wider)
            searched += wider
            choices = self._choices_by(self._finished(searched))
        self._choices = choices
        for cell in self.grid.cells:
            if cell not in self._choices:
                self._not_chosen[cell] = "none of the runs that its learning rate is chosen by came to its end."
                self.watcher.warn(f"{cell.label}: {self._not_chosen[cell]}")

    def _finished(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Those of the runs that came to their end."""
        finished = {live.run.digest for live in self._lives if live.state == "finished"}
        return [run for run in runs if run.digest in finished]

    def _expect(self, runs: Sequence[Job]) -> None:
        """Put runs that were not foreseen in the estimate."""
        if self._pace is not None:
            left = [run for run in runs if not self.pool.is_done(run)]
            self._seconds |= planned_seconds(left, self._pace, self._sizes)

    def _choices_by(self, finished: Sequence[PlannedRun]) -> dict[Cell, Choice]:
        """Choose the learning rate of every arm that has finished runs of the search."""
        rates = self.grid.suite.learning_rates
        if rates is None:
            return {}
        paths: dict[Cell, dict[float, list[Sequence[Point]]]] = {}
        for run in finished:
            if path := self._validated(run):
                paths.setdefault(run.cell, {}).setdefault(run.factor, []).append(path)
        found = {cell: choose(of_factors, rates.choose_by) for cell, of_factors in paths.items()}
        return {cell: choice for cell, choice in found.items() if choice is not None}

    def _validated(self, run: PlannedRun) -> list[Point]:
        """The path of a run on the validation problems."""
        validation = RunDirectory.open(self.pool.path(run)).validation
        summaries = [validation.summary(step) for step in validation.steps()]
        return [(each.avg.mean, each.pass_at[each.max_k].mean) for each in summaries]

    def _gather(self, runs: Sequence[Job]) -> list[Gathered]:
        finished = {live.run.digest for live in self._lives if live.state == "finished"}
        return [gather(run, self.pool) for run in runs if run.digest in finished]

    def _show(self) -> None:
        self.watcher.show(self._lives, self._left_s())

    def _left_s(self) -> float | None:
        """Seconds that are left: the estimate of what is not done, corrected by how long finished runs took."""
        if not self._seconds:
            return None
        ended = [live for live in self._lives if live.state == "finished" and not live.was_there]
        ratio = (
            sum(live.seconds for live in ended) / sum(self._seconds[live.run.digest] for live in ended)
            if ended
            else 1.0
        )
        left = dict(self._seconds)
        for live in self._lives:
            if live.state in ("finished", "failed"):
                left.pop(live.run.digest, None)
            elif live.state == "running" and live.run.digest in left:
                left[live.run.digest] = max(left[live.run.digest] - live.seconds / ratio, 0.0)
        return ratio * wall_seconds(list(left.values()), len(self.slots))

    def _write(self) -> None:
        """Write lab.json as things stand."""
        entries = [run_entry(self.grid, live, self.pool, self.folder) for live in self._lives]
        if not any(entry["role"] == "reported" for entry in entries):
            entries += [
                awaited_entry(cell, seed, self._not_chosen.get(cell))
                for cell in self.grid.cells
                for seed in self.grid.suite.seeds
            ]
        else:
            entries += [
                awaited_entry(cell, seed, error)
                for cell, error in self._not_chosen.items()
                for seed in self.grid.suite.seeds
            ]
        write_lab(self.folder, self._record | {"chosen": choice_entries(self.grid, self._choices), "runs": entries})


def _factors(choices: Mapping[Cell, Choice]) -> dict[Cell, float]:
    """The factors that were chosen."""
    return {cell: choice.factor for cell, choice in choices.items()}
