"""Cells of tables: percentages with what they spread over, and the ks that are shown."""

from collections.abc import Sequence
from statistics import fmean

from unsqueeze.metrics.intervals import Estimate

SHOWN_KS = (8, 32)


def ks_of(most: int) -> list[int]:
    """Return the ks of a table whose evaluations have ``most`` samples a problem: a few, and all of them."""
    return [*(k for k in SHOWN_KS if k < most), most]


def spread(values: Sequence[float], digits: int = 1, scale: float = 100.0) -> str:
    """Write the mean of some values, and the smallest and largest of several."""
    scaled = [scale * value for value in values]
    mean = f"{fmean(scaled):.{digits}f}"
    return mean if len(scaled) == 1 else f"{mean} [{min(scaled):.{digits}f}, {max(scaled):.{digits}f}]"


def change(estimate: Estimate, digits: int = 1, scale: float = 100.0) -> str:
    """Write a difference with its interval."""
    mean, low, high = (scale * value for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
