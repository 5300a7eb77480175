"""``unsqueeze export``: samples for other evaluators."""

from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.judging import notes
from unsqueeze.cli.options import one_of
from unsqueeze.errors import UserError

FORMATS = ("evalscope", "lighteval")


def export(
    samples: Annotated[
        str,
        typer.Argument(
            help="The directory of an evaluation or a run, or JSONL or Parquet with problem_id, gold, and text."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    to: Annotated[str, typer.Option("--to", help="For whom: evalscope or lighteval.")] = "evalscope",
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
    from unsqueeze.evaluation.tallying import sample_source
    from unsqueeze.interop.sample_files import read_samples
    from unsqueeze.interop.write_evalscope import COLUMNS, grouped, write_evalscope
    from unsqueeze.interop.write_lighteval import write_lighteval

    one_of("--to", to, FORMATS)
    if out.exists():
        raise UserError(f"--out {out} exists already; name a folder that does not.")
    source = sample_source(samples)
    groups = grouped(read_samples(source, COLUMNS))
    write = write_lighteval if to == "lighteval" else write_evalscope
    notes().print(f"{out}: {write(groups, out):,} samples of {len(groups):,} problems, from {source}")
