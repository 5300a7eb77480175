"""A row an arm: the log-prob of its own greedy answers (Table 6 of arXiv 2604.16995)."""

from unsqueeze.labs.gather import Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.tables import Column, Table


def greedy(found: Results) -> Table:
    """Mean log-prob of greedy answers before training, at its end, and the change: mean over seeds."""
    rows = []
    for cell, runs in found.cells.items():
        pairs = [(run.summaries[0].greedy_logp, run.summaries[run.last].greedy_logp) for run in runs]
        changes = [None if None in pair else pair[1] - pair[0] for pair in pairs]  # type: ignore[operator]
        if runs:
            rows.append(
                [
                    cell.label,
                    spread([before for before, _ in pairs]),
                    spread([after for _, after in pairs]),
                    spread(changes),
                    len(runs),
                ]
            )
    columns = [spread_column(name, digits=3, scale=1.0) for name in ("before", "after", "change")]
    return Table(
        columns=[name_column(), *columns, Column("seeds")],
        rows=rows,
        title="Log-prob of greedy answers",
        caption="Nats per token, on the held-out problems: mean over seeds [smallest, largest]. Up is squeezed.",
    )
