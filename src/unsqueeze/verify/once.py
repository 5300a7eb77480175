"""Something dangerous done in a process of its own, of which nothing remains but a few bytes."""

import contextlib
import json
import math
import os
import signal
from collections.abc import Callable
from typing import Any

from unsqueeze.verify import confine

_MOST_SAID = 1 << 12
_REPORT_FD = 3


def in_fresh_process(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | int:
    """What ``work`` returns in a confined fork of this process; the code it ended with, where it said no such thing.

    Whatever it started is killed afterwards, the fork first. It ends with this process, and at its time limit at the
    latest. An exception is ``{"raised": name}``. What comes back is not to be trusted: empty where it makes no sense.
    """
    left_s = signal.getitimer(signal.ITIMER_REAL)[0]
    parent = os.getpid()
    report_fd, their_fd = os.pipe()
    child = os.fork()
    if child == 0:
        _live(work, their_fd, parent, left_s)
    try:
        os.close(their_fd)
        said = _read(report_fd)
    finally:
        os.close(report_fd)
        code = _end(child)
    return _understood(said, code)


def _live(work: Callable[[], dict[str, Any]], report_fd: int, parent: int, left_s: float) -> None:
    """The life of the fork. Never returns."""
    try:
        confine.die_with_parent(parent)
        os.setpgid(0, 0)
        if left_s:
            confine.limit_cpu(math.ceil(left_s))
            signal.setitimer(signal.ITIMER_REAL, left_s)
        os.dup2(report_fd, _REPORT_FD)
        os.closerange(_REPORT_FD + 1, 1 << 16)
        confine.confine()
        try:
            report = work()
        except Exception as error:  # noqa: BLE001 - told to the parent
            report = {"raised": type(error).__name__}
        os.write(_REPORT_FD, json.dumps(report).encode() + b"\n")
    finally:
        os._exit(0)


def _read(fd: int) -> bytes:
    """All that is said until a line ends, the other end closes, or too much was."""
    said = b""
    while b"\n" not in said and len(said) <= _MOST_SAID and (data := os.read(fd, _MOST_SAID)):
        said += data
    return said


def _end(child: int) -> int:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    confine.kill_children()
    return code


def _understood(said: bytes, code: int) -> dict[str, Any] | int:
    line, whole, _ = said.partition(b"\n")
    if not whole:
        return code
    with contextlib.suppress(ValueError, RecursionError):
        report = json.loads(line)
        if isinstance(report, dict):
            return report
    return {}
