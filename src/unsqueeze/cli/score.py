"""``unsqueeze score``: Avg@n and Pass@k, with error bars, of samples that exist."""

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
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from rich.table import Table

    from unsqueeze.metrics.intervals import Estimate
    from unsqueeze.metrics.summary import Summary


def score(
    file: Annotated[
        str,
        typer.Argument(
            help="JSONL or Parquet with problem_id, and correct, or verdict, or gold and prediction; - for standard "
            "input; or the directory of a run or an evaluation."
        ),
    ],
    ks: KsOption = None,
    by: ByOption = "benchmark",
    as_json: JsonOption = False,
    workers: WorkersOption = WORKERS,
    timeout: TimeoutOption = TIMEOUT_S,
    memory_mb: MemoryOption = MEMORY_MB,
    credit: CreditOption = "anywhere",
    seed: SeedOption = 0,
) -> None:
    """Avg@n and unbiased Pass@k with 95 % intervals over problems, coverage and majority vote.

    Answers that were not judged (timed_out, crashed, or correct: null) are left out and counted. Where samples carry a
    benchmark, intervals are stratified by it and each has its own table.

    Examples:
      unsqueeze score judged.jsonl
      unsqueeze score samples.parquet --k 1,8,128 --json
    """
    from unsqueeze.evaluation.tallying import LazyVerifier, sample_source, tally_samples
    from unsqueeze.metrics.summary import summaries_by_benchmark, summarise_tally
    from unsqueeze.verify.extract import check_credit

    source = sample_source(file)
    console = notes()
    if source != file:
        console.print(f"{file}: reading {source}")
    with LazyVerifier(workers=workers, timeout_s=timeout, memory_mb=memory_mb, credit=check_credit(credit)) as verifier:
        tally = tally_samples(source, verifier, by=by)
    wanted = parse_ks(ks, tally.max_samples)
    summary = summarise_tally(tally, wanted, seed=seed)
    parts = summaries_by_benchmark(tally, wanted, seed=seed)
    if as_json:
        benchmarks = {name: part.to_json_object() for name, part in parts.items()}
        extra = {"num_not_judged": tally.num_not_judged} | ({"benchmarks": benchmarks} if benchmarks else {})
        typer.echo(dumps(summary.to_json_object() | extra))
        return
    _print_tables(summary, parts, tally.max_samples)
    if tally.num_not_judged:
        console.print(f"{tally.num_not_judged:,} samples were not judged; they are left out.")


def _print_tables(summary: "Summary", parts: "dict[str, Summary]", max_samples: int) -> None:
    from rich.console import Console

    screen = Console(highlight=False)
    for name, part in parts.items():
        screen.print(_table(name, part, max_samples))
    screen.print(_table("all benchmarks" if parts else None, summary, max_samples))
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

    def row(name: str, estimate: "Estimate") -> None:
        table.add_row(name, points(estimate.mean), f"{points(estimate.low)} … {points(estimate.high)}")

    row(f"Avg@{max_samples}", summary.avg)
    for k, estimate in summary.pass_at.items():
        row(f"Pass@{k}", estimate)
    row("coverage", summary.coverage)
    if summary.majority is not None:
        row(f"maj@{max_samples}", summary.majority)
    return table
