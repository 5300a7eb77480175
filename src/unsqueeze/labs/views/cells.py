"""Columns of tables: percentages with what they spread over, and the ks that are shown."""

from collections.abc import Sequence
from functools import partial
from math import isnan
from statistics import fmean
from typing import Any

from unsqueeze.metrics.intervals import Estimate
from unsqueeze.tables import Column


def name_column(heading: str = "") -> Column:
    return Column(heading, left=True)


def spread_column(heading: str, *, digits: int = 1, scale: float = 100.0) -> Column:
    """A mean over seeds with the smallest and the largest, multiplied by ``scale`` where a person reads."""
    show = partial(_show, form=f".{digits}f", scale=scale)
    return Column(heading, show=show, parts=("", "smallest", "largest"))


def estimate_column(heading: str, *, digits: int = 1, scale: float = 100.0, signed: bool = False) -> Column:
    """A mean or a difference with its interval, likewise."""
    show = partial(_show, form=f"{'+' if signed else ''}.{digits}f", scale=scale)
    return Column(heading, show=show, parts=("", "low", "high"))


def spread(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Return the mean, the smallest and the largest of values; None where one is not known, or there is none."""
    known = [value for value in values if value is not None and not isnan(value)]
    return (fmean(known), min(known), max(known)) if known and len(known) == len(values) else None


def interval(estimate: Estimate | None) -> tuple[float, float, float] | None:
    return None if estimate is None else (estimate.mean, estimate.low, estimate.high)


def _show(value: Any, form: str, scale: float) -> str:
    mean, low, high = (scale * each for each in value)
    if isnan(low) or low == mean == high:
        return f"{mean:{form}}"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"
