"""A row an arm: what training ended with, and the base model it began with."""

from collections.abc import Sequence
from typing import Any

from unsqueeze.labs.gather import Gathered, Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.tables import Column, Table, shown_ks


def results(found: Results) -> Table:
    """Avg@n, Pass@k, greedy log-prob and minutes of every arm: mean over seeds, with the smallest and the largest."""
    ks = shown_ks(found.most_samples)
    rows = []
    for variant in found.variants:
        cells = found.of_variant(variant)
        for i, (cell, of_cell) in enumerate(cells.items()):
            if i == 0:
                rows.append([f"base, {variant}" if variant else "base", *_cells(of_cell, ks, base=True)])
            rows.append([cell.label, *_cells(of_cell, ks, base=False)])
    return Table(
        columns=[
            name_column(),
            spread_column(f"Avg@{found.most_samples}"),
            *(spread_column(f"Pass@{k}") for k in ks),
            spread_column("greedy log-prob", digits=3, scale=1.0),
            spread_column("minutes", scale=1.0),
            Column("seeds"),
        ],
        rows=rows,
        title="Results",
        caption="What training ended with: mean over seeds [smallest, largest]. Avg and Pass in %, the mean log-prob "
        "of greedy answers in nats per token.",
    )


def _cells(runs: Sequence[Gathered], ks: Sequence[int], *, base: bool) -> list[Any]:
    summaries = [run.summaries[0 if base else run.last] for run in runs]
    return [
        spread([each.avg.mean for each in summaries]),
        *(spread([each.pass_at[k].mean for each in summaries]) for k in ks),
        spread([each.greedy_logp for each in summaries]),
        None if base else spread([run.seconds / 60 for run in runs]),
        len(runs),
    ]
