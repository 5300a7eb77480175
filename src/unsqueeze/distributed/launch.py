"""``--processes N``: N processes of one command on this machine, and the end of all with the first.

PyTorch's elastic agent, which torchrun is made of, starts and ends them (``agent``); here is what a user sees of it.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from unsqueeze.errors import INTERRUPTED, RunError, one_line

_WISHES = (signal.SIGINT, signal.SIGTERM)
"""Signals by which a user asks to stop."""

_LAUNCHER = "UNSQUEEZE_LAUNCHER"
_WATCH_S = 0.5
"""Interval at which a process looks whether its launcher lives."""


def run_processes(command: Sequence[str], count: int) -> int:
    """Run ``command`` in ``count`` processes that can meet; the exit code of the first that fails, or 0.

    Ctrl-C and SIGTERM are handed on to all, as SIGTERM; the exit code is then 130. RunError if a process is killed by
    another signal; it names process and signal.
    """
    variables = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
        # PyTorch warns of a store that is gone by a stack trace; of errors it tells as before.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        # The agent would replace our handlers by ones that end the processes within a time limit.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "",
        _LAUNCHER: str(os.getpid()),
    }
    with noting_signals() as came, environment_with(variables):
        silence_agent()
        from unsqueeze.distributed.agent import Agent

        if came:  # during the import, which takes a second
            say_stopped()
            return INTERRUPTED
        agent = Agent(command, count, free_port(), came)
        try:
            agent.run()
        except (RuntimeError, OSError) as error:  # no room for another process, or another program took the port
            raise RunError(f"{count} processes could not be started: {one_line(error)}") from error
    if agent.failed is None:
        return 0
    code = agent.exit_code(agent.failed)
    if came and -code in _WISHES:
        if -agent.exit_code(0) in _WISHES:  # it speaks for all, and could not
            say_stopped()
        return INTERRUPTED
    if code < 0:
        raise RunError(
            f"process {agent.failed} of {count} was killed by {signal.Signals(-code).name}, and the others were ended; "
            f"with SIGKILL, a lack of memory is the usual reason. Start the same command again, a training with "
            f"--resume."
        )
    return code


@contextmanager
def noting_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are for the processes; the launcher ends when they have. Yields those that came."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in _WISHES}
    try:
        yield came
    finally:
        for number, handler in before.items():
            # A granted wish needs no second signal, by which this process would end with another exit code.
            signal.signal(number, signal.SIG_IGN if came else handler)


@contextmanager
def environment_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Put ``variables`` into the environment for the duration, which the agent hands on to the processes it starts."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def silence_agent() -> None:
    """Keep the agent from telling, in lines of its log, what a user is told in one message."""
    log = logging.getLogger("torch.distributed.elastic")
    log.addHandler(logging.NullHandler())
    log.propagate = False


def say_stopped() -> None:
    """Say it for processes that were ended before they could: while they started, or tried everything once."""
    print("stopped as asked; what is on disk is as it was.", file=sys.stderr)


def was_launched() -> bool:
    """Tell whether ``run_processes`` started this process, whose command has said what is begun."""
    return _LAUNCHER in os.environ


def end_with_launcher() -> None:
    """In a process that ``run_processes`` started: end when the launcher is gone, however it went."""
    launcher = os.environ.pop(_LAUNCHER, None)
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
