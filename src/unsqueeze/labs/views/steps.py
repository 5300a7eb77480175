"""A row an arm and an evaluated step: the path of a training."""

from unsqueeze.labs.gather import Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.tables import Column, Table, shown_ks


def steps(found: Results) -> Table:
    """Avg@n, Pass@k and greedy log-prob after every evaluated step: mean over seeds, with smallest and largest."""
    ks = shown_ks(found.most_samples)
    rows = []
    for cell, runs in found.cells.items():
        shared = sorted(set.intersection(*(set(run.summaries) for run in runs))) if runs else []
        for step in shared:
            summaries = [run.summaries[step] for run in runs]
            rows.append(
                [
                    cell.label,
                    step,
                    spread([each.avg.mean for each in summaries]),
                    *(spread([each.pass_at[k].mean for each in summaries]) for k in ks),
                    spread([each.greedy_logp for each in summaries]),
                    len(runs),
                ]
            )
    return Table(
        columns=[
            name_column(),
            Column("step"),
            spread_column(f"Avg@{found.most_samples}"),
            *(spread_column(f"Pass@{k}") for k in ks),
            spread_column("greedy log-prob", digits=3, scale=1.0),
            Column("seeds"),
        ],
        rows=rows,
        title="Over training",
        caption="After every evaluated RL step: mean over seeds [smallest, largest]. Avg and Pass in %, log-probs in "
        "nats per token.",
    )
