"""A row an arm: its difference to the control, of the same problems and the same seeds."""

from unsqueeze.labs.gather import Results
from unsqueeze.labs.tables import Table
from unsqueeze.labs.views.cells import change, ks_of
from unsqueeze.metrics.comparison import compare_tallies


def differences(found: Results) -> Table:
    """Paired differences of Avg@n and Pass@k between every arm and the control, at equal seeds."""
    runs = [run for of_cell in found.cells.values() for run in of_cell]
    most = max((run.summaries[run.last].max_k for run in runs), default=1)
    ks = ks_of(most)
    rows = []
    for variant in found.variants:
        cells = found.of_variant(variant)
        control = next((of_cell for cell, of_cell in cells.items() if cell.arm == found.control), [])
        for cell, of_cell in cells.items():
            seeds = sorted({run.run.seed for run in of_cell} & {run.run.seed for run in control})
            if cell.arm == found.control or not seeds:
                continue
            first, second = (
                [next(run.tallies[run.last] for run in side if run.run.seed == seed) for seed in seeds]
                for side in (control, of_cell)
            )
            compared = compare_tallies(first, second, ks)
            rows.append(
                [
                    f"{cell.label} − {found.control}",
                    change(compared.avg.paired.difference),
                    *(change(compared.pass_at[k].paired.difference) for k in ks),
                    f"{compared.num_gained} / {compared.num_lost}",
                    str(len(seeds)),
                ]
            )
    return Table(
        name="differences",
        caption=f"Differences to {found.control}, paired by problem and seed, with 95 % intervals over problems. Avg "
        "and Pass in points; problems that only one side solved, over all seeds.",
        headings=["", f"Avg@{most}", *(f"Pass@{k}" for k in ks), "gained / lost", "seeds"],
        rows=rows,
    )
