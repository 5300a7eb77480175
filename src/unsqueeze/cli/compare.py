"""``unsqueeze compare``: what changed between two models on the same problems, and whether it could be chance."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.options import (
    ByOption,
    JsonOption,
    KsOption,
    SeedOption,
    SkipBadOption,
    begin,
    chance,
    judging,
    parse_ks,
    points,
    takes,
)
from unsqueeze.errors import UserError
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from unsqueeze.metrics.comparison import Comparison, Contrast
    from unsqueeze.metrics.intervals import Estimate


@takes(judging)
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="Samples, an evaluation or a run, as for score; FOLDER:ARM, or a folder of arms for all of them; "
            "NAME=PATH to name a side. What has the same name is pooled, a run a seed. Differences are to the first."
        ),
    ],
    ks: KsOption = None,
    by: ByOption = "benchmark",
    see: Annotated[
        float, typer.Option("--see", metavar="POINTS", help="A difference, in points, to say the needed problems for.")
    ] = 5.0,
    as_json: JsonOption = False,
    skip_bad: SkipBadOption = False,
    seed: SeedOption = 0,
    **given: Any,
) -> None:
    """Paired differences of Avg@n and Pass@k, with 95 % intervals and sign-flip p-values.

    Problems are paired by benchmark and problem id; those that only one side has are left out and counted. A side that
    names no benchmark is taken to be of the other's, where that is a single one. Of a run, the last evaluation is read.

    Every side after the first is compared with the first. Several runs under one name are pooled: problems are then
    paired by seed too, and intervals are still over problems (docs/statistics.md).

    Examples:
      unsqueeze compare base.jsonl trained.jsonl
      unsqueeze compare runs/quickstart
      unsqueeze compare runs/quickstart:grpo runs/quickstart:sps --k 1,128
      unsqueeze compare runs/seed-0 runs/seed-1 runs/seed-2
      unsqueeze compare base=evals/base sps=runs/a/sps sps=runs/b/sps
    """
    if not see > 0:
        raise UserError(f"--see {see}: give a difference in points, more than 0, such as 5.")
    console = begin(f"{', '.join(sides)}: reading")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress

    comparisons = uq.compare_all(
        sides,
        ks=parse_ks(ks),
        by=by,
        skip_bad=skip_bad,
        seed=seed,
        progress=TerminalProgress(console),
        **given,
    )
    if as_json:
        typer.echo(dumps(in_json(comparisons, see / 100)))
        return
    for (second, first), comparison in comparisons.items():
        _print_table(comparison, f"{second} − {first}", see)
        if any(comparison.num_unpaired):
            console.print(
                "{} problems are only in the first, {} only in the second; left out.".format(*comparison.num_unpaired)
            )
        if any(comparison.num_not_judged):
            console.print(
                "{:,} samples of the first, {:,} of the second were not judged and count as wrong. Were they right on "
                "one side alone, the differences would lie within: {}.".format(
                    *comparison.num_not_judged, _reaches(comparison)
                )
            )
        if comparison.num_unreadable:
            console.print(f"{comparison.num_unreadable:,} problems are left out: their gold answers cannot be read.")


def in_json(comparisons: "Mapping[tuple[str, str], Comparison]", difference: float) -> dict[str, object]:
    """Return one object: that of the comparison, or where there are several, one of them by the second's name."""
    objects = {
        second: {"first": first, "second": second, **each.to_json_object(difference=difference)}
        for (second, first), each in comparisons.items()
    }
    return next(iter(objects.values())) if len(objects) == 1 else {"comparisons": objects}


def _print_table(comparison: "Comparison", title: str, see: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from unsqueeze.metrics.paired import FEWEST_WITH_INTERVAL

    seeds = comparison.num_seeds
    caption = f"{comparison.num_problems} problems in both; second − first, in points"
    if seeds > 1:
        caption += f"; means of {seeds} seeds, intervals over problems"
    table = Table(box=box.SIMPLE, title=title, caption=caption)
    headings = ["metric", "first", "second", "difference", "95 % interval", "p", f"problems to see {see:g}"]
    for name in [*headings, *(["seed by seed"] if seeds > 1 else [])]:
        table.add_column(name, justify="left" if name == "metric" else "right")

    def row(name: str, contrast: "Contrast") -> None:
        difference = contrast.paired.difference
        needed = contrast.required_problems(see / 100)
        table.add_row(
            name,
            points(contrast.first),
            points(contrast.second),
            signed(difference.mean),
            between(difference),
            chance(contrast.paired.p_value),
            "–" if needed is None else f"{needed:,}",
            *([" ".join(map(signed, contrast.by_seed))] if seeds > 1 else []),
        )

    row("Avg@n", comparison.avg)
    for k, contrast in comparison.pass_at.items():
        row(f"Pass@{k}", contrast)
    console = Console(highlight=False)
    console.print(table)
    console.print(describe_solved(comparison))
    if comparison.num_problems < FEWEST_WITH_INTERVAL:
        console.print(
            f"Fewer than {FEWEST_WITH_INTERVAL} problems have no 95 % interval: whatever they show, chance shows it "
            f"too often."
        )


def _reaches(comparison: "Comparison") -> str:
    named = {"Avg@n": comparison.avg} | {f"Pass@{k}": contrast for k, contrast in comparison.pass_at.items()}
    known = {name: contrast for name, contrast in named.items() if contrast.least == contrast.least}
    return ", ".join(f"{name} {signed(each.least)} … {signed(each.greatest)}" for name, each in known.items())


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
