"""``unsqueeze report``: what training did, as one file to look at."""

from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.options import begin


def report(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Runs, folders of arms, a laboratory, evaluations, files of samples; FOLDER:ARM, NAME=PATH as for "
            "compare. What has the same name is one side, of several seeds."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file. Default: report.html in the first folder that is named.")
    ] = None,
) -> None:
    """Write one HTML file that shows what training did: curves, tables, problems lost and gained.

    It holds everything it needs and asks no network. Of a run that is broken or goes on it shows what is there, and
    says what is missing.

    Examples:
      unsqueeze report runs/quickstart
      unsqueeze report runs/quickstart:grpo runs/quickstart:sps --out arms.html
      unsqueeze report runs/seed-0 runs/seed-1 --out seeds.html
      unsqueeze report evals/base evals/sps --out evals.html
    """
    console = begin(f"{', '.join(sources)}: reading")
    import unsqueeze as uq

    written = uq.write_report(sources, out=out)
    console.print(f"{written}: open it in a browser")
