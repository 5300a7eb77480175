"""A row an arm: what training ended with, and the base model it began with."""

from collections.abc import Sequence

from unsqueeze.labs.gather import Gathered, Results
from unsqueeze.labs.tables import Table
from unsqueeze.labs.views.cells import ks_of, spread


def results(found: Results) -> Table:
    """Avg@n, Pass@k, greedy log-prob and minutes of every arm: mean over seeds, with the smallest and the largest."""
    runs = [run for of_cell in found.cells.values() for run in of_cell]
    most = max((run.summaries[run.last].max_k for run in runs), default=1)
    ks = ks_of(most)
    rows = []
    for variant in found.variants:
        cells = found.of_variant(variant)
        for i, (cell, of_cell) in enumerate(cells.items()):
            if i == 0:
                rows.append([f"base, {variant}" if variant else "base", *_cells(of_cell, ks, base=True)])
            rows.append([cell.label, *_cells(of_cell, ks, base=False)])
    return Table(
        name="results",
        caption="What training ended with: mean over seeds [smallest, largest]. Avg and Pass in %, the mean log-prob "
        "of greedy answers in nats per token.",
        headings=["", f"Avg@{most}", *(f"Pass@{k}" for k in ks), "greedy log-prob", "minutes", "seeds"],
        rows=rows,
    )


def _cells(runs: Sequence[Gathered], ks: Sequence[int], *, base: bool) -> list[str]:
    summaries = [run.summaries[0 if base else run.last] for run in runs]
    return [
        spread([each.avg.mean for each in summaries]),
        *(spread([each.pass_at[k].mean for each in summaries]) for k in ks),
        spread([each.greedy_logp for each in summaries if each.greedy_logp is not None], 3, 1.0),
        "" if base else spread([run.seconds for run in runs], 1, 1 / 60),
        str(len(runs)),
    ]
