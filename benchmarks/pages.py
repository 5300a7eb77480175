"""What the pages of all benchmarks have alike: the commit, a cell of several turns, and where they go."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from unsqueeze.store.provenance import provenance


def this_commit() -> str:
    """The commit that was measured, and whether the source differs from it."""
    git = provenance()["git"]
    return "unknown" if git is None else f"{git['commit'][:12]}{' with changes' if git['modified'] else ''}"


def median_and_range(values: Sequence[float], digits: int = 0) -> str:
    """The median of several turns, with the smallest and the largest."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def deliver(page: str, out: Path | None) -> None:
    """Write a page to the file that was asked for; without one it is printed."""
    if out is None:
        print(page.rstrip("\n"))
    else:
        out.write_text(page, encoding="utf-8")
