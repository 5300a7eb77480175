"""Display of a run in a terminal: bars with time left and one live line; plain lines where output is not a terminal."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unsqueeze.progress import Advance
from unsqueeze.training.outcomes import IN_SHORT, describe_shares

PLAIN_EVERY_S = 15.0
"""Seconds between lines where nothing can be drawn over."""


class TerminalProgress:
    """Implements ``training.progress.Progress`` on a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line = ""
        self._greedy_logp: float | None = None
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}", style="cyan"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._last_plain = time.monotonic()

    def __enter__(self) -> "TerminalProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        task = self._bars.add_task(label, total=total, line="")
        done, start = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._bars.update(task, advance=count, line=self._line)
            self._plain(label, done, total, time.monotonic() - start)

        try:
            yield advance
        finally:
            self._bars.remove_task(task)

    def step(self, record: Mapping[str, Any]) -> None:
        self._line = describe_step(record, self._greedy_logp)

    def gauge(self, greedy_logp: float) -> None:
        self._greedy_logp = greedy_logp

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._console.print(f"WARNING: {text}", style="bold yellow", markup=False, highlight=False, soft_wrap=True)

    def _plain(self, label: str, done: int, total: int, elapsed_s: float) -> None:
        now = time.monotonic()
        if self._console.is_terminal or now - self._last_plain < PLAIN_EVERY_S:
            return
        self._last_plain = now
        left_s = elapsed_s / max(done, 1) * (total - done)
        self.say(f"  {label}: {done}/{total}, {left_s:.0f} s left  {self._line}")


def describe_step(record: Mapping[str, Any], greedy_logp: float | None) -> str:
    """The live line: what the rollouts earn, how wide the policy still is, and how peaked when last measured."""
    if record["kind"] == "evaluation":
        return f"Avg so far {record['avg']:.3f} ({record['num_samples']:,} samples)"
    if record["kind"] == "irl":
        return f"IRL update {record['irl_update']}  NLL {record['loss']:.3f} nats/token"
    reward = "not judged" if record["reward"] is None else f"{record['reward']:.2f}"
    greedy = "" if greedy_logp is None else f"  greedy log-prob {greedy_logp:.3f}"
    shares = {name: record[name] for name in IN_SHORT if name in record}
    answers = describe_shares(shares, IN_SHORT)
    entropy = f"  entropy {record['entropy']:.3f}" if "entropy" in record else ""
    return f"reward {reward}{entropy}{greedy}" + (f"  {answers}" if answers else "")
