"""Servers are asked by one of many processes: here two threads that meet as processes do."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from tiny_models import tiny_tokenizer
from unsqueeze.distributed.processes import ManyProcesses
from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout.scripted import ScriptedEngine
from unsqueeze.rollout.shared import MainEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import prompt_seeds

T = TypeVar("T")


class Threads(ManyProcesses):
    """Two processes played by two threads."""

    def __init__(self, rank: int, board: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, 2
        self._board, self._barrier = board, barrier

    def gather(self, value: T) -> list[T]:
        self._board[self.rank] = value
        self._barrier.wait(20)
        values = list(self._board)
        self._barrier.wait(20)
        return values


def on_both(work: Callable[[Threads], Any]) -> list[Any]:
    """What ``work`` gives, or the error it raises, on each of the two."""
    board, barrier = [None, None], threading.Barrier(2)

    def one(rank: int) -> Any:
        try:
            return work(Threads(rank, board, barrier))
        except (UserError, RunError) as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2)))


def test_all_get_what_the_main_one_is_told():
    made: list[ScriptedEngine] = []

    def make() -> ScriptedEngine:
        made.append(ScriptedEngine(tiny_tokenizer(), ["w3", "w4", "w5", "w6"]))
        return made[-1]

    def work(processes: Threads) -> Any:
        engine = MainEngine(make, processes)
        engine.sync(SimpleNamespace(gathered=nullcontext))
        engine.rest()
        drawn = engine.generate([[3], [4]], 2, Sampling(max_tokens=4), seeds=prompt_seeds(0, 2))
        engine.close()
        return [[one.text for one in group] for group in drawn]

    assert on_both(work) == [[["w3", "w4"], ["w5", "w6"]]] * 2
    assert len(made) == 1
    assert made[0].num_syncs == 1


def test_an_error_of_the_main_one_is_raised_in_all():
    def make() -> ScriptedEngine:
        raise UserError("no server")

    assert [str(error) for error in on_both(lambda processes: MainEngine(make, processes))] == ["no server"] * 2

    def work(processes: Threads) -> Any:
        engine = MainEngine(lambda: ScriptedEngine(tiny_tokenizer(), []), processes)
        return engine.generate([[3]], 1, Sampling(max_tokens=4), seeds=prompt_seeds(0, 1))

    errors = on_both(work)
    assert all("has run out" in str(error) for error in errors)
    with pytest.raises(UserError):
        raise errors[1]
