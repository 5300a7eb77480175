"""Evaluations of a run: every sample in ``evals/step-000100.parquet``, the summary in ``evals/step-000100.json``.

While an evaluation is under way its samples lie in ``evals/step-000100.parts/`` (``store.samples``). The summary is
written last: where it is, the evaluation is complete.
"""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from shutil import copyfile
from typing import Any

import pyarrow as pa

from unsqueeze.errors import RunError
from unsqueeze.metrics.summary import Summary
from unsqueeze.store.atomic import atomic_file
from unsqueeze.store.names import numbered, step_file
from unsqueeze.store.records import read_record, write_record
from unsqueeze.store.samples import EvalSample, Samples, read_samples


class EvalWriter:
    """The folder ``evals/`` of a run. A complete evaluation is never overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[int, Samples] = {}

    def add(self, step: int, samples: Sequence[EvalSample]) -> None:
        """Store judged samples of the evaluation after ``step``. RunError if that evaluation is complete."""
        self._check_new(step)
        self._of(step).add(samples)

    def keys(self, step: int, benchmark: str) -> Set[tuple[str, int]]:
        """Return the problem and the index of every sample of the evaluation after ``step`` that is stored."""
        return self._of(step).keys(benchmark)

    def merge(self, step: int, benchmark: str, problem_ids: Sequence[str]) -> pa.Table:
        """Put the samples of the evaluation after ``step`` into one file; return them, in the order of the problems."""
        self._check_new(step)
        return self._of(step).merge({benchmark: problem_ids})

    def discard(self, step: int) -> None:
        """Remove the samples of the unfinished evaluation after ``step``."""
        self._check_new(step)
        self._of(step).discard()

    def finish(self, step: int, summary: Mapping[str, Any]) -> Path:
        """Write the summary of the evaluation after ``step``, whose samples are merged. RunError if it is there
        already.
        """
        path = self._check_new(step)
        write_record(path, summary)
        self._open.pop(step, None)
        return path

    def copy(self, step: int, other: "EvalWriter", summary: Mapping[str, Any]) -> None:
        """Store the samples of ``other`` after ``step``, every column of them, with ``summary``. RunError likewise."""
        path = self._check_new(step)
        with atomic_file(self.samples_path(step), replace=True) as aside:
            copyfile(other.samples_path(step), aside)
        write_record(path, summary)

    def samples(self, step: int) -> list[EvalSample]:
        return read_samples(self.samples_path(step))

    def record(self, step: int) -> dict[str, Any]:
        """Return all that is written of the evaluation after ``step``."""
        return read_record(self.summary_path(step))

    def summary(self, step: int) -> Summary:
        """Return the summary of the evaluation after ``step``. RunError naming the file where it does not say it."""
        path = self.summary_path(step)
        try:
            summary = Summary.from_json_object(self.record(step))
            if summary.greedy_logp is None:
                raise KeyError("greedy_logp")
            return summary
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RunError(f"{path} does not say what an evaluation says ({error!r}); the file was edited.") from error

    def samples_path(self, step: int) -> Path:
        return self.folder / step_file(step, ".parquet")

    def summary_path(self, step: int) -> Path:
        return self.folder / step_file(step, ".json")

    def steps(self) -> list[int]:
        """Return the steps with a complete evaluation, in order."""
        return numbered(self.folder, "step", ".json")

    def _of(self, step: int) -> Samples:
        if step not in self._open:
            self._open[step] = Samples(self.samples_path(step), self.folder / step_file(step, ".parts"))
        return self._open[step]

    def _check_new(self, step: int) -> Path:
        path = self.summary_path(step)
        if path.exists():
            raise RunError(f"{path} exists already and is never overwritten.")
        return path
