"""A run directory that the main process reads and writes for all: the others may not even see its disk.

Every method here that reads or writes is a *meeting*, written as ``self._on_main(...)``: all processes call it, in the
same order as every other meeting, and all get the result or the error of the main process, which alone does the work.
What is not a meeting (``path``, ``folder``, names of files) asks nobody.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import pyarrow as pa

from unsqueeze.distributed.processes import Processes
from unsqueeze.metrics.summary import Summary
from unsqueeze.rollout.types import Group
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.demos import Demonstration, DemoWriter
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.journal import Journal, JsonLines
from unsqueeze.store.rollouts import GroupColumns, RolloutWriter
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import EvalSample

T = TypeVar("T")
Result = TypeVar("Result")


class OnMain(Generic[T]):
    """A meeting about ``own``, which the main process has and the others have not (None)."""

    def __init__(self, own: T | None, processes: Processes) -> None:
        self._own = own
        self._processes = processes

    def __call__(self, work: Callable[[T], Result]) -> Result:
        """Have the main process do ``work`` with what it has; every process gets what came of it."""
        return self._processes.on_main(lambda: work(cast(T, self._own)))


class SharedDirectory(RunDirectory):
    """The run directory of all processes. ``directory`` is None in all but the main one.

    What is asked of it must be asked by all of them, as is everything in a loop that all of them go through.
    """

    def __init__(self, path: Path, directory: RunDirectory | None, processes: Processes) -> None:
        self.path = path
        self._directory = directory
        self._processes = processes

    @property
    def info(self) -> dict[str, Any]:
        return self._processes.on_main(lambda: cast(RunDirectory, self._directory).info)

    @property
    def journal(self) -> Journal:
        return SharedJournal(self._own(lambda own: own.journal), self.path / "journal.jsonl", self._processes)

    @property
    def metrics(self) -> JsonLines:
        return SharedLines(self._own(lambda own: own.metrics), self.path / "metrics.jsonl", self._processes)

    @property
    def rollouts(self) -> RolloutWriter:
        return SharedRollouts(self._own(lambda own: own.rollouts), self.path / "rollouts", self._processes)

    @property
    def base_rollouts(self) -> RolloutWriter:
        own = self._own(lambda own: own.base_rollouts)
        return SharedRollouts(own, self.path / "base_rollouts", self._processes)

    @property
    def demos(self) -> DemoWriter:
        return SharedDemos(self._own(lambda own: own.demos), self.path / "demos", self._processes)

    @property
    def checkpoints(self) -> Checkpoints:
        own = self._own(lambda own: own.checkpoints)
        return SharedCheckpoints(own, self.path / "checkpoints", self._processes)

    @property
    def evals(self) -> EvalWriter:
        return SharedEvals(self._own(lambda own: own.evals), self.path / "evals", self._processes)

    @property
    def validation(self) -> EvalWriter:
        return SharedEvals(self._own(lambda own: own.validation), self.path / "validation", self._processes)

    def last_words(self, event: str, **fields: Any) -> None:
        # Without the others: after a failure they may be anywhere.
        if self._directory is not None:
            self._directory.last_words(event, **fields)

    def close(self) -> None:
        if self._directory is not None:
            self._directory.close()

    def _own(self, part: Callable[[RunDirectory], T]) -> T | None:
        """Return a part of the main process's own directory; None in the others."""
        return None if self._directory is None else part(self._directory)


class SharedJournal(Journal):
    """The journal of all processes: every method is a meeting."""

    def __init__(self, own: Journal | None, path: Path, processes: Processes) -> None:
        super().__init__(path)
        self._on_main = OnMain(own, processes)

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        return self._on_main(lambda own: own.append(event, **fields))

    def read(self) -> list[dict[str, Any]]:
        return self._on_main(lambda own: own.read())

    def last(self, event: str, **fields: Any) -> dict[str, Any] | None:
        return self._on_main(lambda own: own.last(event, **fields))


