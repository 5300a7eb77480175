"""What the pages of all benchmarks have alike: what made them, a cell of several turns, and where they go."""

import datetime
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from unsqueeze.store.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]


def _commit() -> str:
    git = provenance()["git"]
    return "unknown" if git is None else f"{git['commit'][:12]}{' with changes' if git['modified'] else ''}"


COMMIT = _commit()
"""The commit that is measured, read before that: another may be checked out by the time that a page is written."""


def command_line() -> str:
    """The command of this process with all its arguments, as a shell takes it at the root of a checkout."""
    script = os.path.relpath(Path(sys.argv[0]).resolve(), ROOT)
    return shlex.join(["python", script, *sys.argv[1:]])


def made_by(*packages: str) -> str:
    """The sentences that a page begins with: the command, the day, the commit, versions and the machine."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    today = datetime.datetime.now(datetime.UTC).date()
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"Made by `{command_line()}` on {today} at commit `{COMMIT}`. {', '.join(versions)}; "
        f"{os.cpu_count()} cores, {platform.machine()}, load average at the end {load}."
    )


def median_and_range(values: Sequence[float], digits: int = 0) -> str:
    """The median of several turns, with the smallest and the largest."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def deliver(page: str, out: Path | None) -> None:
    """Write a page to the file that was asked for; without one it is printed."""
    if out is None:
        print(page.rstrip("\n"))
    else:
        out.write_text(page, encoding="utf-8")
