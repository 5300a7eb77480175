"""A run on disk, to be read: its metrics, rollouts and evaluations as tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import RunError, UserError
from unsqueeze.evaluation.settings import recipe_of
from unsqueeze.metrics.summary import Summary
from unsqueeze.store.arms import arms_in, refuse_arms
from unsqueeze.store.best import Best, best_checkpoint
from unsqueeze.store.demos import DEMO_SCHEMA
from unsqueeze.store.rollouts import LOGP_PROXIMAL, ROLLOUT_SCHEMA
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table
from unsqueeze.training.phase_report import PhaseReport

GAUGE_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("phase", pa.int64()),
        ("kind", pa.string()),
        ("policy_version", pa.int64()),
        ("greedy_logp", pa.float64()),
        ("entropy", pa.float64()),
    ]
)
"""Readings of gauges: after which RL step, in which phase (null before training), nats per token."""


class RunView:
    """A run directory, read as it is asked for; nothing is written and nothing is locked."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory

    @property
    def path(self) -> Path:
        return self._directory.path

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of ``run.json``."""
        return self._directory.info

    @property
    def recipe(self) -> Recipe:
        """The recipe, resolved. RunError where ``run.json`` names none."""
        recipe = recipe_of(self._directory)
        if recipe is None:
            raise RunError(f"{self.path / 'run.json'} names no recipe; it was edited.")
        return recipe

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal: what happened, in order."""
        return self._directory.journal.read()

    @property
    def reports(self) -> list[PhaseReport]:
        """The report of every phase that is done; of one that was told twice, the last word."""
        return PhaseReport.all_in(self.events)

    @property
    def metrics(self) -> pa.Table:
        """A row an optimizer step, RL and IRL."""
        records = self._directory.metrics.read()
        names = list(dict.fromkeys(name for record in records for name in record))
        return pa.table({name: [record.get(name) for record in records] for name in names})

    @property
    def gauges(self) -> pa.Table:
        """A row for every reading of the gauges of squeezing, in order; of one that was repeated, the last."""
        last = {(event["step"], event["kind"]): event for event in self.events if event["event"] == "gauged"}
        rows = [{name: event.get(name) for name in GAUGE_SCHEMA.names} for event in last.values()]
        return pa.Table.from_pylist(rows, schema=GAUGE_SCHEMA)

    @property
    def rollout_steps(self) -> list[int]:
        """The steps under which rollouts are stored."""
        return self._directory.rollouts.steps()

    def rollouts(self, steps: Sequence[int] | None = None) -> pa.Table:
        """Return the rollouts stored under these steps, or all, a row each."""
        wanted = self.rollout_steps if steps is None else steps
        paths = [self._directory.rollouts.path(step) for step in wanted]
        return _concatenated(
            (read_table(path, ROLLOUT_SCHEMA, optional=(LOGP_PROXIMAL,)) for path in paths), ROLLOUT_SCHEMA
        )

    def demonstrations(self) -> pa.Table:
        """Return what L2TE chose for the IRL phases, a row a demonstration, with the number of its ``phase``."""
        demos = self._directory.demos
        tables = []
        for number in demos.numbers():
            table = read_table(demos.path(number), DEMO_SCHEMA)
            tables.append(table.append_column("phase", pa.array([number] * table.num_rows, pa.int64())))
        return _concatenated(tables, DEMO_SCHEMA.append(pa.field("phase", pa.int64())))

    @property
    def evaluations(self) -> dict[int, Summary]:
        """The summary of every evaluation on the test problems by its step."""
        return {step: self._directory.evals.summary(step) for step in self._directory.evals.steps()}

    @property
    def validations(self) -> dict[int, Summary]:
        """The summary of every evaluation on the validation problems by its step."""
        return {step: self._directory.validation.summary(step) for step in self._directory.validation.steps()}

    def samples(self, step: int) -> pa.Table:
        """Return every sample of the evaluation after ``step``. UserError where there is none."""
        if step not in self._directory.evals.steps():
            raise UserError(f"{self.path} has no evaluation after step {step}; it has {self._directory.evals.steps()}.")
        return read_table(self._directory.evals.samples_path(step), SAMPLE_SCHEMA)

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The policy of every checkpoint, in Hugging Face format, by its step."""
        found = self._directory.checkpoints
        return {step: found.path(step) / "policy" for step in found.steps()}

    @property
    def best(self) -> Best | None:
        """The best checkpoint by the validation problems; None without them."""
        return best_checkpoint(self._directory)


class Runs(Mapping[str, RunView]):
    """The arms of a recipe side by side in one directory."""

    def __init__(self, arms: Mapping[str, RunView]) -> None:
        self._arms = arms

    def __getitem__(self, name: str) -> RunView:
        return self._arms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arms)

    def __len__(self) -> int:
        return len(self._arms)


def open_run(path: str | Path) -> RunView:
    """Open a run to be read. UserError where there is none; it names the arms where the directory holds those."""
    refuse_arms(path)
    return RunView(RunDirectory.open(Path(path)))


def open_arms(path: str | Path) -> Runs:
    """Open every arm in the directory of a recipe. UserError where it holds none."""
    arms = arms_in(Path(path))
    if not arms:
        raise UserError(f"{path} holds no arms: none of its folders has a run.json.")
    return Runs({name: open_run(Path(path) / name) for name in arms})


def _concatenated(tables: Any, schema: pa.Schema) -> pa.Table:
    whole = list(tables)
    try:
        return pa.concat_tables(whole, promote_options="default") if whole else schema.empty_table()
    except pa.ArrowException as error:
        raise RunError(f"the tables of this run do not fit together: {error}.") from error
