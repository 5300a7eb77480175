"""Engines of several processes: each samples a share, or one samples for all."""

from collections.abc import Callable, Sequence
from typing import Any

from unsqueeze.distributed.processes import Processes
from unsqueeze.distributed.sharing import dealt_back, speaking_for_all
from unsqueeze.rollout.types import Completion, Engine, Sampling


class SharedEngine:
    """Implements ``Engine``: each process samples for its share of the prompts, and all get all completions.

    A prompt with its n completions is never split. Every prompt has a seed of its own, so any number of processes draws
    what one would, up to the rounding of matrix products of another shape.
    """

    def __init__(self, engine: Engine, processes: Processes) -> None:
        self._engine = engine
        self._processes = processes

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        share = range(self._processes.rank, len(prompts), self._processes.size)
        with self._processes.agreeing():
            mine = self._engine.generate(
                [prompts[i] for i in share],
                n,
                sampling,
                seeds=[seeds[i] for i in share],
                on_finished=on_finished and speaking_for_all(on_finished, n * len(share), n * len(prompts)),
            )
        return dealt_back(self._processes.gather(mine))

    def sync(self, policy: Any) -> None:
        self._engine.sync(policy)

    def rest(self) -> None:
        self._engine.rest()

    def close(self) -> None:
        self._engine.close()

    @property
    def policy_version(self) -> int | None:
        return self._engine.policy_version


class MainEngine:
    """Implements ``Engine`` on servers, which one process asks for all: the main one has the engine, from ``make``.

    The others wait, and get what it gets.
    """

    def __init__(self, make: Callable[[], Engine], processes: Processes) -> None:
        self._processes = processes
        with processes.agreeing():
            self._engine = make() if processes.is_main else None
        self.policy_version = self._version()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        drawn: list[list[Completion]] = []
        with self._processes.agreeing():
            if self._engine is not None:
                drawn = self._engine.generate(prompts, n, sampling, seeds=seeds, on_finished=on_finished)
        return self._processes.gather(drawn)[0]

    def sync(self, policy: Any) -> None:
        # Weights in pieces are gathered by all, though the main process alone hands them over.
        with self._processes.agreeing(), policy.gathered():
            if self._engine is not None:
                self._engine.sync(policy)
        self.policy_version = self._version()

    def rest(self) -> None:
        if self._engine is not None:
            self._engine.rest()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _version(self) -> int | None:
        return self._processes.gather(None if self._engine is None else self._engine.policy_version)[0]
