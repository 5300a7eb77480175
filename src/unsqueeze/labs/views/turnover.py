"""A row an arm: problems of the base model that it lost, and that it gained."""

from unsqueeze.labs.gather import Results, counts_of, shared_keys
from unsqueeze.labs.views.cells import estimate_column, interval, name_column
from unsqueeze.metrics.turnover import largest_k
from unsqueeze.metrics.turnover import turnover as turned_over
from unsqueeze.tables import Column, Table


def turnover(found: Results) -> Table:
    """Problems lost and gained against the base model with k samples, and how often the base solved those lost."""
    most = found.most_samples
    k = largest_k(most, most)
    rows = []
    for cell, runs in found.cells.items():
        if not runs or not k:
            continue
        keys = shared_keys([run.tallies[step] for run in runs for step in (0, run.last)])
        base = [counts_of(run.tallies[0], keys) for run in runs]
        ends = [counts_of(run.tallies[run.last], keys) for run in runs]
        result = turned_over(base, ends, k, strata=[benchmark for benchmark, _ in keys])
        num_lost = sum(each.lost for each in result.bins)
        rare = sum(each.lost for each in result.bins[1:3])  # above 0, up to a half
        rows.append(
            [
                cell.label,
                interval(result.lost),
                interval(result.gained),
                interval(result.beyond_chance),
                rare / num_lost if num_lost else None,
                len(runs),
            ]
        )
    return Table(
        columns=[
            name_column(),
            estimate_column("lost"),
            estimate_column("gained"),
            estimate_column("lost beyond chance", signed=True),
            Column("of those lost, solved at up to 50 %", show=lambda share: f"{100 * share:.0f}"),
            Column("seeds"),
        ],
        rows=rows,
        title="Problems lost and gained",
        caption=f"Shares of the problems, in %, with {k} samples a side and 95 % intervals over problems: lost, the "
        "base solves them and the trained model does not; beyond chance, less what the base would lose against itself. "
        "The last column: of those lost, the share, in %, that the base solved at a rate above 0 and up to 50 %.",
    )
