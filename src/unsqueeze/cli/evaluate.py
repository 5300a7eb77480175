"""``unsqueeze eval``: sample, verify, and report Avg@n and Pass@k with intervals."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.options import (
    KsOption,
    ModelArgument,
    TausOption,
    TopKOption,
    TopPOption,
    asking,
    begin,
    judging,
    loading,
    model_of,
    parse_ks,
    parse_taus,
    points,
    print_next,
    takes,
)
from unsqueeze.cli.score_tables import long_table
from unsqueeze.cli.showing import FormatOption, form_of, print_table
from unsqueeze.cli.task_list import ListTasksOption
from unsqueeze.errors import INTERRUPTED, Interrupted
from unsqueeze.plain_json import dumps
from unsqueeze.tables import SHOWN_KS
from unsqueeze.wording import counted

if TYPE_CHECKING:
    from unsqueeze.metrics.intervals import Estimate
    from unsqueeze.metrics.summary import Summary


@takes(asking, judging, loading)
def evaluate(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="The directory of the evaluation; one that is there is gone on with.")],
    n: Annotated[int, typer.Option("--n", help="Samples of each problem. A larger one adds to what is there.")] = 128,
    top_p: TopPOption = None,
    top_k: TopKOption = None,
    ks: KsOption = None,
    taus: TausOption = None,
    form: FormatOption = "table",
    list_tasks: ListTasksOption = False,
    **given: Any,
) -> None:
    """Sample n answers to every problem, judge them, and report Avg@n and Pass@k with 95 % intervals over problems.

    Samples are stored as they finish. The same command again goes on with an evaluation that was stopped, a larger --n
    adds samples, another --k needs none, and another --credit only judges again. The directory holds samples.parquet
    and summary.json; [bold]unsqueeze score[/bold] and [bold]unsqueeze compare[/bold] read it. A run or a checkpoint in
    one is asked as its run.json says, unless told otherwise.

    Examples:
      unsqueeze eval countdown-0.4m --task countdown --n 128 --out evals/base
      unsqueeze eval runs/quickstart/sps --task countdown --out evals/sps
      unsqueeze eval ./model --task aime_2025 --task math500 --data-dir data --n 32 --out evals/mine
      unsqueeze eval Qwen/Qwen3-8B --server http://localhost:8000/v1 --task aime_2025 --data-dir data --out evals/served
      unsqueeze eval --list-tasks
    """
    form = form_of(form)
    console = begin(f"{model}: loading PyTorch and what is asked")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.progress import StopRequest

    stop = StopRequest()
    load, tasks, settings = model_of(model, given)
    with TerminalProgress(console) as progress, stop.listening():
        try:
            evaluation = uq.evaluate(
                load,
                tasks,
                out=out,
                n=n,
                ks=parse_ks(ks),
                taus=parse_taus(taus),
                top_p=top_p,
                top_k=top_k,
                progress=progress,
                stop=stop,
                **settings,
            )
        except Interrupted:
            progress.warn(f"stopped as asked; the samples so far are in {out}. The same command goes on.")
            raise typer.Exit(INTERRUPTED) from None
    if form == "json":
        typer.echo(dumps(evaluation.record))
    elif form == "table":
        print_summary(evaluation.summary, n, evaluation.record["temperature"])
    else:
        print_table(long_table({"": evaluation.summary}), form)
    num_drawn = evaluation.num_drawn
    drawn = f"{counted(num_drawn, 'sample', 'was', 'were')} drawn now"
    console.print(f"{out}: samples.parquet and summary.json; {drawn}")
    print_next(
        console, {shlex.join(["unsqueeze", "compare", "ANOTHER", str(out)]): "what changed, on the same problems"}
    )


def print_summary(summary: "Summary", n: int, temperature: float) -> None:
    """Print a line a task, and a stratified one over all where there are several; then what to know of them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Avg@n is the better estimate of Pass@1; of many ks a few tell the story.
    shown = [k for k in summary.pass_at if k > 1]
    if len(shown) > 4:
        shown = [k for k in shown if k in SHOWN_KS or k == max(shown)]
    table = Table(box=box.SIMPLE, caption=f"temperature {temperature:g}; % with 95 % intervals over problems")
    table.add_column("task", overflow="fold")
    for heading in ("problems", f"Avg@{n}", *(f"Pass@{k}" for k in shown)):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in summary.benchmarks.items():
        table.add_row(name, *cells(part, shown))
    if len(summary.benchmarks) > 1:
        table.add_section()
        table.add_row("all", *cells(summary, shown))
    screen = Console(highlight=False)
    screen.print(table)
    for name, part in summary.benchmarks.items():
        screen.print(describe_samples(name, part), markup=False, soft_wrap=True)
    for name, part in summary.benchmarks.items():
        screen.print(f"{name}: {describe_reliability(part)}", markup=False, soft_wrap=True)


def describe_samples(name: str, part: "Summary") -> str:
    """Say in one line what the samples of a task were like."""
    from unsqueeze.evaluation.summarise import describe_unjudged

    counts = part.counts
    assert counts is not None, "samples of an evaluation are counted"
    kinds = {
        "cut off at the token limit": counts.num_cut_off,
        "unparsable": counts.num_unparsable,
    }
    shares = [f"{points(count / counts.num_samples)} % {words}" for words, count in kinds.items() if count]
    mean = counts.mean_tokens
    lengths = "" if mean != mean else f" of {mean:.0f} tokens on average"
    said = ", ".join([f"{name}: {counts.num_samples:,} samples{lengths}", *shares])
    return "; ".join([said, *describe_unjudged(part)])


def describe_reliability(part: "Summary") -> str:
    """Say in one line how reliably problems are solved: Cover@τ, and pass^k and mG-Pass@k at a k of 8 or so."""
    found = part.reliability
    told = [f"Cover@{tau:g} {points(estimate.mean)} %" for tau, estimate in found.cover.items()]
    if some := [k for k in found.pass_hat if k <= SHOWN_KS[0]]:
        k = max(some)
        told += [
            f"pass^{k} {points(found.pass_hat[k].mean)} %",
            f"mG-Pass@{k} {points(found.mean_g_pass_at[k].mean)} %",
        ]
    return ", ".join(told)


def cells(part: "Summary", ks: Sequence[int]) -> list[str]:
    return [str(part.n_problems), *estimates(part, ks)]


def estimates(part: "Summary", ks: Sequence[int]) -> list[str]:
    """Write Avg@n and each Pass@k, and to where they reach were all right that was not judged."""
    best = part.at_best
    at_best = [None] * (1 + len(ks)) if best is None else [best.avg, *(best.pass_at[k] for k in ks)]
    return list(map(percent, [part.avg, *(part.pass_at[k] for k in ks)], at_best))


def percent(estimate: "Estimate", at_best: float | None = None) -> str:
    """Write an estimate as a percentage over its interval; a dash where it is undefined."""
    if estimate.mean != estimate.mean:
        return "–"
    between = "" if estimate.low != estimate.low else f"\n{100 * estimate.low:.0f}–{100 * estimate.high:.0f}"
    reach = "" if at_best is None else f" (≤ {100 * at_best:.1f})"
    return f"{100 * estimate.mean:.1f}{reach}{between}"
