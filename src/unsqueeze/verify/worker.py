"""The far side of the verifier: a process that has loaded Math-Verify and forks workers from itself.

Started as ``python -m unsqueeze.verify.worker`` with a socket and the name of a grader, so nothing of the verifier's
own process is inherited: no threads, no CUDA, no user's ``__main__``. It loads and warms Math-Verify once; a worker is
then a fork of a process with one thread, which takes milliseconds and shares the loaded modules. So a worker that has
to be
killed costs nothing but its one answer.

Messages (see wire.py). On the socket: ``{"ready"}`` once; then ``{"fork"}`` with two file descriptors attached,
answered by ``{"pid"}``; ``{"reap": pid}``, answered by ``{"ended": code}``, minus its number for a signal. On a
worker's pipes: a list of jobs in, one grade a job out.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

from unsqueeze.verify import warm
from unsqueeze.verify.confine import limit_resources
from unsqueeze.verify.job import RETIRED, Grade
from unsqueeze.verify.wire import Decoder, encode

_POLL_S = 2.0


def resident_peak_mb() -> float:
    """Peak resident memory of this process. 0 where the system does not tell (then only the hard limit holds)."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _too_large(reason: str) -> Grade:
    return Grade("too_large", False, None, reason)


class Worker:
    """Reads jobs from a pipe, grades them one by one, and says each result as soon as it is known."""

    def __init__(self, grader: Any, jobs_fd: int, results_fd: int, *, memory_mb: int, alarm_s: float) -> None:
        self._grader = grader
        self._jobs_fd = jobs_fd
        self._results_fd = results_fd
        self._alarm_s = alarm_s
        self._peak_mb = resident_peak_mb()
        # An allocation can fail long before the peak reaches the limit (a number that doubles needs twice its size at
        # once), and sympy may swallow the MemoryError. So a quarter of the room is all that one answer may take.
        self._room_mb = (memory_mb - self._peak_mb) / 4
        self._retire_mb = self._peak_mb + 2 * self._room_mb
        limit_resources(memory_mb)
        grader.begin()

    def serve(self) -> None:
        """Until the pipe closes. Ends by itself, between two answers, when the process has grown large."""
        decoder = Decoder()
        while data := os.read(self._jobs_fd, 1 << 16):
            for batch in decoder.feed(data):
                for job in batch:
                    self._say(asdict(self._grade(job)))
                    if self._peak_mb > self._retire_mb:
                        self._say(RETIRED)
                        return

    def _grade(self, job: dict[str, Any]) -> Grade:
        # The verifier kills a worker at its deadline. Should the verifier itself be gone, the kernel does it.
        signal.setitimer(signal.ITIMER_REAL, self._alarm_s)
        try:
            grade = self._grader.grade(**job)
        except MemoryError:
            grade = _too_large("out of memory")
            self._peak_mb = float("inf")
        except RecursionError:
            grade = _too_large("nested too deeply for the grader")
        except Exception as error:  # noqa: BLE001 - whatever the library throws says nothing about the answer
            grade = Grade("crashed", False, None, f"the grader raised {type(error).__name__}")
        peak_mb = resident_peak_mb()
        if peak_mb - self._peak_mb > self._room_mb:
            if grade.verdict != "correct":
                grade = _too_large("over the memory limit")
            self._peak_mb = float("inf")
        else:
            self._peak_mb = max(self._peak_mb, peak_mb)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return grade

    def _say(self, message: object) -> None:
        data = memoryview(encode(message))
        while data:
            data = data[os.write(self._results_fd, data) :]


def _run_worker(grader: Any, fds: list[int], settings: dict[str, Any]) -> None:
    """The life of a forked worker. Never returns."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.closerange(max(fds) + 1, 1 << 16)
        Worker(grader, *fds, memory_mb=settings["memory_mb"], alarm_s=settings["alarm_s"]).serve()
        code = 0
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        os._exit(code)


class Nursery:
    """The process that forks workers on request and buries them."""

    def __init__(self, control: socket.socket, grader: Any) -> None:
        self._control = control
        self._grader = grader
        self._children: set[int] = set()

    def serve(self) -> None:
        """Until the verifier closes the socket or is gone; then no worker is left behind."""
        parent = os.getppid()
        decoder = Decoder()
        try:
            while os.getppid() == parent:
                readable, _, _ = select.select([self._control], [], [], _POLL_S)
                if not readable:
                    continue
                data, fds, _, _ = socket.recv_fds(self._control, 1 << 12, 2)
                if not data:
                    return
                for message in decoder.feed(data):
                    self._obey(message, fds)
        finally:
            for child in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)

    def _obey(self, message: dict[str, Any], fds: list[int]) -> None:
        if "reap" in message:
            status = None
            with contextlib.suppress(ChildProcessError):
                status = os.waitstatus_to_exitcode(os.waitpid(message["reap"], 0)[1])
            self._children.discard(message["reap"])
            self._control.sendall(encode({"ended": status}))
            return
        child = os.fork()
        if child == 0:
            self._control.close()
            _run_worker(self._grader, fds, message["fork"])
        self._children.add(child)
        for fd in fds:
            os.close(fd)
        self._control.sendall(encode({"pid": child}))


def _warm_grader(name: str) -> Any:
    grader = _gym_grader() if name == "reasoning_gym" else _math_grader()
    # The loaded modules are never garbage: frozen, they are neither walked by the collector nor copied by it after a
    # fork; and sympy makes so much short-lived litter that collecting less often pays.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return grader


def _gym_grader() -> Any:
    from unsqueeze.verify.gym_grading import GymGrader

    return GymGrader()


def _math_grader() -> Any:
    from unsqueeze.verify.grading import Grader

    logging.disable(logging.CRITICAL)  # Math-Verify warns that its time limits are off: they are ours to keep
    grader = Grader()
    for gold, text in warm.PAIRS:
        grader.grade(gold, text, "anywhere")
    for form in warm.FORMS:
        grader.grade("$5$", f"\\boxed{{{form}}}", "box")
    return grader


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the verifier's to handle
    os.setsid()  # what answers run has no terminal
    control = socket.socket(fileno=int(sys.argv[1]))
    grader = _warm_grader(sys.argv[2])
    # From here on nothing is printed: libraries' warnings about hostile answers belong to nobody.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    control.sendall(encode({"ready": True}))
    Nursery(control, grader).serve()


if __name__ == "__main__":
    main()
