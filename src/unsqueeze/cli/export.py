"""``unsqueeze export``: samples for other evaluators."""

from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.options import begin
from unsqueeze.wording import counted


def export(
    samples: Annotated[
        str,
        typer.Argument(
            help="The directory of an evaluation or a run, or JSONL or Parquet with problem_id, gold, and text."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    to: Annotated[
        str, typer.Option("--to", help="For whom: evalscope, lighteval, or package.module:function.")
    ] = "evalscope",
) -> None:
    """Write samples in the form that another evaluator reads, to have them judged there.

    [bold]evalscope[/bold]: a work directory with cached predictions. Re-score it with
    [bold]python -c "from evalscope import run_task; run_task('OUT/rescore.json')"[/bold], and read the verdicts with
    unsqueeze score OUT.
    [bold]lighteval[/bold]: an output folder with details, which carry the verdicts that the samples have.

    Examples:
      unsqueeze export evals/mine --to evalscope --out for-evalscope
      unsqueeze compare evals/mine for-evalscope
      unsqueeze export evals/mine --to lighteval --out for-lighteval
    """
    console = begin(f"{samples}: reading")
    import unsqueeze as uq

    num_samples, num_problems = uq.export(samples, out, to=to)
    console.print(f"{out}: {counted(num_samples, 'sample')} of {counted(num_problems, 'problem')}, from {samples}")
