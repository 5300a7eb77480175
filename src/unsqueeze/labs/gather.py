"""What the finished runs of a suite hold: their evaluations, as counts for every problem and as estimates."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.evaluation.summarise import tally_of as tally_of_samples
from unsqueeze.labs.grid import Cell, Job, PlannedPoint
from unsqueeze.labs.pool import Pool
from unsqueeze.metrics.summary import Summary
from unsqueeze.metrics.tally import Key, Tally
from unsqueeze.store.records import read_record
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table


@dataclass(frozen=True, slots=True)
class Gathered:
    """A finished run with its evaluations by the RL step they followed."""

    run: Job
    path: Path
    tallies: Mapping[int, Tally]
    summaries: Mapping[int, Summary]
    samples: Mapping[int, Path]
    """The file of the samples of each."""
    seconds: float
    """Seconds of all processes that worked on it."""

    @property
    def last(self) -> int:
        return max(self.tallies)

    def to_json_object(self) -> dict[str, Any]:
        """Return counts, by problem, and estimates of every evaluation."""
        return {
            "arm": self.run.cell.arm,
            "variant": self.run.cell.variant,
            "seed": self.run.seed,
            "factor": self.run.factor,
            "seconds": self.seconds,
            "evaluations": {
                str(step): {
                    **self.summaries[step].to_json_object(),
                    "problem_ids": list(tally.problem_ids),
                    "num_samples": tally.num_samples_P.tolist(),
                    "num_correct": tally.num_correct_P.tolist(),
                }
                for step, tally in self.tallies.items()
            },
        }


def gather(job: Job, pool: Pool) -> Gathered:
    """Read the evaluations of a finished run; those of a free point are the base model and it. RunError naming what is
    damaged.
    """
    path = pool.path(job)
    evals = RunDirectory.open(pool.path(job.of) if isinstance(job, PlannedPoint) else path).evals
    steps = [0] if isinstance(job, PlannedPoint) else evals.steps()
    samples = {step: evals.samples_path(step) for step in steps}
    summaries = {step: evals.summary(step) for step in steps}
    if isinstance(job, PlannedPoint):
        last = job.recipe.rl.steps
        samples[last] = path / "samples.parquet"
        summaries[last] = Summary.from_json_object(read_record(path / "summary.json"))
    return Gathered(
        run=job,
        path=path,
        tallies={step: tally_of(file) for step, file in samples.items()},
        summaries=summaries,
        samples=samples,
        seconds=pool.seconds(job) or 0.0,
    )


def tally_of(path: Path) -> Tally:
    """Count the stored samples of one evaluation, problem by problem. RunError naming the file if it is damaged."""
    return tally_of_samples(read_table(path, SAMPLE_SCHEMA))


@dataclass(frozen=True)
class Results:
    """The finished reported runs of a suite, by cell, in the order of their seeds."""

    cells: Mapping[Cell, Sequence[Gathered]]
    control: str
    subject: str = ""
    """The arm that is held against each rival."""

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(cell.variant for cell in self.cells))

    @property
    def most_samples(self) -> int:
        """Samples of a problem in the evaluations, the n of Avg@n."""
        return max((run.summaries[run.last].max_k for runs in self.cells.values() for run in runs), default=1)

    def pairs(self) -> Iterator[tuple[Cell, list[Gathered], list[Gathered]]]:
        """Every other cell beside the control of its variant: runs of both at the seeds that both have, in order."""
        for cell, runs in self.cells.items():
            control = self.cells.get(Cell(self.control, cell.variant), ())
            seeds = {run.run.seed for run in runs} & {run.run.seed for run in control}
            if cell.arm != self.control and seeds:
                yield cell, _at(runs, seeds), _at(control, seeds)

    def of_variant(self, variant: str) -> dict[Cell, Sequence[Gathered]]:
        return {cell: runs for cell, runs in self.cells.items() if cell.variant == variant and runs}


def _at(runs: Sequence[Gathered], seeds: Set[int]) -> list[Gathered]:
    return [run for run in runs if run.run.seed in seeds]


def shared_keys(tallies: Sequence[Tally]) -> list[Key]:
    """Return the problems that all evaluations have, in the order of the first."""
    others = [set(tally.keys) for tally in tallies[1:]]
    return [key for key in tallies[0].keys if all(key in other for other in others)]


def counts_of(tally: Tally, keys: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples and the correct samples of these problems, in their order."""
    places = {key: place for place, key in enumerate(tally.keys)}
    rows_P = np.array([places[key] for key in keys], dtype=np.intp)
    return tally.num_samples_P[rows_P], tally.num_correct_P[rows_P]


def gathered_by_cell(runs: Sequence[Gathered], cells: Sequence[Cell]) -> dict[Cell, list[Gathered]]:
    """Sort runs into their cells, by seed."""
    return {cell: sorted((g for g in runs if g.run.cell == cell), key=lambda g: g.run.seed) for cell in cells}
