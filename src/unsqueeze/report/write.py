"""Write a report where the user wants it."""

from collections.abc import Sequence
from pathlib import Path

from unsqueeze.report.gather import gather
from unsqueeze.report.page import render
from unsqueeze.report.rollouts import packed
from unsqueeze.store.outputs import output_file

REPORT_FILE = "report.html"


def write_report(sources: str | Path | Sequence[str | Path], *, out: str | Path | None = None) -> Path:
    """Write one self-contained HTML file about runs, folders of arms, laboratories, evaluations and files of samples.

    ``sources`` are what ``compare`` takes. ``out`` is by default ``report.html`` in the first of them that is a
    folder, else in the working directory. UserError where a source is none; a broken or unfinished run gives the report
    of what is there.
    """
    named = [str(sources)] if isinstance(sources, str | Path) else [str(each) for each in sources]
    target = default_place(named) if out is None else Path(out)
    report = gather(named)
    page = render(report, packed(report))
    with output_file(target) as path:
        path.write_bytes(page)
    return target


def default_place(sources: Sequence[str]) -> Path:
    """Return where the report of sources is written unless the user says so."""
    folder = next((Path(each) for each in sources if Path(each).is_dir()), Path())
    return folder / REPORT_FILE
