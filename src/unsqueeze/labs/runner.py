"""Runs side by side, each in a process of its own: as many at a time as there are slots, until all have ended."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from unsqueeze.errors import INTERRUPTED
from unsqueeze.labs.grid import Job
from unsqueeze.labs.pool import Pool
from unsqueeze.progress import StopRequest
from unsqueeze.store.atomic import make_folder

State = Literal["waiting", "running", "finished", "failed", "stopped"]

_LOOK_EVERY_S = 0.2
MOST_LIVES = 3
"""Processes that a run may lose in a row without getting on before it counts as failed."""


@dataclass(eq=False)
class Live:
    """What is known of a run while a lab works: its state, what its process last said, why it failed."""

    run: Job
    state: State = "waiting"
    told: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    """Seconds of its processes in this lab, so far."""
    was_there: bool = False
    """It was finished before this lab began."""


@dataclass(eq=False)
class _Worker:
    live: Live
    slot: int
    process: subprocess.Popen[str]
    begun: float
    reader: threading.Thread
    before: float
    """Seconds of the run before this process."""


@dataclass(eq=False)
class Runner:
    """Processes for the runs of a lab. ``slots`` are the environments of those that run at a time."""

    pool: Pool
    slots: Sequence[Mapping[str, str]]
    on_change: Callable[[], None] = lambda: None
    """Called where a run changes its state."""
    on_look: Callable[[], None] = lambda: None
    """Called several times a second."""
    _workers: list[_Worker] = field(default_factory=list)
    _deaths: dict[str, tuple[int, float]] = field(default_factory=dict)

    def work_off(self, lives: Sequence[Live], stop: StopRequest) -> None:
        """Bring every run to its end, or to the state in which it failed or was stopped.

        Where ``stop`` is asked the processes are asked, and waited for; KeyboardInterrupt kills them, which loses
        nothing that is on disk either.
        """
        make_folder(self.pool.folder)
        for live in lives:
            if live.state == "waiting" and self.pool.is_done(live.run):
                live.state, live.was_there = "finished", True
        self.on_change()
        asked = False
        try:
            while True:
                if stop.asked and not asked:
                    asked = True
                    for worker in self._workers:
                        self._ask_to_stop(worker)
                if not stop.asked:
                    self._start_what_can(lives)
                if not self._workers:
                    break
                time.sleep(_LOOK_EVERY_S)
                self._look()
                self.on_look()
        finally:
            for worker in self._workers:
                self._ask_to_stop(worker)
                worker.process.kill()
                worker.process.wait()
                worker.reader.join()
                worker.live.state = "stopped"
            self._workers.clear()
        for live in lives:
            if live.state == "waiting":
                live.state = "stopped"
        self.on_change()

    def _start_what_can(self, lives: Sequence[Live]) -> None:
        free = [slot for slot in range(len(self.slots)) if all(worker.slot != slot for worker in self._workers)]
        for slot in free:
            live = next((each for each in lives if each.state == "waiting" and self._may_start(each)), None)
            if live is None:
                return
            self._start(live, slot, lives)

    def _may_start(self, live: Live) -> bool:
        """Tell whether nothing is just being made that this run would otherwise make again: an equal evaluation before
        training, or the very same run under another name.
        """
        return not any(
            worker.live.run.digest == live.run.digest
            or (worker.live.run.begins == live.run.begins and not self.pool.has_base(worker.live.run))
            for worker in self._workers
        )

    def _start(self, live: Live, slot: int, lives: Sequence[Live]) -> None:
        if self.pool.is_done(live.run):  # the same run stood in the list under another name
            live.state, live.was_there = "finished", True
            return
        order = self.pool.order(live.run, (other.run for other in lives))
        with self.pool.log(live.run).open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "unsqueeze.labs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | self.slots[slot],
                start_new_session=True,  # Ctrl-C in the terminal is heard here, and handed on
            )
        assert process.stdin is not None
        live.state, live.told, live.error = "running", {}, None
        reader = threading.Thread(target=_listen, args=(process, live), daemon=True)
        reader.start()
        self._workers.append(_Worker(live, slot, process, time.monotonic(), reader, live.seconds))
        with suppress(OSError):  # where it is gone already that is found when it is looked at
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        self.on_change()

    def _ask_to_stop(self, worker: _Worker) -> None:
        assert worker.process.stdin is not None
        with suppress(OSError):
            worker.process.stdin.close()

    def _look(self) -> None:
        """See which processes have ended, and how."""
        for worker in list(self._workers):
            worker.live.seconds = worker.before + time.monotonic() - worker.begun
            code = worker.process.poll()
            if code is None:
                continue
            self._workers.remove(worker)
            worker.reader.join()
            self._ask_to_stop(worker)
            worker.live.state, worker.live.error = self._ended(worker.live, code)
            self.on_change()

    def _ended(self, live: Live, code: int) -> tuple[State, str | None]:
        log = self.pool.log(live.run)
        if code == 0:
            return "finished", None
        if code == INTERRUPTED:
            return "stopped", None
        if told := live.told.get("error"):
            return "failed", str(told)
        if code > 0 and code != 137:
            return "failed", f"its process ended with exit code {code}; the end of {log} says why."
        # Killed from outside, such as for memory: it goes on from what is on disk, unless that gets it nowhere.
        reached = _size(self.pool, live.run)
        deaths, before = self._deaths.get(live.run.digest, (0, -1.0))
        deaths = deaths + 1 if reached <= before else 1
        self._deaths[live.run.digest] = (deaths, reached)
        if deaths < MOST_LIVES:
            return "waiting", None
        return "failed", (
            f"its process was killed {deaths} times at the same place (exit code {code}); is there memory enough for "
            f"{len(self.slots)} runs at a time? Fewer take less (--jobs)."
        )


def _size(pool: Pool, job: Job) -> float:
    """Bytes of the journal and the metrics of a run, parts of an evaluation: they grow as it gets on."""
    folder = pool.path(job)
    files = [*folder.glob("*.jsonl"), *folder.glob("parts/*.parquet")]
    return float(sum(path.stat().st_size for path in files))


def _listen(process: "subprocess.Popen[str]", live: Live) -> None:
    """Take in what a process says until it ends."""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # a library that prints
            if isinstance(said, dict):
                live.told |= said
