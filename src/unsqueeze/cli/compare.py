"""``unsqueeze compare``: what changed between two models on the same problems, and whether it could be chance."""

from typing import TYPE_CHECKING, Annotated

import typer

from unsqueeze.cli.judging import (
    MEMORY_MB,
    TIMEOUT_S,
    WORKERS,
    ByOption,
    CreditOption,
    JsonOption,
    KsOption,
    MemoryOption,
    SeedOption,
    TimeoutOption,
    WorkersOption,
    notes,
    parse_ks,
    points,
)
from unsqueeze.errors import UserError
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from unsqueeze.metrics.comparison import Comparison, Contrast


def compare(
    first: Annotated[str, typer.Argument(help="Samples, an evaluation or a run: as for score.")],
    second: Annotated[str, typer.Argument(help="The same of the other model. Differences are second minus first.")],
    ks: KsOption = None,
    by: ByOption = "benchmark",
    see: Annotated[
        float, typer.Option("--see", metavar="POINTS", help="A difference, in points, to say the needed problems for.")
    ] = 5.0,
    as_json: JsonOption = False,
    workers: WorkersOption = WORKERS,
    timeout: TimeoutOption = TIMEOUT_S,
    memory_mb: MemoryOption = MEMORY_MB,
    credit: CreditOption = "anywhere",
    seed: SeedOption = 0,
) -> None:
    """Paired differences of Avg@n and Pass@k, with 95 % intervals and sign-flip p-values.

    Problems are paired by benchmark and problem id; those that only one side has are left out and counted. A side that
    names no benchmark is taken to be of the other's, where that is a single one. Of a run, the last evaluation is read.

    Examples:
      unsqueeze compare base.jsonl trained.jsonl
      unsqueeze compare runs/quickstart/grpo runs/quickstart/sps --k 1,128
    """
    from unsqueeze.evaluation.tallying import LazyVerifier, sample_source, tally_samples
    from unsqueeze.metrics.comparison import compare_tallies
    from unsqueeze.metrics.tally import called_alike
    from unsqueeze.verify.extract import check_credit

    if not see > 0:
        raise UserError(f"--see {see}: give a difference in points, more than 0, such as 5.")
    console = notes()
    sources = [sample_source(first), sample_source(second)]
    for given, source in zip((first, second), sources, strict=True):
        if source != given:
            console.print(f"{given}: reading {source}")
    with LazyVerifier(workers=workers, timeout_s=timeout, memory_mb=memory_mb, credit=check_credit(credit)) as verifier:
        before, after = called_alike(*(tally_samples(source, verifier, by=by) for source in sources))
    wanted = parse_ks(ks, min(before.max_samples, after.max_samples))
    comparison = compare_tallies(before, after, wanted, seed=seed)
    if comparison.num_problems == 0:
        raise UserError(
            f"{first} and {second} have no problem in common ({len(before.problem_ids)} and "
            f"{len(after.problem_ids)} problems). Both must name their problems alike in problem_id."
        )
    not_judged = [before.num_not_judged, after.num_not_judged]
    if as_json:
        counts = {"num_not_judged_first": not_judged[0], "num_not_judged_second": not_judged[1]}
        typer.echo(dumps(comparison.to_json_object(difference=see / 100) | counts))
        return
    _print_table(comparison, see)
    if any(comparison.num_unpaired):
        console.print(
            "{} problems are only in the first, {} only in the second; left out.".format(*comparison.num_unpaired)
        )
    if any(not_judged):
        console.print("{:,} samples of the first, {:,} of the second were not judged; left out.".format(*not_judged))


def _print_table(comparison: "Comparison", see: float) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

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
    if comparison.num_problems < 6:
        console.print("Fewer than six problems have no 95 % interval: whatever they show, chance shows it too often.")


def _signed(share: float) -> str:
    return "–" if share != share else f"{100 * share:+.1f}"
