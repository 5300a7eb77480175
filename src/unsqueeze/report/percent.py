"""Shares in per cent, as figures draw and tell them."""

import math

from unsqueeze.metrics.intervals import Estimate


def percent(share: float) -> float | None:
    """Return a share as it is drawn; None, which leaves a gap, where it is not known."""
    return 100 * share if math.isfinite(share) else None


def in_words(estimate: Estimate) -> str:
    """Write a share with its interval, as far as they are known."""
    if not math.isfinite(estimate.mean):
        return "–"
    between = f" [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]" if math.isfinite(estimate.low) else ""
    return f"{100 * estimate.mean:.1f} %{between}"
