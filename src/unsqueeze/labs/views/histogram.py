"""A row an arm: how many problems are never, sometimes, always solved (Fig. 5 of arXiv 2604.16995)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unsqueeze.labs.gather import Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.metrics.histogram import accuracy_histogram
from unsqueeze.metrics.tally import Tally
from unsqueeze.tables import Column, Table


def histogram(found: Results) -> Table:
    """Problems by their share of correct answers, before training and at its end: mean over seeds."""
    rows = []
    labels: list[str] = []
    for variant in found.variants:
        cells = found.of_variant(variant)
        for i, (cell, runs) in enumerate(cells.items()):
            sides = {f"base, {variant}" if variant else "base": [run.tallies[0] for run in runs]} if i == 0 else {}
            sides[cell.label] = [run.tallies[run.last] for run in runs]
            for label, tallies in sides.items():
                labels, counts_SB = _counts(tallies)
                rows.append([label, *(spread(counts_S.tolist()) for counts_S in counts_SB.T), len(tallies)])
    return Table(
        columns=[name_column(), *(spread_column(label, scale=1.0) for label in labels), Column("seeds")],
        rows=rows,
        title="Problems by their share of correct answers",
        caption="Number of held-out problems in each bin: mean over seeds [smallest, largest]. Squeezing moves "
        "problems from between to the two ends.",
    )


def _counts(tallies: Sequence[Tally]) -> tuple[list[str], NDArray[np.int64]]:
    """The labels of the bins, and the problems in them by seed and bin."""
    bins = [accuracy_histogram(tally.num_samples_P, tally.num_correct_P) for tally in tallies]
    return [each.label for each in bins[0]], np.array([[each.num_problems for each in found] for found in bins])
