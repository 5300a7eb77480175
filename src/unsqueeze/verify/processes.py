"""Handles on the processes of the verifier: the nursery that was spawned, and the workers it forked."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from unsqueeze.errors import RunError
from unsqueeze.seeds import HASH_SEED
from unsqueeze.verify.confine import children_of
from unsqueeze.verify.job import RETIRED, GraderName
from unsqueeze.verify.wire import Decoder, encode

START_TIMEOUT_S = 120.0
_CLOSE_TIMEOUT_S = 5.0


_KEPT = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV",
    "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "MPLCONFIGDIR",
)  # fmt: skip
"""Variables that Python and its libraries need to load. The others may be secrets: processes that judge have none."""


def _environment() -> dict[str, str]:
    """The environment of the process that loads a grader. Libraries keep to one thread: forks have no more.

    Verdicts do not depend on the order of sets, and the problems of reasoning-gym are made there as they were here.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    paths = os.pathsep.join(path for path in sys.path if path)
    fixed = {"PYTHONHASHSEED": HASH_SEED, "PYTHONPATH": paths}
    return {**kept, **fixed, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class NurseryDiedError(Exception):
    """The spawned process ended. Says its last words."""


def cpu_s(pid: int) -> float | None:
    """Seconds of the processor that a process and its forks have had. None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # utime, stime and those of ended children, fields 14 to 17 of proc(5), counted from the state behind the name,
    # which is field 3.
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_s(child) or 0.0 for child in children_of(pid))


class WorkerHandle:
    """One worker: its pipes, what it was given and has not answered, and until when the next answer is due."""

    def __init__(self, pid: int, jobs_fd: int, results_fd: int) -> None:
        self.pid = pid
        self.jobs_fd = jobs_fd
        self.results_fd = results_fd
        self.in_flight: deque[int] = deque()
        self.deadline = 0.0
        self.begun = 0.0
        self._begun_cpu_s: float | None = None
        self.retired = False
        self._unsent = memoryview(b"")
        self._decoder = Decoder()

    def begin(self, timeout_s: float) -> None:
        """Note that the worker is at its next answer from now on."""
        self.begun = time.monotonic()
        self.deadline = self.begun + timeout_s
        self._begun_cpu_s = cpu_s(self.pid)

    def computed_s(self) -> float | None:
        """Seconds of the processor that the worker had for the answer it is at. None where that is not known."""
        now = cpu_s(self.pid)
        return None if now is None or self._begun_cpu_s is None else now - self._begun_cpu_s

    @property
    def sending(self) -> bool:
        return bool(self._unsent)

    def give(self, keys: Sequence[int], jobs: Sequence[Any]) -> None:
        """A batch for an idle worker. It goes out by ``send`` as the pipe takes it."""
        assert not self.in_flight
        assert not self.sending
        self.in_flight.extend(keys)
        self._unsent = memoryview(encode(list(jobs)))

    def send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[os.write(self.jobs_fd, self._unsent) :]

    def receive(self) -> list[Any] | None:
        """The results that have come. None: the worker is gone."""
        try:
            data = os.read(self.results_fd, 1 << 16)
        except BlockingIOError:
            return []
        if not data:
            return None
        messages = self._decoder.feed(data)
        self.retired = RETIRED in messages
        return [message for message in messages if message != RETIRED]

    def close(self) -> None:
        for fd in (self.jobs_fd, self.results_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


class NurseryHandle:
    """The spawned process that has Math-Verify loaded. Starts in the background; ``fork`` waits until it is ready."""

    def __init__(self, *, memory_mb: int, alarm_s: float, grader: GraderName) -> None:
        self._settings = {"memory_mb": memory_mb, "alarm_s": alarm_s}
        self._decoder = Decoder()
        self._ready = False
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: a file called sympy.py in the working directory is not what we mean to import.
                [sys.executable, "-P", "-m", "unsqueeze.verify.worker", str(theirs.fileno()), grader],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
            )

    def _answer(self, name: str) -> Any:
        """What the nursery says under a name; an answer that an interrupted call left behind is passed over."""
        while name not in (message := self._next_message()):
            pass
        return message[name]

    def _next_message(self) -> dict[str, Any]:
        give_up = time.monotonic() + START_TIMEOUT_S
        while (wait_s := give_up - time.monotonic()) > 0:
            readable, _, _ = select.select([self._control], [], [], wait_s)
            if not readable:
                break
            data = self._control.recv(1 << 12)
            if not data:
                raise NurseryDiedError(self._last_words())
            for message in self._decoder.feed(data):
                return dict(message)
        raise RunError(f"verify: the process that loads Math-Verify did not answer within {START_TIMEOUT_S:.0f} s.")

    def wait_ready(self) -> None:
        if self._ready:
            return
        self._next_message()
        self._ready = True
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _last_words(self) -> str:
        self._wait_for_its_end()
        if self._ready or self._process.stderr is None:
            return f"it ended with code {self._process.returncode}"
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self._process.returncode}"

    def fork(self) -> WorkerHandle:
        """A new worker. Raises NurseryDiedError or OSError where the nursery is dead."""
        self.wait_ready()
        their_jobs_fd, jobs_fd = os.pipe()
        results_fd, their_results_fd = os.pipe()
        try:
            fork = encode({"fork": self._settings})
            socket.send_fds(self._control, [fork], [their_jobs_fd, their_results_fd])
            pid = self._answer("pid")
        except BaseException:
            os.close(jobs_fd)
            os.close(results_fd)
            raise
        finally:
            os.close(their_jobs_fd)
            os.close(their_results_fd)
        os.set_blocking(jobs_fd, False)
        os.set_blocking(results_fd, False)
        return WorkerHandle(pid, jobs_fd, results_fd)

    def bury(self, worker: WorkerHandle) -> int | None:
        """Kill a worker, whatever it is at, and clear it away. Until it is reaped here its pid belongs to it.

        Returns the code it ended with, minus its number for a signal; None where that is not known.
        """
        worker.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        try:
            self._control.sendall(encode({"reap": worker.pid}))
            code: int | None = self._answer("ended")
        except (NurseryDiedError, OSError):
            return None
        return code

    def close(self) -> None:
        """Closing the socket ends the nursery, and it takes its workers with it."""
        self._control.close()
        if not self._ready:
            self._process.kill()
        self._wait_for_its_end()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _wait_for_its_end(self) -> None:
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """In a forked copy of the process that started it: close our ends and leave it to the original."""
        self._control.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process.returncode = 0  # not our child: nothing to wait for
