"""Results as tables: on the screen, or as Markdown, CSV or LaTeX, to be pasted or read by a program."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unsqueeze.errors import UserError
from unsqueeze.tables import WRITERS, Column, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from unsqueeze.metrics.intervals import Estimate

MOST_WIDTH = 24
FORMS = ("table", *WRITERS, "json")
FormatOption = Annotated[
    str,
    typer.Option("--format", metavar="|".join(FORMS), help="How the result is printed; json is the same as --json."),
]


def form_of(form: str, as_json: bool = False) -> str:
    """Return the form to print in. UserError for one that there is not, or for another beside --json."""
    if form not in FORMS:
        raise UserError(f"--format {form}: give one of {', '.join(FORMS)}.")
    if as_json and form not in ("table", "json"):
        raise UserError(f"--json and --format {form} are both given; choose one.")
    return "json" if as_json else form


def print_table(table: Table, form: str) -> None:
    """Print a table and nothing else: on the screen by rich, in another form as its text."""
    if form != "table":
        typer.echo(WRITERS[form](table), nl=False)
        return
    from rich.console import Console

    Console(highlight=False).print(on_screen(table))


def on_screen(table: Table, *, sections: Sequence[int] = ()) -> "RichTable":
    """Return the table as rich draws it, a line after each of the rows ``sections``."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE, title=table.title or None, caption=table.caption or None, min_width=40)
    for place, column in enumerate(table.columns):
        # Where the screen is narrow, headings and names are folded, numbers are not.
        longest = 0 if column.left else max((len(row[place]) for row in table.shown), default=0)
        side: Literal["left", "right"] = "left" if column.left else "right"
        drawn.add_column(column.heading, justify=side, min_width=min(longest, MOST_WIDTH), overflow="fold")
    for place, row in enumerate(table.shown):
        drawn.add_row(*map(Text, row), end_section=place in sections)
    return drawn


def percentages(heading: str = "%", *, signed: bool = False) -> Column:
    """A column of percentages, which are its values."""
    return Column(heading, show=lambda value: f"{value:+.1f}" if signed else f"{value:.1f}")


def intervals(heading: str = "95 % interval", *, signed: bool = False) -> Column:
    """A column of intervals, pairs of percentages."""
    one = percentages(signed=signed)
    return Column(heading, show=lambda ends: f"{one.shown(ends[0])} … {one.shown(ends[1])}", parts=("low", "high"))


def short_estimates(heading: str, *, signed: bool = False) -> Column:
    """A column of estimates with their intervals in little room, triples of percentages."""

    def show(value: Sequence[float]) -> str:
        mean, low, high = value
        if signed:
            return f"{mean:+.1f}" if low != low else f"{mean:+.1f}  {low:+.1f} … {high:+.1f}"
        return f"{mean:.1f}" if low != low else f"{mean:.1f}  {low:.0f}–{high:.0f}"

    return Column(heading, show=show, parts=("", "low", "high"))


def estimate_of(estimate: "Estimate") -> tuple[float, float, float]:
    """An estimate and its ends in percent, as ``short_estimates`` has them."""
    return 100 * estimate.mean, 100 * estimate.low, 100 * estimate.high


def interval_of(estimate: "Estimate") -> tuple[float, float]:
    """The ends of an estimate in percent, as ``intervals`` has them."""
    return 100 * estimate.low, 100 * estimate.high
