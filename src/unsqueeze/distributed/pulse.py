"""Noticing a process that neither works nor ends: stopped, or on a machine that hangs or cannot be reached.

Each process counts a number up in the store where all have met, and looks whether that of the next one moves. It does
so in threads of its own, beside whatever takes long: PyTorch computes, and waits, without Python's lock.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PULSE_S = 1.0
"""Interval in which each process shows that it lives."""

SILENCE_S = 60.0
"""Silence of one after which the others end: far more than anything here holds Python's lock."""

END_S = 2.0
"""Time that a process that ends waits for these threads; one whose store does not answer would take far longer."""


@contextmanager
def shown(store: Any, rank: int, size: int) -> Iterator[None]:
    """Show, for the duration, that process ``rank`` of ``size`` shows that it lives, and ends with a message if the
    next does not.

    Silence is counted in this process's own time, so that none is blamed after all were stopped together.
    """
    following = (rank + 1) % size
    silence_s = {rank: 0.0, following: 0.0}
    over = threading.Event()

    def show(store: Any) -> None:
        last = dict.fromkeys(silence_s, -1)
        while not over.wait(PULSE_S):
            try:
                found = {each: store.add(f"unsqueeze/pulse/{each}", int(each == rank)) for each in last}
            except RuntimeError:  # whoever kept the store is gone, which is noticed without us
                over.set()
                return
            for each in found:
                if found[each] != last[each]:
                    silence_s[each] = 0.0
            last = found

    def watch() -> None:
        while not over.wait(PULSE_S):
            for each in silence_s:
                silence_s[each] += PULSE_S
            if max(silence_s.values()) >= SILENCE_S:
                # Who gets no answer itself cannot know of the next one: process 0 keeps the store, and is silent.
                silent = following if silence_s[rank] < SILENCE_S else 0
                if silent == following:
                    print(f"error: {message(silent, size)}", file=sys.stderr, flush=True)
                os._exit(1)  # the main thread waits for others, and cannot be told

    threads = [
        threading.Thread(target=show, args=[store.clone()], daemon=True),
        threading.Thread(target=watch, daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(END_S)  # one that is inside of PyTorch while Python ends would abort the process


def message(silent: int, size: int) -> str:
    return (
        f"process {silent} of {size} showed no sign of life for {SILENCE_S:.0f} s: it was stopped, or its machine "
        f"hangs or cannot be reached. The others were ended; start the same command again, a training with --resume."
    )
