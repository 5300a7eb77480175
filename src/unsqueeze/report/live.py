"""A report that is written again while training goes on."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.progress import StopRequest
from unsqueeze.report.sources import named_sources
from unsqueeze.report.write import write_report

LEAST_WAIT_S = 10.0
WORK_SHARE = 0.1
"""Share of one core that writing takes at most."""
MOST_ROLLOUTS_LIVE = 5000


def follow(
    sources: Sequence[str], out: Path | None, stop: StopRequest, on_written: Callable[[Path], None] = lambda _: None
) -> Path:
    """Write the report of sources again whenever something was added to them, until ``stop`` is asked; then once more.

    Sources that are not there yet are waited for.
    """
    seen = None
    while not stop.asked:
        begun, now = time.monotonic(), _state(sources)
        if now is not None and now != seen:
            try:
                on_written(write_report(sources, out=out, live=True, most_rollouts=MOST_ROLLOUTS_LIVE))
                seen = now
            except UserError:
                if seen is not None:
                    raise
        took = time.monotonic() - begun
        _wait(max(LEAST_WAIT_S, took / WORK_SHARE), stop)
    return write_report(sources, out=out)


def _wait(seconds: float, stop: StopRequest) -> None:
    end = time.monotonic() + seconds
    while not stop.asked and time.monotonic() < end:
        time.sleep(0.2)


def _state(sources: Sequence[str]) -> tuple[tuple[str, int, int], ...] | None:
    """Return what tells whether something was added; None while there is nothing."""
    try:
        named, _ = named_sources(sources)
    except UserError:
        return None
    files = [
        file
        for paths in named.values()
        for path in map(Path, paths)
        for file in (*path.glob("*.jsonl"), *path.glob("*.json"), *path.glob("evals/*.json"))
    ]
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)
