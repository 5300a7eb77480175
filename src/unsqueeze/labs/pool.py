"""The run directories of a lab: one for every different recipe and seed, shared by the suites that ask for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError
from unsqueeze.labs.grid import PlannedRun
from unsqueeze.store.provenance import provenance
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.arms import ENDS

_OF_THE_CODE = ("versions", "git", "platform")
"""Facts of run.json that two runs must share for one to lend the other its evaluation."""


@dataclass(frozen=True)
class Pool:
    """The folder of the runs."""

    folder: Path

    def path(self, run: PlannedRun) -> Path:
        """Return the directory of a run: the one that is there, whatever suite it was begun for, else its own."""
        found = sorted(self.folder.glob(f"*-{run.digest[:12]}/run.json"))
        return found[0].parent if found else self.folder / run.folder

    def log(self, run: PlannedRun) -> Path:
        """Return the log of its processes, beside its directory."""
        path = self.path(run)
        return path.with_name(f"{path.name}.log")

    def is_begun(self, run: PlannedRun) -> bool:
        return (self.path(run) / "run.json").is_file()

    def is_done(self, run: PlannedRun) -> bool:
        """Tell whether a run has come to its end, with its evaluations."""
        if not self.is_begun(run):
            return False
        directory = RunDirectory.open(self.path(run))
        try:
            finished = any(event["event"] == "finished" for event in directory.journal.read())
            return finished and {0, run.recipe.rl.steps} <= set(directory.evals.steps())
        except RunError:
            return False  # its process says what is damaged

    def has_base(self, run: PlannedRun) -> bool:
        """Tell whether the evaluation before training is there."""
        return self.is_begun(run) and 0 in RunDirectory.open(self.path(run)).evals.steps()

    def lenders(self, run: PlannedRun, others: Iterable[PlannedRun]) -> list[PlannedRun]:
        """Return the runs that begin as this one does, by this code, and have their evaluation before training."""
        return [
            other
            for other in others
            if other.begins == run.begins
            and other.digest != run.digest
            and self.has_base(other)
            and self._is_of_now(other)
        ]

    @cached_property
    def _now(self) -> dict[str, Any]:
        return provenance()

    def _is_of_now(self, run: PlannedRun) -> bool:
        info = RunDirectory.open(self.path(run)).info
        return all(info.get(name) == self._now[name] for name in _OF_THE_CODE)

    def seconds(self, run: PlannedRun) -> float | None:
        """Return the seconds that the processes of a run took; None where none has ended."""
        if not self.is_begun(run):
            return None
        events = RunDirectory.open(self.path(run)).journal.read()
        found = [event["seconds"] for event in events if event["event"] in ENDS]
        return sum(found) if found else None
