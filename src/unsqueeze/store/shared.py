"""A run directory that the main process reads and writes for all: the others may not even see its disk."""

from pathlib import Path
from typing import Any, cast

from unsqueeze.distributed.processes import Processes
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.demos import DemoWriter
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.journal import Journal, JsonLines
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.store.run_directory import RunDirectory


class SharedDirectory(RunDirectory):
    """The run directory of all processes: each call runs in the main process, and all get its result or its error.

    ``directory`` is None in the others. What is asked of it must be asked by all of them, as is everything in a loop
    that all of them go through.
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
        return cast(Journal, self._shared("journal"))

    @property
    def metrics(self) -> JsonLines:
        return cast(JsonLines, self._shared("metrics"))

    @property
    def rollouts(self) -> RolloutWriter:
        return cast(RolloutWriter, self._shared("rollouts"))

    @property
    def demos(self) -> DemoWriter:
        return cast(DemoWriter, self._shared("demos"))

    @property
    def checkpoints(self) -> Checkpoints:
        return cast(Checkpoints, self._shared("checkpoints"))

    @property
    def evals(self) -> EvalWriter:
        return cast(EvalWriter, self._shared("evals"))

    @property
    def validation(self) -> EvalWriter:
        return cast(EvalWriter, self._shared("validation"))

    def last_words(self, event: str, **fields: Any) -> None:
        # Without the others: after a failure they may be anywhere.
        if self._directory is not None:
            self._directory.last_words(event, **fields)

    def close(self) -> None:
        if self._directory is not None:
            self._directory.close()

    def _shared(self, part: str) -> "OnMain":
        target = None if self._directory is None else getattr(self._directory, part)
        return OnMain(target, self.path / part, self._processes)


class OnMain:
    """Stands for an object that only the main process has: its methods run there, and give their results to all.

    What has a folder names it without asking.
    """

    def __init__(self, target: Any, folder: Path, processes: Processes) -> None:
        self._target = target
        self.folder = folder
        self._processes = processes

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            return self._processes.on_main(lambda: getattr(self._target, name)(*arguments, **keywords))

        return call
