"""The run directory of many processes: everything that reads or writes is a meeting, done by the main process."""

import inspect
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from unsqueeze.distributed.processes import Processes
from unsqueeze.errors import RunError
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.demos import DemoWriter
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.journal import Journal, JsonLines
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.shared import (
    SharedCheckpoints,
    SharedDemos,
    SharedDirectory,
    SharedEvals,
    SharedJournal,
    SharedLines,
    SharedRollouts,
)

ASKS_NOBODY = {"path", "samples_path", "summary_path", "close"}
"""Methods that neither read nor write: names of files, and the closing of files that only the main process opens."""


POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


class Given(str):
    """An argument that is equal to itself alone."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Recorded(Processes):
    """One process that counts its meetings."""

    size = 2
    meetings = 0

    def on_main(self, work: Any) -> Any:
        self.meetings += 1
        return work()


class Elsewhere(Processes):
    """A process that is not the main one: gets from a meeting what it is told, and does none of the work."""

    rank, size = 1, 2

    def __init__(self, told: Any) -> None:
        self._told = told

    def on_main(self, work: Any) -> Any:
        if isinstance(self._told, Exception):
            raise self._told
        return self._told


PARTS: list[tuple[Any, type]] = [
    (SharedJournal, Journal),
    (SharedLines, JsonLines),
    (SharedRollouts, RolloutWriter),
    (SharedDemos, DemoWriter),
    (SharedCheckpoints, Checkpoints),
    (SharedEvals, EvalWriter),
]


def methods_of(part: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(part, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize(("shared", "part"), PARTS)
def test_every_method_of_a_part_is_spelled_out(shared: type, part: type):
    """One that were inherited would read and write the disk of every process."""
    methods = methods_of(part)
    assert methods - shared.__dict__.keys() <= ASKS_NOBODY
    for name in methods & shared.__dict__.keys():
        assert inspect.getsource(getattr(shared, name)).count("self._on_main(") == 1


@pytest.mark.parametrize(("shared", "part"), PARTS)
def test_every_call_reaches_the_part_of_the_main_process_as_it_is(shared: Any, part: type, tmp_path: Path):
    own = create_autospec(part, instance=True)
    directory = shared(own, tmp_path, Recorded())
    for name in methods_of(part) & shared.__dict__.keys():
        _, *parameters = inspect.signature(getattr(part, name)).parameters.values()
        values = [Given(parameter.name) for parameter in parameters if parameter.kind == POSITIONAL]
        named = {one.name: Given(one.name) for one in parameters if one.kind != POSITIONAL}
        done = getattr(own, name)
        done.return_value = [name]
        assert list(getattr(directory, name)(*values, **named) or [name]) == [name]
        done.assert_called_once_with(*values, **named)


def test_the_main_process_does_the_work_and_each_call_is_one_meeting(tmp_path: Path):
    own = RunDirectory.create(tmp_path / "run", {"seed": 1})
    processes = Recorded()
    directory = SharedDirectory(own.path, own, processes)
    directory.journal.append("started", why="test")
    directory.metrics.append({"loss": 0.5})
    assert directory.metrics.num_lines() == 1
    assert directory.info["seed"] == 1
    assert directory.checkpoints.latest() is None
    assert processes.meetings == 5
    assert own.journal.read()[0]["why"] == "test"
    assert own.metrics.read() == [{"loss": 0.5}]
    assert [directory.journal.path, directory.evals.summary_path(3), directory.checkpoints.path(2)] == [
        own.journal.path,
        own.evals.summary_path(3),
        own.checkpoints.path(2),
    ]
    assert processes.meetings == 5
    directory.close()


def test_another_process_gets_what_the_main_one_found_and_touches_no_disk(tmp_path: Path):
    directory = SharedDirectory(tmp_path / "run", None, Elsewhere([1, 2]))
    assert directory.rollouts.steps() == [1, 2]
    directory.journal.append("started")
    directory.last_words("failed")
    directory.close()
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="the disk is full"):
        SharedDirectory(tmp_path / "run", None, Elsewhere(RunError("the disk is full"))).demos.write(1, [])
