"""``unsqueeze score``: Avg@n and Pass@k, with error bars, of samples that exist."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.options import (
    ByOption,
    JsonOption,
    KsOption,
    SeedOption,
    SkipBadOption,
    begin,
    judging,
    parse_ks,
    points,
    takes,
)
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from rich.table import Table

    from unsqueeze.metrics.intervals import Estimate
    from unsqueeze.metrics.summary import Summary


@takes(judging)
def score(
    file: Annotated[
        str,
        typer.Argument(
            help="JSONL or Parquet with problem_id, and correct, or verdict, or gold and prediction; - for standard "
            "input; or the directory of a run or an evaluation; or a folder of arms, each of which is scored."
        ),
    ],
    ks: KsOption = None,
    by: ByOption = "benchmark",
    as_json: JsonOption = False,
    skip_bad: SkipBadOption = False,
    seed: SeedOption = 0,
    **given: Any,
) -> None:
    """Avg@n and unbiased Pass@k with 95 % intervals over problems, coverage and majority vote.

    Answers that were not judged (timed_out, too_large, crashed, or correct: null) count as wrong, and what the numbers
    would be were they right is shown beside. A problem whose gold answer cannot be read is left out, with all its
    samples. Where samples carry a benchmark, intervals are stratified by it and each has its own table.

    Examples:
      unsqueeze score judged.jsonl
      unsqueeze score samples.parquet --k 1,8,128 --json
      unsqueeze score runs/quickstart
    """
    console = begin(f"{'standard input' if file == '-' else file}: reading")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.evaluation.summarise import describe_unjudged
    from unsqueeze.store.arms import arms_in

    arms = arms_in(Path(file))
    summaries = {
        arm: uq.score(
            str(Path(file) / arm) if arm else file,
            ks=parse_ks(ks),
            by=by,
            skip_bad=skip_bad,
            seed=seed,
            progress=TerminalProgress(console),
            **given,
        )
        for arm in arms or [""]
    }
    if as_json:
        objects = {arm: summary.to_json_object() for arm, summary in summaries.items()}
        typer.echo(dumps({"arms": objects} if arms else objects[""]))
        return
    for arm, summary in summaries.items():
        _print_tables(summary, arm)
        for words in describe_unjudged(summary):
            console.print(f"{arm}: {words}." if arm else f"{words}.")


def _print_tables(summary: "Summary", arm: str) -> None:
    from rich.console import Console

    screen, most = Console(highlight=False), summary.max_samples
    for name, part in summary.benchmarks.items():
        screen.print(_table(", ".join(filter(None, (arm, name))), part, most))
    whole = "all benchmarks" if summary.benchmarks else ""
    screen.print(_table(", ".join(filter(None, (arm, whole))) or None, summary, most))
    for k, count in summary.num_undefined.items():
        if count == summary.n_problems:
            screen.print(f"Pass@{k} is undefined: no problem has {k} samples.", markup=False)
        elif count:
            screen.print(f"Pass@{k} leaves out {count} problems with fewer than {k} samples.", markup=False)


def _table(title: str | None, summary: "Summary", max_samples: int) -> "Table":
    from rich import box
    from rich.table import Table

    caption = f"{summary.n_problems} problems, up to {max_samples} samples each"
    table = Table(box=box.SIMPLE, title=title, caption=caption, min_width=40)
    table.add_column("metric")
    table.add_column("%", justify="right")
    table.add_column("95 % interval", justify="right")
    best = summary.at_best
    if best is not None:
        table.add_column("unjudged right, %", justify="right")

    def row(name: str, estimate: "Estimate", at_best: float | None) -> None:
        reach = [] if at_best is None else [points(at_best)]
        table.add_row(name, points(estimate.mean), f"{points(estimate.low)} … {points(estimate.high)}", *reach)

    row(f"Avg@{max_samples}", summary.avg, best.avg if best else None)
    for k, estimate in summary.pass_at.items():
        row(f"Pass@{k}", estimate, best.pass_at[k] if best else None)
    row("coverage", summary.coverage, best.coverage if best else None)
    if summary.majority is not None:
        row(f"maj@{max_samples}", summary.majority, best.majority if best else None)
    return table
