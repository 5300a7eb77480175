"""Evaluations: every sample in ``evals/step-000100.parquet``, the summary beside it in ``evals/step-000100.json``.

The summary is written last: where it is, the evaluation is complete.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import pyarrow as pa

from unsqueeze.errors import RunError
from unsqueeze.plain_json import dumps
from unsqueeze.rollout.types import StopReason
from unsqueeze.store.atomic import atomic_file, write_atomically
from unsqueeze.store.names import numbered, step_file
from unsqueeze.store.table import column, read_table, table_of_rows, write_table
from unsqueeze.verify.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSample:
    """One judged answer to one problem. ``mean_logp`` is nats per token, under the evaluated model at temperature 1.

    None is what a server did not say.
    """

    problem_id: str
    index: int
    text: str
    verdict: Verdict
    extracted: str | None
    reason: str
    num_tokens: int | None
    mean_logp: float | None
    stop_reason: StopReason

    @property
    def correct(self) -> bool | None:
        """None where nothing was judged. Stored too, so that any tool can score the file."""
        return self.verdict is Verdict.CORRECT if self.verdict.judged else None


SAMPLE_SCHEMA = pa.schema(
    [
        ("problem_id", pa.string()),
        ("index", pa.int64()),
        ("text", pa.string()),
        ("verdict", pa.string()),
        ("correct", pa.bool_()),
        ("extracted", pa.string()),
        ("reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("mean_logp", pa.float64()),
        ("stop_reason", pa.string()),
    ]
)

_OF_PROBLEM = ("benchmark", "gold")
RUN_SCHEMA = pa.schema([*SAMPLE_SCHEMA, *((name, pa.string()) for name in _OF_PROBLEM)])
"""What a run stores: its samples, and beside each of which benchmark it is and the gold answer."""


class EvalWriter:
    """The folder ``evals/`` of a run. A complete evaluation is never overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self,
        step: int,
        samples: Sequence[EvalSample],
        summary: Mapping[str, Any],
        *,
        benchmark: str | None = None,
        golds: Mapping[str, str] | None = None,
    ) -> Path:
        """Stores the evaluation after RL step ``step``; returns the summary's path. RunError if it is there already.

        ``benchmark`` names the problems, as ``unsqueeze eval`` names them; ``golds`` are their answers by problem id.
        """
        path = self._new_summary_path(step)
        # Samples without a summary are the remains of an evaluation that was cut off.
        write_samples(self.samples_path(step), samples, benchmark=benchmark, golds=golds, replace=True)
        write_atomically(path, dumps(summary, indent=2).encode() + b"\n")
        return path

    def copy(self, step: int, other: "EvalWriter", summary: Mapping[str, Any]) -> None:
        """Stores the samples of ``other`` after ``step``, every column of them, with ``summary``. RunError likewise."""
        path = self._new_summary_path(step)
        with atomic_file(self.samples_path(step), replace=True) as aside:
            copyfile(other.samples_path(step), aside)
        write_atomically(path, dumps(summary, indent=2).encode() + b"\n")

    def samples(self, step: int) -> list[EvalSample]:
        return read_samples(self.samples_path(step))

    def summary(self, step: int) -> dict[str, Any]:
        return read_summary(self.summary_path(step))

    def samples_path(self, step: int) -> Path:
        return self.folder / step_file(step, ".parquet")

    def summary_path(self, step: int) -> Path:
        return self.folder / step_file(step, ".json")

    def steps(self) -> list[int]:
        """The steps with a complete evaluation, in order."""
        return numbered(self.folder, "step", ".json")

    def _new_summary_path(self, step: int) -> Path:
        path = self.summary_path(step)
        if path.exists():
            raise RunError(f"{path} exists already and is never overwritten.")
        return path


def write_samples(
    path: Path,
    samples: Sequence[EvalSample],
    *,
    benchmark: str | None = None,
    golds: Mapping[str, str] | None = None,
    replace: bool = False,
) -> None:
    """Stores ``samples`` at ``path``. RunError if it exists and ``replace`` is off, or cannot be written."""
    table = table_of_rows(samples, SAMPLE_SCHEMA)
    same = ([benchmark] * len(samples), [(golds or {}).get(sample.problem_id) for sample in samples])
    for name, values in zip(_OF_PROBLEM, same, strict=True):
        table = table.append_column(RUN_SCHEMA.field(name), column(values, pa.string()))
    write_table(path, table, replace=replace)


def read_samples(path: Path) -> list[EvalSample]:
    """The samples stored at ``path``. RunError naming the file if it is missing, damaged or holds something else."""
    rows = read_table(path, SAMPLE_SCHEMA).drop_columns("correct").to_pylist()
    try:
        return [
            EvalSample(**row | {"verdict": Verdict(row["verdict"]), "stop_reason": StopReason(row["stop_reason"])})
            for row in rows
        ]
    except ValueError as error:  # a verdict or stop reason of no name we know
        raise RunError(f"{path} holds a row that is no sample: {error}.") from error


def read_summary(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``. RunError naming the file if it is missing or damaged."""
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    if not isinstance(summary, dict):
        raise RunError(f"{path} holds no JSON object; the file was damaged.")
    return summary
