"""``unsqueeze compare``: what changed between two models on the same problems, and whether it could be chance."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.compare_tables import contrast_table, describe_solved, signed, turnover_table
from unsqueeze.cli.options import (
    ByOption,
    JsonOption,
    KsOption,
    SeedOption,
    SkipBadOption,
    TausOption,
    begin,
    judging,
    parse_ks,
    parse_taus,
    takes,
)
from unsqueeze.cli.path_tables import describe_ends, paths_table, points_table
from unsqueeze.cli.showing import FormatOption, form_of, on_screen, print_table
from unsqueeze.errors import UserError
from unsqueeze.plain_json import dumps
from unsqueeze.wording import counted, verb

if TYPE_CHECKING:
    from unsqueeze.api.paths import Paths
    from unsqueeze.metrics.comparison import Comparison


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
    taus: TausOption = None,
    by: ByOption = "benchmark",
    see: Annotated[
        float, typer.Option("--see", metavar="POINTS", help="A difference, in points, to say the needed problems for.")
    ] = 5.0,
    paths: Annotated[
        bool,
        typer.Option(
            "--paths",
            help="Compare whole trainings: every evaluation of a run is a point of (Avg@n, Pass@k); hypervolume, and "
            "the gap in Pass@k at equal Avg@n to the path of the first side. Of --k, the largest.",
        ),
    ] = False,
    as_json: JsonOption = False,
    form: FormatOption = "table",
    skip_bad: SkipBadOption = False,
    seed: SeedOption = 0,
    **given: Any,
) -> None:
    """Paired differences of Avg@n, Pass@k, pass^k, mG-Pass@k and Cover@τ, with 95 % intervals and sign-flip p-values;
    and the problems lost and gained, by the first side's success rate.

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
      unsqueeze compare runs/seed-0 runs/seed-1 runs/seed-2 --paths --k 64
    """
    if not see > 0:
        raise UserError(f"--see {see}: give a difference in points, more than 0, such as 5.")
    form = form_of(form, as_json)
    console = begin(f"{', '.join(sides)}: reading")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress

    if paths:
        wanted = parse_ks(ks)
        _print_paths(
            uq.compare_paths(
                sides,
                k=wanted[-1] if wanted else None,
                by=by,
                skip_bad=skip_bad,
                seed=seed,
                progress=TerminalProgress(console),
                **given,
            ),
            form,
        )
        return
    comparisons = uq.compare_all(
        sides,
        ks=parse_ks(ks),
        taus=parse_taus(taus),
        by=by,
        skip_bad=skip_bad,
        seed=seed,
        progress=TerminalProgress(console),
        **given,
    )
    if form == "json":
        typer.echo(dumps(in_json(comparisons, see / 100)))
        return
    if form != "table":
        print_table(contrast_table(comparisons, see), form)
    for (second, first), comparison in comparisons.items():
        if form == "table":
            _print_tables(comparison, (second, first), see)
        alone = comparison.num_unpaired
        if any(alone):
            console.print(
                f"{counted(alone[0], 'problem', 'is', 'are')} only in the first, {alone[1]:,} only in "
                "the second; left out."
            )
        if any(comparison.num_not_judged):
            ours, theirs = comparison.num_not_judged
            are_wrong = verb(ours + theirs, "was not judged and counts", "were not judged and count")
            console.print(
                f"{counted(ours, 'sample')} of the first, {theirs:,} of the second {are_wrong} as wrong. "
                f"Were they right on one side alone, the differences would lie within: {_reaches(comparison)}."
            )
        if count := comparison.num_unreadable:
            console.print(
                f"{counted(count, 'problem', 'is', 'are')} left out: "
                f"{verb(count, 'its gold answer', 'their gold answers')} cannot be read."
            )


def in_json(comparisons: "Mapping[tuple[str, str], Comparison]", difference: float) -> dict[str, object]:
    """Return one object: that of the comparison, or where there are several, one of them by the second's name."""
    objects = {
        second: {"first": first, "second": second, **each.to_json_object(difference=difference)}
        for (second, first), each in comparisons.items()
    }
    return next(iter(objects.values())) if len(objects) == 1 else {"comparisons": objects}


def _print_paths(paths: "Paths", form: str) -> None:
    if form == "json":
        typer.echo(dumps(paths.to_json_object()))
        return
    print_table(points_table(paths), form)
    if form == "table":
        print_table(paths_table(paths), form)
        for told in describe_ends(paths):
            typer.echo(told)


def _print_tables(comparison: "Comparison", sides: tuple[str, str], see: float) -> None:
    from rich.console import Console

    from unsqueeze.metrics.paired import FEWEST_WITH_INTERVAL

    screen = Console(highlight=False)
    num_pass = 1 + len(comparison.pass_at)
    screen.print(on_screen(contrast_table({sides: comparison}, see, in_short=True), sections=[num_pass - 1]))
    screen.print(describe_solved(comparison))
    if comparison.turnover is not None:
        screen.print(on_screen(turnover_table(comparison.turnover)))
    if comparison.num_problems < FEWEST_WITH_INTERVAL:
        screen.print(
            f"Fewer than {FEWEST_WITH_INTERVAL} problems have no 95 % interval: whatever they show, chance shows it "
            f"too often."
        )


def _reaches(comparison: "Comparison") -> str:
    named = {"Avg@n": comparison.avg} | {f"Pass@{k}": contrast for k, contrast in comparison.pass_at.items()}
    known = {name: contrast for name, contrast in named.items() if contrast.least == contrast.least}
    return ", ".join(f"{name} {signed(each.least)} … {signed(each.greatest)}" for name, each in known.items())
