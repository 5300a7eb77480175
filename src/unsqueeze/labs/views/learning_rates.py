"""A row an arm: the learning rate that was chosen for it, and what it was chosen by."""

from collections.abc import Mapping

from unsqueeze.labs.choose import Choice, beyond
from unsqueeze.labs.grid import Cell, Grid, learning_rate
from unsqueeze.labs.suite import LearningRates
from unsqueeze.labs.views.cells import name_column
from unsqueeze.tables import Column, Table

CRITERIA = {
    "area": "the area of the plane (Avg@n, Pass@n) that the validated checkpoints dominate",
    "avg": "Avg@n at the end",
    "pass_at_n": "Pass@n at the end",
}


def learning_rates(grid: Grid, rates: LearningRates, choices: Mapping[Cell, Choice]) -> Table:
    """What was chosen on the validation problems, and the score of every factor."""

    def percent(share: float) -> str:
        return f"{100 * share:.2f}"

    factors = sorted({*rates.factors, *(factor for choice in choices.values() for factor in choice.scores)})
    rows = [
        [
            cell.label,
            learning_rate(grid.cells[cell], rates.setting) * choice.factor,
            choice.factor,
            *(choice.scores.get(factor) for factor in factors),
        ]
        for cell, choice in choices.items()
    ]
    at_end = [cell.label for cell, choice in choices.items() if beyond(choice.scores, choice.factor) is not None]
    ends = f" At an end of what was searched, beyond which it may be better: {', '.join(at_end)}." if at_end else ""
    return Table(
        columns=[
            name_column(),
            Column(rates.setting, show=lambda value: f"{value:.3g}"),
            Column("chosen", show=lambda factor: f"×{factor:g}"),
            *(Column(f"score at ×{factor:g}", show=percent) for factor in factors),
        ],
        rows=rows,
        title="Learning rates",
        caption=f"Chosen by {CRITERIA[rates.choose_by]}, in %, on validation problems and seeds "
        f"{', '.join(map(str, rates.seeds))}, which are not reported; only the chosen one is run on those that are."
        + ends,
    )
