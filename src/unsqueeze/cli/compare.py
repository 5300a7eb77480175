"""``unsqueeze compare``: what changed between two models on the same problems, and whether it could be chance."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.options import (
    ByOption,
    JsonOption,
    KsOption,
    SeedOption,
    SkipBadOption,
    judging,
    notes,
    parse_ks,
    points,
    takes,
)
from unsqueeze.errors import UserError
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from unsqueeze.metrics.comparison import Comparison, Contrast


@takes(judging)
def compare(
    first: Annotated[str, typer.Argument(help="Samples, an evaluation or a run: as for score.")],
    second: Annotated[str, typer.Argument(help="The same of the other model. Differences are second minus first.")],
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

    Examples:
      unsqueeze compare base.jsonl trained.jsonl
      unsqueeze compare runs/quickstart/grpo runs/quickstart/sps --k 1,128
    """
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress

    if not see > 0:
        raise UserError(f"--see {see}: give a difference in points, more than 0, such as 5.")
    console = notes()
    comparison = uq.compare(
        first,
        second,
        ks=parse_ks(ks),
        by=by,
        skip_bad=skip_bad,
        seed=seed,
        progress=TerminalProgress(console),
        **given,
    )
    if as_json:
        typer.echo(dumps(comparison.to_json_object(difference=see / 100)))
        return
    _print_table(comparison, see)
    if any(comparison.num_unpaired):
        console.print(
            "{} problems are only in the first, {} only in the second; left out.".format(*comparison.num_unpaired)
        )
    if any(comparison.num_not_judged):
        console.print(
            "{:,} samples of the first, {:,} of the second were not judged and count as wrong. Were they right on one "
            "side alone, the differences would lie within: {}.".format(*comparison.num_not_judged, _reaches(comparison))
        )
    if comparison.num_unreadable:
        console.print(f"{comparison.num_unreadable:,} problems are left out: their gold answers cannot be read.")


def _print_table(comparison: "Comparison", see: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from unsqueeze.metrics.paired import FEWEST_WITH_INTERVAL

    table = Table(box=box.SIMPLE, caption=f"{comparison.num_problems} problems in both; second − first, in points")
    for name in ("metric", "first", "second", "difference", "95 % interval", "p", f"problems to see {see:g}"):
        table.add_column(name, justify="left" if name == "metric" else "right")

    def row(name: str, contrast: "Contrast") -> None:
        difference = contrast.paired.difference
        needed = contrast.required_problems(see / 100)
        table.add_row(
            name,
            points(contrast.first),
            points(contrast.second),
            _signed(difference.mean),
            "–" if difference.low != difference.low else f"{_signed(difference.low)} … {_signed(difference.high)}",
            "–" if contrast.paired.p_value != contrast.paired.p_value else f"{contrast.paired.p_value:.4f}",
            "–" if needed is None else f"{needed:,}",
        )

    row("Avg@n", comparison.avg)
    for k, contrast in comparison.pass_at.items():
        row(f"Pass@{k}", contrast)
    console = Console(highlight=False)
    console.print(table)
    if comparison.num_problems < FEWEST_WITH_INTERVAL:
        console.print(
            f"Fewer than {FEWEST_WITH_INTERVAL} problems have no 95 % interval: whatever they show, chance shows it "
            f"too often."
        )


def _reaches(comparison: "Comparison") -> str:
    named = {"Avg@n": comparison.avg} | {f"Pass@{k}": contrast for k, contrast in comparison.pass_at.items()}
    known = {name: contrast for name, contrast in named.items() if contrast.least == contrast.least}
    return ", ".join(f"{name} {_signed(each.least)} … {_signed(each.greatest)}" for name, each in known.items())


def _signed(share: float) -> str:
    return "–" if share != share else f"{100 * share:+.1f}"
