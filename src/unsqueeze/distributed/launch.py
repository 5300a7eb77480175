"""``unsqueeze train --processes N``: N processes of one command on this machine, and the end of all with the first.

No torch in here: the launcher waits, and costs nothing.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from unsqueeze.errors import INTERRUPTED, RunError

GRACE_S = 5.0
"""How long the others get to end by themselves once one has ended with an error, and again after SIGTERM."""

_WISHES = (signal.SIGINT, signal.SIGTERM)
"""Signals by which a user asks to stop."""

_PARENT_PIPE = "UNSQUEEZE_LAUNCHER_PIPE"


def run_processes(command: Sequence[str], count: int) -> int:
    """Run ``command`` in ``count`` processes that can meet; the exit code of the first that fails, or 0.

    Ctrl-C and SIGTERM are handed on to all, as SIGTERM; the exit code is then 130. RunError if a process is killed by
    another signal; it names process and signal.
    """
    # Whoever holds the writing end of this pipe is alive: the processes end when it closes (see ``end_with_launcher``).
    reading, writing = os.pipe()
    environment = os.environ | {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
        _PARENT_PIPE: str(reading),
    }
    processes: list[subprocess.Popen[bytes]] = []
    with handing_on_signals(processes) as came:
        for rank in range(count):
            processes.append(
                subprocess.Popen(
                    command,
                    env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    pass_fds=[reading],
                    # A group of their own: Ctrl-C in a terminal reaches the launcher alone, which hands it on once.
                    start_new_session=True,
                )
            )
        os.close(reading)
        if came:  # some of the processes were not there yet
            terminate(processes)
        try:
            failed = first_failure(processes)
            if failed is not None:
                end(processes)
        finally:
            for process in processes:
                process.kill()
            os.close(writing)
    if failed is None:
        return 0
    code = processes[failed].wait()
    if came and -code in _WISHES:
        if -processes[0].wait() in _WISHES:  # it speaks for all, and could not
            say_stopped()
        return INTERRUPTED
    if code < 0:
        raise RunError(
            f"process {failed} of {count} was killed by {signal.Signals(-code).name}, and the others were ended; with "
            f"SIGKILL, a lack of memory is the usual reason. Go on with the same command and --resume."
        )
    return code


def first_failure(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all to end well (None), or for the first that does not."""
    while True:
        codes = [process.poll() for process in processes]
        # A killed process says more than those that noticed its absence.
        for rank, code in sorted(enumerate(codes), key=lambda item: item[1] or 0):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(0.05)


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Give the processes time to end, then ask them to, then make them."""
    wait_for(processes, GRACE_S)
    terminate(processes)
    wait_for(processes, GRACE_S)


def terminate(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()


def wait_for(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.05)


@contextmanager
def handing_on_signals(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """SIGINT and SIGTERM are for the processes; the launcher ends when they have. Yields those that came.

    Both are handed on as SIGTERM: a process that does not listen to wishes yet, or no longer, ends by it without a
    word, where SIGINT would have each tell about it.
    """
    came: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        terminate(processes)

    before = {number: signal.signal(number, hand_on) for number in _WISHES}
    try:
        yield came
    finally:
        for number, handler in before.items():
            # A granted wish needs no second signal, by which this process would end with another exit code.
            signal.signal(number, signal.SIG_IGN if came else handler)


def say_stopped() -> None:
    """For processes that were ended before they could say it: while they started, or tried everything once."""
    print("stopped as asked, before training began; what is on disk is as it was.", file=sys.stderr)


def end_with_launcher() -> None:
    """In a process that a launcher started: end when the launcher is gone, however it went."""
    if _PARENT_PIPE not in os.environ:
        return
    reading = int(os.environ.pop(_PARENT_PIPE))

    def watch() -> None:
        with suppress(OSError):
            os.read(reading, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
