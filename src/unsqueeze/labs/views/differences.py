"""A row an arm: its difference to the control, of the same problems and the same seeds."""

from unsqueeze.labs.gather import Results
from unsqueeze.labs.views.cells import estimate_column, interval, name_column
from unsqueeze.metrics.comparison import compare_tallies
from unsqueeze.tables import Column, Table, shown_ks


def differences(found: Results) -> Table:
    """Paired differences of Avg@n and Pass@k between every arm and the control, at equal seeds."""
    ks = shown_ks(found.most_samples)
    rows = []
    for cell, runs, control in found.pairs():
        compared = compare_tallies(
            [run.tallies[run.last] for run in control], [run.tallies[run.last] for run in runs], ks
        )
        rows.append(
            [
                f"{cell.label} − {found.control}",
                interval(compared.avg.paired.difference),
                *(interval(compared.pass_at[k].paired.difference) for k in ks),
                compared.num_gained,
                compared.num_lost,
                len(runs),
            ]
        )
    return Table(
        columns=[
            name_column(),
            estimate_column(f"Avg@{found.most_samples}", signed=True),
            *(estimate_column(f"Pass@{k}", signed=True) for k in ks),
            Column("gained"),
            Column("lost"),
            Column("seeds"),
        ],
        rows=rows,
        title=f"Differences to {found.control}",
        caption=f"What training ended with, less what {found.control} ended with, paired by problem and seed, with "
        "95 % intervals over problems. Avg and Pass in points; gained and lost: problems that one side alone solved, "
        "over all seeds.",
    )
