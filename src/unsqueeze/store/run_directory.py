"""One run on disk (``docs/run-directory.md``).

RUN/
  lock                   held by the process that writes
  run.json               what was asked, of which versions, with which seeds, on which machine
  journal.jsonl          what happened, in order
  metrics.jsonl          a line an optimizer step, with its phase
  rollouts/*.parquet     every rollout ever generated
  base_rollouts/*        rollouts of the base policy that RL steps hold to, where the recipe asks for them
  demos/*.parquet        what L2TE chose
  checkpoints/step-*/    policy and state
  evals/step-*           samples and summary on the test problems
  validation/step-*      the same on the validation problems, by which the best checkpoint is chosen
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError, UserError
from unsqueeze.store.atomic import make_folder, remove_unfinished, unfinished_name
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.demos import DemoWriter
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.journal import Journal, JsonLines
from unsqueeze.store.lock import RunLock
from unsqueeze.store.records import read_record, write_record
from unsqueeze.store.rollouts import RolloutWriter


class RunDirectory:
    """The parts of one run. Use ``create`` for a new run, ``resume`` to go on with one, ``open`` to read one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RunLock(path / "lock")

    @classmethod
    def create(cls, path: Path, run_info: Mapping[str, Any]) -> "RunDirectory":
        """Starts a run at ``path``, which must not exist or be empty, with ``run_info`` as its ``run.json``.

        ``run.json`` is written before anything else: a directory without it is no run. Locked until ``close``.
        UserError where a run, or anything else, is there already.
        """
        run_json = path / "run.json"
        if run_json.exists():
            raise UserError(f"{path} holds a run already: resume it (--resume), or name another run directory (--run).")
        try:
            of_a_start = (path / "lock", unfinished_name(run_json))
            occupied = path.exists() and any(entry not in of_a_start for entry in path.iterdir())
            make_folder(path)
        except OSError as error:
            raise UserError(
                f"the run directory {path} cannot be made ({error.strerror}): name another run directory (--run)."
            ) from error
        if occupied:
            raise UserError(f"{path} is not empty and holds no run: name another run directory (--run).")
        directory = cls(path)
        directory._lock.take()
        write_record(run_json, run_info)
        return directory

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The run at ``path``, to be read. UserError if there is none."""
        if not (path / "run.json").is_file():
            raise UserError(
                f"{path} is no run directory: it has no run.json; give the directory of a run, or start one."
            )
        return cls(path)

    @classmethod
    def resume(cls, path: Path) -> "RunDirectory":
        """The run at ``path``, to go on with: locked until ``close``, and rid of what a killed process left unfinished.

        UserError if there is none, or if it is in use.
        """
        directory = cls.open(path)
        directory._lock.take()
        for folder in (path, *(entry for entry in path.iterdir() if entry.is_dir())):
            remove_unfinished(folder)
        return directory

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        try:
            return read_record(self.path / "run.json")
        except RunError as error:
            raise RunError(
                f"{error} It is written once, when a run starts: put a copy of it back, or start again in another "
                f"run directory (--run)."
            ) from error

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.path / "journal.jsonl")

    @cached_property
    def metrics(self) -> JsonLines:
        # A resumed run repeats the steps after its checkpoint, lines and all: until then the disk may take its time.
        return JsonLines(self.path / "metrics.jsonl", sync_every_line=False)

    @property
    def rollouts(self) -> RolloutWriter:
        return RolloutWriter(self.path / "rollouts")

    @property
    def base_rollouts(self) -> RolloutWriter:
        return RolloutWriter(self.path / "base_rollouts")

    @property
    def demos(self) -> DemoWriter:
        return DemoWriter(self.path / "demos")

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints")

    @cached_property
    def evals(self) -> EvalWriter:
        return EvalWriter(self.path / "evals")

    @cached_property
    def validation(self) -> EvalWriter:
        return EvalWriter(self.path / "validation")

    def last_words(self, event: str, **fields: Any) -> None:
        """Journal the last event of a run that stops or fails."""
        self.journal.append(event, **fields)

    def close(self) -> None:
        """Lets go of the open files and of the lock."""
        self.journal.close()
        self.metrics.close()
        self._lock.release()
