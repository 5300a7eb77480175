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
    TausOption,
    begin,
    judging,
    parse_ks,
    parse_taus,
    takes,
)
from unsqueeze.cli.score_tables import first_table, long_table, reliability_table
from unsqueeze.cli.showing import FormatOption, form_of, on_screen, print_table
from unsqueeze.plain_json import dumps
from unsqueeze.wording import counted

if TYPE_CHECKING:
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
    taus: TausOption = None,
    by: ByOption = "benchmark",
    as_json: JsonOption = False,
    form: FormatOption = "table",
    skip_bad: SkipBadOption = False,
    seed: SeedOption = 0,
    **given: Any,
) -> None:
    """Avg@n and unbiased Pass@k with 95 % intervals over problems, coverage and majority vote; and how reliably
    problems are solved: Cover@τ (the share solved at a rate of τ or more), pass^k (k of k samples right) and G-Pass@k.

    Answers that were not judged (timed_out, too_large, crashed, or correct: null) count as wrong, and what the numbers
    would be were they right is shown beside. A problem whose gold answer cannot be read is left out, with all its
    samples. Where samples carry a benchmark, intervals are stratified by it and each has its own table.

    Examples:
      unsqueeze score judged.jsonl
      unsqueeze score samples.parquet --k 1,8,128 --json
      unsqueeze score evals/mine --tau 0.5,0.8 --format latex
      unsqueeze score runs/quickstart
    """
    form = form_of(form, as_json)
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
            taus=parse_taus(taus),
            by=by,
            skip_bad=skip_bad,
            seed=seed,
            progress=TerminalProgress(console),
            **given,
        )
        for arm in arms or [""]
    }
    if form == "json":
        objects = {arm: summary.to_json_object() for arm, summary in summaries.items()}
        typer.echo(dumps({"arms": objects} if arms else objects[""]))
        return
    if form != "table":
        print_table(long_table(summaries), form)
    for arm, summary in summaries.items():
        if form == "table":
            _print_tables(summary, arm)
        for words in describe_unjudged(summary):
            console.print(f"{arm}: {words}." if arm else f"{words}.")


def _print_tables(summary: "Summary", arm: str) -> None:
    from rich.console import Console

    screen = Console(highlight=False)
    whole = "all benchmarks" if summary.benchmarks else ""
    for name, part in [*summary.benchmarks.items(), (whole, summary)]:
        screen.print(on_screen(first_table(", ".join(filter(None, (arm, name))), part, summary.max_samples)))
    if summary.reliability.pass_hat:
        screen.print(on_screen(reliability_table(summary)))
    for k, count in summary.num_undefined.items():
        if count == summary.n_problems:
            screen.print(f"Pass@{k} is undefined: no problem has {k} samples.", markup=False)
        elif count:
            told = f"Pass@{k} leaves out {counted(count, 'problem')} with fewer than {k} samples."
            screen.print(told, markup=False)
