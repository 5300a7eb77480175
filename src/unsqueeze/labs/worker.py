"""The process of one run of a lab: ``python -m unsqueeze.labs.worker``, told on standard input what to do.

The first line of standard input is a JSON object with ``work``, ``recipe``, ``path``; to ``train`` has ``begun``, runs
that may lend their evaluation before training, and to ``evaluate`` a free point ``run``, ``share``, ``last`` and
``temperature``. Standard output says in JSON lines what the run is at; standard error is its log. The end of standard
input asks to stop at the next safe point: so a worker also stops when the lab that started it is gone.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unsqueeze.config.load import check_recipe
from unsqueeze.distributed.join import end_at_once
from unsqueeze.errors import INTERRUPTED, Interrupted, UnsqueezeError, UserError, one_line
from unsqueeze.progress import Advance, StopRequest

_TOLD_EVERY_S = 0.5
_LOGGED_EVERY_S = 30.0


class TellingProgress:
    """Tells the lab what the run is at, and writes the same into the log now and then."""

    def __init__(self) -> None:
        self._told = self._logged = 0.0
        self._last: dict[str, Any] = {}

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        done = 0
        self._tell(label, 0, total)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._tell(label, done, total)

        yield advance

    def step(self, record: Mapping[str, Any]) -> None:
        if record["kind"] == "rl":
            self._last["reward"] = record.get("reward")
            self._last["entropy"] = record.get("entropy")
            self._last["step"] = record["step"]

    def gauge(self, greedy_logp: float) -> None:
        self._last["greedy_logp"] = greedy_logp

    def say(self, text: str) -> None:
        _log(text)

    def warn(self, text: str) -> None:
        _log(f"WARNING: {text}")

    def _tell(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._logged >= _LOGGED_EVERY_S or done == total:
            self._logged = now
            _log(f"{label}: {done}/{total}")
        if now - self._told >= _TOLD_EVERY_S or done in (0, total):
            self._told = now
            tell({"work": label, "done": done, "total": total, **self._last})


def tell(message: Mapping[str, Any]) -> None:
    """Write one line for the lab. Nobody may be there any more to read it; then the run stops for another reason."""
    try:
        print(json.dumps(message), flush=True)
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())


def _log(text: str) -> None:
    print(time.strftime("%H:%M:%S ", time.gmtime()) + text, file=sys.stderr, flush=True)


def train(order: Mapping[str, Any], stop: StopRequest) -> None:
    """Train the run of an order, or go on with it."""
    from unsqueeze.policy.loading import without_progress_bars
    from unsqueeze.training.arms import check_arms, train_arm

    without_progress_bars()
    path, progress = Path(order["path"]), TellingProgress()
    recipe = check_recipe(order["recipe"], f"of {path.name}")
    checked = check_arms({path.name: recipe}, {path.name: path}, progress=progress)[path.name]
    stop.check()
    begun = {Path(other): check_recipe(theirs, f"of {other}") for other, theirs in order["begun"].items()}
    train_arm(path.name, recipe, path, progress, stop, begun_here=begun, data=checked.data, parts=checked.parts)


def evaluate(order: Mapping[str, Any], stop: StopRequest) -> None:
    """Evaluate the free point of an order, or go on with it."""
    from unsqueeze.labs.point import evaluate_point

    evaluate_point(
        check_recipe(order["recipe"], f"of {order['path']}"),
        Path(order["run"]),
        Path(order["path"]),
        share=order["share"],
        last=order["last"],
        temperature=order["temperature"],
        progress=TellingProgress(),
        stop=stop,
    )


def main() -> int:
    """Do what standard input says; return the exit code of a command (docs/commands.md)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the lab's to hear
    stop = StopRequest()
    order = json.loads(sys.stdin.readline())

    def watch() -> None:
        sys.stdin.read()
        stop.ask()

    threading.Thread(target=watch, daemon=True).start()
    try:
        {"train": train, "evaluate": evaluate}[order["work"]](order, stop)
    except Interrupted:
        return INTERRUPTED
    except UnsqueezeError as error:
        tell({"error": one_line(error, 10_000)})
        _log(f"error: {one_line(error, 10_000)}")
        return 2 if isinstance(error, UserError) else 1
    return 0


if __name__ == "__main__":
    # The watching thread may be inside of a read, which the interpreter would wait for at its end.
    end_at_once(main())
