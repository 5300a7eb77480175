"""The files of a lab (docs/lab.md): ``lab.json``, what was asked and what became of it; ``results.json``, the data."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.labs.choose import Choice
from unsqueeze.labs.gather import Gathered
from unsqueeze.labs.grid import Cell, Grid, Job, PlannedPoint, learning_rate
from unsqueeze.labs.pool import Pool
from unsqueeze.labs.runner import Live
from unsqueeze.store.records import write_record
from unsqueeze.tables import Table

LAB = "lab.json"
RESULTS = "results.json"


def run_entry(grid: Grid, live: Live, pool: Pool, folder: Path) -> dict[str, Any]:
    """Return the entry of a run in lab.json; paths are relative to the folder of that file."""
    run = live.run
    path = pool.path(run)
    return {
        **_named(run),
        "learning_rate": _rate(grid, run),
        "settings": _settings(grid, run),
        "path": os.path.relpath(path, folder),
        "log": os.path.relpath(pool.log(run), folder),
        "status": live.state,
        "error": live.error,
    }


def _settings(grid: Grid, job: Job) -> dict[str, Any]:
    """What tells the arm from the others: settings of its recipe, or what a free point is made of."""
    if isinstance(job, PlannedPoint):
        return {"of": job.of.cell.arm, "share": job.share, "last": job.last, "temperature": job.temperature}
    return dict((grid.suite.arms or {}).get(job.cell.arm, {}))


def _named(run: Job) -> dict[str, Any]:
    return {
        "arm": run.cell.arm,
        "variant": run.cell.variant or None,
        "seed": run.seed,
        "factor": run.factor,
        "role": "point" if isinstance(run, PlannedPoint) else run.role,
    }


def _rate(grid: Grid, run: Job) -> float:
    rates = grid.suite.learning_rates
    return learning_rate(run.recipe, "rl.learning_rate" if rates is None else rates.setting)


def awaited_entry(cell: Cell, seed: int, error: str | None) -> dict[str, Any]:
    """Return the entry of a reported run whose learning rate is not chosen yet, or could not be (``error``)."""
    return {
        "arm": cell.arm,
        "variant": cell.variant or None,
        "seed": seed,
        "factor": None,
        "role": "reported",
        "learning_rate": None,
        "settings": {},
        "path": None,
        "log": None,
        "status": "waiting" if error is None else "failed",
        "error": error,
    }


def choice_entries(grid: Grid, choices: Mapping[Cell, Choice]) -> list[dict[str, Any]]:
    """Return, for every arm, which learning rate was chosen, and how."""
    rates = grid.suite.learning_rates
    if rates is None:
        return []
    return [
        {
            "arm": cell.arm,
            "variant": cell.variant or None,
            "setting": rates.setting,
            "factor": choice.factor,
            "value": learning_rate(grid.cells[cell], rates.setting) * choice.factor,
            "criterion": rates.choose_by,
            "scores": {f"{factor:g}": score for factor, score in choice.scores.items()},
            "seeds": list(rates.seeds),
            "on": "validation problems",
        }
        for cell, choice in choices.items()
    ]


def write_lab(folder: Path, record: Mapping[str, Any]) -> None:
    write_record(folder / LAB, record, replace=True)


def write_results(
    folder: Path,
    grid: Grid,
    choices: Mapping[Cell, Choice],
    gathered: Sequence[Gathered],
    tables: Mapping[str, Table],
    made: Mapping[str, Any],
) -> None:
    """Write the data file: evaluations of every reported run, how learning rates were chosen, the tables."""
    record = {
        "suite": grid.suite.model_dump(mode="json"),
        "chosen": choice_entries(grid, choices),
        "runs": [
            each.to_json_object() | {"path": os.path.relpath(each.path, folder), "learning_rate": _rate(grid, each.run)}
            for each in gathered
        ],
        "tables": [
            {
                "name": name,
                "title": table.title,
                "caption": table.caption,
                "columns": [{"heading": column.heading, "parts": list(column.parts)} for column in table.columns],
                "rows": [list(row) for row in table.rows],
                "shown": table.shown,
            }
            for name, table in tables.items()
        ],
        **made,
    }
    write_record(folder / RESULTS, record, replace=True)
