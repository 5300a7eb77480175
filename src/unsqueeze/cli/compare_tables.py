"""Tables of what changed between two sides, for ``unsqueeze compare``."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unsqueeze.cli.options import chance
from unsqueeze.cli.showing import interval_of, intervals, percentages
from unsqueeze.tables import Column, Table

if TYPE_CHECKING:
    from unsqueeze.metrics.comparison import Comparison, Contrast
    from unsqueeze.metrics.intervals import Estimate
    from unsqueeze.metrics.turnover import Turnover

SHORT_KS = (8, 32, 128)
"""Of many ks, those that tell how pass^k and mG-Pass@k changed."""


def contrast_table(comparisons: Mapping[tuple[str, str], "Comparison"], see: float, *, in_short: bool = False) -> Table:
    """Return a line a metric: the means of both sides, the difference with its interval and p, in points.

    ``see`` is a difference in points to say the needed problems for. Of several comparisons, or where not ``in_short``,
    the sides (second, first) have columns of their own; in short, pass^k and mG-Pass@k are told at few ks, G-Pass@k_τ
    not at all, and the sides stand in the title.
    """
    seeds = max(comparison.num_seeds for comparison in comparisons.values())
    columns = [
        *([] if in_short else [Column("first side", left=True), Column("second side", left=True), Column("problems")]),
        Column("metric", left=True),
        percentages("first"),
        percentages("second"),
        percentages("difference", signed=True),
        intervals(signed=True),
        Column("p", show=chance),
        Column(f"problems to see {see:g}", show=lambda needed: f"{needed:,}"),
    ]
    if seeds > 1:
        columns.append(Column("seed by seed", show=lambda each: " ".join(map(signed, each))))
    rows = []
    for (second, first), comparison in comparisons.items():
        sides: list[Any] = [] if in_short else [first, second, comparison.num_problems]
        for name, contrast in named_contrasts(comparison, in_short=in_short):
            row = [*sides, name, *_row(contrast, see)]
            rows.append([*row, contrast.by_seed] if seeds > 1 else row)
    if not in_short:
        return Table(columns, rows)
    ((second, first), comparison), *_ = comparisons.items()
    caption = f"{comparison.num_problems:,} problems in both; second − first, in points"
    if seeds > 1:
        caption += f"; means of {seeds} seeds, intervals over problems"
    return Table(columns, rows, title=f"{second} − {first}", caption=caption)


def named_contrasts(comparison: "Comparison", *, in_short: bool) -> Iterator[tuple[str, "Contrast"]]:
    """The metrics of a comparison by their names."""
    found = comparison.reliability
    yield "Avg@n", comparison.avg
    yield from ((f"Pass@{k}", contrast) for k, contrast in comparison.pass_at.items())
    ks = list(found.pass_hat)
    if in_short:
        ks = [k for k in ks if k > 1]
        ks = [k for k in ks if k in SHORT_KS or k == ks[-1]] if len(ks) > 3 else ks
    yield from ((f"pass^{k}", found.pass_hat[k]) for k in ks)
    yield from ((f"mG-Pass@{k}", found.mean_g_pass_at[k]) for k in ks)
    yield from ((f"Cover@{tau:g}", contrast) for tau, contrast in found.cover.items())
    if not in_short:
        for tau, by_k in found.g_pass_at.items():
            yield from ((f"G-Pass@{k} (τ = {tau:g})", contrast) for k, contrast in by_k.items())


def turnover_table(turnover: "Turnover") -> Table:
    """Return a line a bin of the first side's success rate: how many problems, and what became of them."""
    number = Column("", show=lambda value: f"{value:.1f}")
    columns = [
        Column("first solves", left=True),
        Column("problems"),
        percentages("first"),
        percentages("second"),
        *(Column(name, show=number.show) for name in ("lost", "gained", "lost by chance")),
    ]
    rows = [
        [each.label, each.num_problems, 100 * each.first, 100 * each.second, each.lost, each.gained, each.by_chance]
        for each in turnover.bins
    ]
    totals = [turnover.num_problems * each.mean for each in (turnover.lost, turnover.gained, turnover.by_chance)]
    rows.append(["all", turnover.num_problems, None, None, *totals])
    beyond = turnover.beyond_chance
    caption = (
        f"expected problems, of {turnover.k} samples each; lost beyond chance {signed(beyond.mean)} % of problems "
        f"({between(beyond)})"
    )
    return Table(columns, rows, caption=caption)


def _row(contrast: "Contrast", see: float) -> list[Any]:
    difference = contrast.paired.difference
    return [
        100 * contrast.first,
        100 * contrast.second,
        100 * difference.mean,
        interval_of(difference),
        contrast.paired.p_value,
        contrast.required_problems(see / 100),
    ]


def describe_solved(comparison: "Comparison") -> str:
    """Say how many problems one side alone solved with any of its samples."""
    what = "problems" if comparison.num_seeds == 1 else "pairs of a problem and a seed"
    gained, lost = comparison.num_gained, comparison.num_lost
    return f"Solved by a sample of the second alone: {gained} {what}; of the first alone: {lost}."


def between(difference: "Estimate") -> str:
    """Write the interval of a difference, in points; a dash where there is none."""
    return "–" if difference.low != difference.low else f"{signed(difference.low)} … {signed(difference.high)}"


def signed(share: float) -> str:
    """Write a difference in points, with its sign; a dash where it is undefined."""
    return "–" if share != share else f"{100 * share:+.1f}"
