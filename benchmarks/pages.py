"""What the pages of all benchmarks say alike: the commit, and a cell of several turns."""

import statistics
from collections.abc import Sequence

from unsqueeze.store.provenance import provenance


def this_commit() -> str:
    """The commit that was measured, and whether the source differs from it."""
    git = provenance()["git"]
    return "unknown" if git is None else f"{git['commit'][:12]}{' with changes' if git['modified'] else ''}"


def median_and_range(values: Sequence[float], digits: int = 0) -> str:
    """The median of several turns, with the smallest and the largest."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"
