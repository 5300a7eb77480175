"""``unsqueeze report``: what training did, as one file to look at."""

import os
import time
from contextlib import suppress
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
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write every figure as SVG and PDF, and every table as CSV, Markdown and LaTeX, into this folder; and "
            "no page, unless --out is given too.",
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Write it again while training goes on, until Ctrl-C; the page reloads itself."),
    ] = False,
) -> None:
    """Write one HTML file that shows what training did: curves, tables, problems lost and gained.

    It holds everything it needs and asks no network. Of a run that is broken or goes on it shows what is there, and
    says what is missing.

    Examples:
      unsqueeze report runs/quickstart
      unsqueeze report runs/quickstart:grpo runs/quickstart:sps --out arms.html
      unsqueeze report runs/seed-0 runs/seed-1 --out seeds.html
      unsqueeze report evals/base evals/sps --out evals.html
      unsqueeze report runs/quickstart --live
      unsqueeze report runs/quickstart --figures figures
    """
    if live:
        _follow(sources, out)
        return
    console = begin(f"{', '.join(sources)}: reading")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress

    with TerminalProgress(console) as progress:
        if figures is not None:
            files = uq.write_figures(sources, figures, progress=progress)
            console.print(f"{figures}: {len(files)} files")
        if figures is None or out is not None:
            written = uq.write_report(sources, out=out, progress=progress)
            console.print(f"{written}: open it in a browser")


def _follow(sources: list[str], out: Path | None) -> None:
    """Write the report again and again, at a priority below that of training."""
    console = begin(f"{', '.join(sources)}: followed until Ctrl-C")
    from unsqueeze.progress import StopRequest
    from unsqueeze.report.live import follow

    with suppress(OSError):
        os.nice(10)
    stop = StopRequest()
    with stop.listening():
        written = follow(sources, out, stop, lambda path: console.print(f"{path} at {time.strftime('%H:%M:%S')}"))
    console.print(f"{written}: as it is now")