class SharedLines(JsonLines):
    """The metrics of all processes: every method is a meeting."""

    def __init__(self, own: JsonLines | None, path: Path, processes: Processes) -> None:
        super().__init__(path)
        self._on_main = OnMain(own, processes)

    def append(self, record: Mapping[str, Any]) -> None:
        self._on_main(lambda own: own.append(record))

    def sync(self) -> None:
        self._on_main(lambda own: own.sync())

    def read(self) -> list[dict[str, Any]]:
        return self._on_main(lambda own: own.read())

    def read_from_end(self) -> Iterator[dict[str, Any]]:
        return iter(self._on_main(lambda own: list(own.read_from_end())))

    def num_lines(self) -> int:
        return self._on_main(lambda own: own.num_lines())

    def truncate(self, num_lines: int) -> None:
        self._on_main(lambda own: own.truncate(num_lines))

    def num_leading(self, belongs: Callable[[dict[str, Any]], bool], at_most: int) -> int:
        return self._on_main(lambda own: own.num_leading(belongs, at_most))


class SharedRollouts(RolloutWriter):
    """The rollouts of all processes: every method is a meeting."""

    def __init__(self, own: RolloutWriter | None, folder: Path, processes: Processes) -> None:
        super().__init__(folder)
        self._on_main = OnMain(own, processes)

    def write(self, step: int, groups: Sequence[Group]) -> Path:
        return self._on_main(lambda own: own.write(step, groups))

    def read(self, step: int) -> list[Group]:
        return self._on_main(lambda own: own.read(step))

    def read_columns(self, step: int) -> list[GroupColumns]:
        return self._on_main(lambda own: own.read_columns(step))

    def steps(self) -> list[int]:
        return self._on_main(lambda own: own.steps())


class SharedDemos(DemoWriter):
    """The demonstrations of all processes: every method is a meeting."""

    def __init__(self, own: DemoWriter | None, folder: Path, processes: Processes) -> None:
        super().__init__(folder)
        self._on_main = OnMain(own, processes)

    def write(self, number: int, demos: Sequence[Demonstration]) -> Path:
        return self._on_main(lambda own: own.write(number, demos))

    def read(self, number: int) -> list[Demonstration]:
        return self._on_main(lambda own: own.read(number))

    def numbers(self) -> list[int]:
        return self._on_main(lambda own: own.numbers())


class SharedCheckpoints(Checkpoints):
    """The checkpoints of all processes: every method is a meeting."""

    def __init__(self, own: Checkpoints | None, folder: Path, processes: Processes) -> None:
        super().__init__(folder)
        self._on_main = OnMain(own, processes)

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        return self._on_main(lambda own: own.save(step, write))

    def steps(self) -> list[int]:
        return self._on_main(lambda own: own.steps())

    def latest(self) -> int | None:
        return self._on_main(lambda own: own.latest())

    def retain(self, keep_last: int, lasting: Set[int] = frozenset()) -> list[int]:
        return self._on_main(lambda own: own.retain(keep_last, lasting))


class SharedEvals(EvalWriter):
    """The evaluations of all processes: every method is a meeting."""

    def __init__(self, own: EvalWriter | None, folder: Path, processes: Processes) -> None:
        super().__init__(folder)
        self._on_main = OnMain(own, processes)

    def add(self, step: int, samples: Sequence[EvalSample]) -> None:
        self._on_main(lambda own: own.add(step, samples))

    def keys(self, step: int, benchmark: str) -> Set[tuple[str, int]]:
        return self._on_main(lambda own: own.keys(step, benchmark))

    def merge(self, step: int, benchmark: str, problem_ids: Sequence[str]) -> pa.Table:
        return self._on_main(lambda own: own.merge(step, benchmark, problem_ids))

    def discard(self, step: int) -> None:
        self._on_main(lambda own: own.discard(step))

    def finish(self, step: int, summary: Mapping[str, Any]) -> Path:
        return self._on_main(lambda own: own.finish(step, summary))

    def copy(self, step: int, other: EvalWriter, summary: Mapping[str, Any]) -> None:
        self._on_main(lambda own: own.copy(step, other, summary))

    def samples(self, step: int) -> list[EvalSample]:
        return self._on_main(lambda own: own.samples(step))

    def record(self, step: int) -> dict[str, Any]:
        return self._on_main(lambda own: own.record(step))

    def summary(self, step: int) -> Summary:
        return self._on_main(lambda own: own.summary(step))

    def steps(self) -> list[int]:
        return self._on_main(lambda own: own.steps())
