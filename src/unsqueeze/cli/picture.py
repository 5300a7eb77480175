"""The report of a training or a laboratory: while it goes on, and at its end."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unsqueeze.errors import one_line


def picture(folder: Path, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Write the report of a folder and say where it is; what goes wrong is a warning, since the work is done."""
    from unsqueeze.report.write import write_report

    try:
        say(f"report: {write_report(folder)}")
    except Exception as error:  # noqa: BLE001 - no fault of a picture may look like one of a run that is done
        warn(f"no report was written ({one_line(error)}); unsqueeze report {folder} tries again.")


@contextmanager
def followed(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Have a process of its own write the report of a folder again while the body runs, where that is ``wanted``.

    It has a lower priority than training, and whatever befalls it befalls no run.
    """
    if not wanted:
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-m", "unsqueeze", "report", str(folder), "--live"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the training alone
    ) as process:
        try:
            yield
        finally:
            process.kill()
