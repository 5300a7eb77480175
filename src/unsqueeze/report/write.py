"""Write a report where the user wants it."""

from collections.abc import Sequence
from pathlib import Path

from unsqueeze.progress import Progress
from unsqueeze.report.charts import all_figures
from unsqueeze.report.gather import gather
from unsqueeze.report.page import render
from unsqueeze.report.plane import plane
from unsqueeze.report.rollouts import MOST_ROLLOUTS
from unsqueeze.report.tables import all_tables
from unsqueeze.store.atomic import make_folder
from unsqueeze.store.outputs import output_file
from unsqueeze.tables import WRITERS

REPORT_FILE = "report.html"
SUFFIXES = {"csv": ".csv", "markdown": ".md", "latex": ".tex"}


def write_report(
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    live: bool = False,
    most_rollouts: int = MOST_ROLLOUTS,
    progress: Progress | None = None,
) -> Path:
    """Write one self-contained HTML file about runs, folders of arms, laboratories, evaluations and files of samples.

    ``sources`` are what ``compare`` takes. ``out`` is by default ``report.html`` in the first of them that is a
    folder, else in the working directory; of more than ``most_rollouts`` there are those of evenly spread steps. A
    ``live`` page reloads itself. UserError where a source is none; a broken or unfinished run gives the report
    of what is there.
    """
    named = [str(sources)] if isinstance(sources, str | Path) else [str(each) for each in sources]
    target = default_place(named) if out is None else Path(out)
    report = gather(named, progress=progress)
    page = render(report, most_rollouts=most_rollouts, live=live)
    with output_file(target) as path:
        path.write_bytes(page)
    return target


def write_figures(
    sources: str | Path | Sequence[str | Path], folder: str | Path, *, progress: Progress | None = None
) -> list[Path]:
    """Write every figure of a report as SVG and PDF, and every table as CSV, Markdown and LaTeX; return the files.

    The plane is there for every k. Files of the same names are replaced.
    """
    from unsqueeze.report.draw import save_figure  # matplotlib is slow to load, and a page does without it

    named = [str(sources)] if isinstance(sources, str | Path) else [str(each) for each in sources]
    report, target = gather(named, progress=progress), Path(folder)
    make_folder(target)
    written = [
        path for figure in [*plane(report).figures, *all_figures(report)] for path in save_figure(figure, target)
    ]
    for name, table in all_tables(report).items():
        for form, write in WRITERS.items():
            path = target / f"{name}{SUFFIXES[form]}"
            with output_file(path) as aside:
                aside.write_bytes(write(table).encode("utf-8", errors="replace"))
            written.append(path)
    return written


def default_place(sources: Sequence[str]) -> Path:
    """Return where the report of sources is written unless the user says so."""
    folder = next((Path(each) for each in sources if Path(each).is_dir()), Path())
    return folder / REPORT_FILE
