"""One run on disk (``docs/run-directory.md``).

RUN/
  run.json               what was asked, of which versions, with which seeds, on which machine
  journal.jsonl          what happened, in order
  metrics.jsonl          a line an optimizer step, with its phase
  rollouts/*.parquet     every rollout ever generated
  demos/*.parquet        what L2TE chose
  checkpoints/step-*/    policy and state
  evals/step-*           samples and summary
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.store.atomic import make_folder, unfinished_name, write_atomically
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.demos import DemoWriter
from unsqueeze.store.evals import EvalWriter, read_summary
from unsqueeze.store.journal import Journal, JsonLines
from unsqueeze.store.plain_json import dumps
from unsqueeze.store.rollouts import RolloutWriter


class RunDirectory:
    """The parts of one run. Use ``create`` for a new run, ``open`` for one that exists."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, run_info: Mapping[str, Any]) -> "RunDirectory":
        """Starts a run at ``path``, which must not exist or be empty, with ``run_info`` as its ``run.json``.

        ``run.json`` is written before anything else: a directory without it is no run. UserError where a run, or
        anything else, is there already.
        """
        run_json = path / "run.json"
        if run_json.exists():
            raise UserError(
                f"{path} holds a run already: go on with it by --resume, or name another directory with --run."
            )
        try:
            occupied = path.exists() and any(entry != unfinished_name(run_json) for entry in path.iterdir())
            make_folder(path)
        except OSError as error:
            raise UserError(
                f"the run directory {path} cannot be made ({error.strerror}): name another directory with --run."
            ) from error
        if occupied:
            raise UserError(f"{path} is not empty and holds no run: name another directory with --run.")
        write_atomically(run_json, dumps(run_info, indent=2).encode() + b"\n")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The run at ``path``. UserError if there is none."""
        if not (path / "run.json").is_file():
            raise UserError(
                f"{path} is no run directory: it has no run.json; give the directory of a run, or start one."
            )
        return cls(path)

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return read_summary(self.path / "run.json")

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.path / "journal.jsonl")

    @cached_property
    def metrics(self) -> JsonLines:
        return JsonLines(self.path / "metrics.jsonl")

    @property
    def rollouts(self) -> RolloutWriter:
        return RolloutWriter(self.path / "rollouts")

    @property
    def demos(self) -> DemoWriter:
        return DemoWriter(self.path / "demos")

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints")

    @property
    def evals(self) -> EvalWriter:
        return EvalWriter(self.path / "evals")

    def close(self) -> None:
        """Lets go of the open files."""
        self.journal.close()
        self.metrics.close()
