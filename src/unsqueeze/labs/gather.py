"""What the finished runs of a suite hold: their evaluations, as counts for every problem and as estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from unsqueeze.labs.grid import Cell, PlannedRun
from unsqueeze.metrics.summary import Summary
from unsqueeze.metrics.tally import Tally
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table
from unsqueeze.verify.verdict import of_unreadable_gold


@dataclass(frozen=True, slots=True)
class Gathered:
    """A finished run with its evaluations by the RL step they followed."""

    run: PlannedRun
    path: Path
    tallies: Mapping[int, Tally]
    summaries: Mapping[int, Summary]
    seconds: float
    """Seconds of all processes that worked on it."""

    @property
    def last(self) -> int:
        return max(self.tallies)

    def to_json_object(self) -> dict[str, Any]:
        """Return counts and estimates of every evaluation; the problems are those of the data file's ``problems``."""
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


def gather(run: PlannedRun, path: Path, seconds: float) -> Gathered:
    """Read the evaluations of a finished run. RunError naming what is damaged."""
    evals = RunDirectory.open(path).evals
    steps = evals.steps()
    return Gathered(
        run=run,
        path=path,
        tallies={step: tally_of(evals.samples_path(step)) for step in steps},
        summaries={step: evals.summary(step) for step in steps},
        seconds=seconds,
    )


def tally_of(path: Path) -> Tally:
    """Count the stored samples of one evaluation, problem by problem. RunError naming the file if it is damaged."""
    table = read_table(path, SAMPLE_SCHEMA).select(["benchmark", "problem_id", "verdict", "correct", "reason"])
    columns = {name: table[name] for name in ("benchmark", "problem_id")}
    counts = (
        table.append_column("right", pc.fill_null(table["correct"], False).cast("int64"))
        .append_column("open", pc.is_null(table["correct"]).cast("int64"))
        .group_by(list(columns), use_threads=False)
        .aggregate([("right", "sum"), ("open", "sum"), ("right", "count")])
    )
    unjudged = table.filter(pc.is_null(table["correct"]))
    unreadable = {
        (row["benchmark"], row["problem_id"])
        for row in unjudged.to_pylist()
        if of_unreadable_gold(row["verdict"], row["reason"])
    }
    rows = [row for row in counts.to_pylist() if (row["benchmark"], row["problem_id"]) not in unreadable]
    return Tally(
        problem_ids=tuple(row["problem_id"] for row in rows),
        benchmarks=tuple(row["benchmark"] for row in rows),
        num_samples_P=np.array([row["right_count"] for row in rows], dtype=np.int64),
        num_correct_P=np.array([row["right_sum"] for row in rows], dtype=np.int64),
        num_open_P=np.array([row["open_sum"] for row in rows], dtype=np.int64),
        unreadable=tuple(sorted(unreadable)),
    )


@dataclass(frozen=True)
class Results:
    """The finished reported runs of a suite, by cell, in the order of their seeds."""

    cells: Mapping[Cell, Sequence[Gathered]]
    control: str

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(cell.variant for cell in self.cells))

    def of_variant(self, variant: str) -> dict[Cell, Sequence[Gathered]]:
        return {cell: runs for cell, runs in self.cells.items() if cell.variant == variant and runs}


def gathered_by_cell(runs: Sequence[Gathered], cells: Sequence[Cell]) -> dict[Cell, list[Gathered]]:
    """Sort runs into their cells, by seed."""
    return {cell: sorted((g for g in runs if g.run.cell == cell), key=lambda g: g.run.seed) for cell in cells}
