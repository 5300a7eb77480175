"""The run directories of a lab: one for every different recipe and seed, shared by the suites that ask for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError
from unsqueeze.labs.grid import Job, PlannedPoint, PlannedRun
from unsqueeze.store.journal import ENDS
from unsqueeze.store.provenance import provenance
from unsqueeze.store.records import read_record
from unsqueeze.store.run_directory import RunDirectory

_OF_THE_CODE = ("versions", "git", "platform")
"""Facts of run.json that two runs must share for one to lend the other its evaluation."""


@dataclass(frozen=True)
class Pool:
    """The folder of the runs."""

    folder: Path

    def path(self, job: Job) -> Path:
        """Return the directory of a run: the one that is there, whatever suite it was begun for, else its own."""
        found = sorted(self.folder.glob(f"*-{job.digest[:12]}/{_marker(job)}"))
        return found[0].parent if found else self.folder / job.folder

    def log(self, job: Job) -> Path:
        """Return the log of its processes, beside its directory."""
        path = self.path(job)
        return path.with_name(f"{path.name}.log")

    def is_begun(self, job: Job) -> bool:
        return (self.path(job) / _marker(job)).is_file()

    def is_done(self, job: Job) -> bool:
        """Tell whether a run has come to its end, with its evaluations."""
        if isinstance(job, PlannedPoint):
            return (self.path(job) / "summary.json").is_file()
        if not self.is_begun(job):
            return False
        directory = RunDirectory.open(self.path(job))
        try:
            finished = any(event["event"] == "finished" for event in directory.journal.read())
            return finished and {0, job.recipe.rl.steps} <= set(directory.evals.steps())
        except RunError:
            return False  # its process says what is damaged

    def order(self, job: Job, others: Iterable[Job]) -> dict[str, Any]:
        """Return what the process of a job is told (``labs.worker``)."""
        order: dict[str, Any] = {"recipe": job.recipe.model_dump(), "path": str(self.path(job))}
        if isinstance(job, PlannedPoint):
            made = {"share": job.share, "last": job.last, "temperature": job.temperature}
            return {"work": "evaluate", **order, "run": str(self.path(job.of)), **made}
        lenders = self.lenders(job, (other for other in others if isinstance(other, PlannedRun)))
        begun = {str(self.path(lender)): lender.recipe.model_dump() for lender in lenders[:1]}
        return {"work": "train", **order, "begun": begun}

    def has_base(self, job: Job) -> bool:
        """Tell whether the evaluation before training is there."""
        return self.is_begun(job) and 0 in RunDirectory.open(self.path(job)).evals.steps()

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

    def seconds(self, job: Job) -> float | None:
        """Return the seconds that the processes of a run took; None where none has ended."""
        if not self.is_begun(job):
            return None
        if isinstance(job, PlannedPoint):
            return float(read_record(self.path(job) / "summary.json")["seconds"]) if self.is_done(job) else None
        events = RunDirectory.open(self.path(job)).journal.read()
        found = [event["seconds"] for event in events if event["event"] in ENDS]
        return sum(found) if found else None


def _marker(job: Job) -> str:
    """The file that a directory of a run, or of an evaluation, begins with."""
    return "eval.json" if isinstance(job, PlannedPoint) else "run.json"
