"""Commands whose work several processes of this machine share."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from unsqueeze.cli.options import begin, notes
from unsqueeze.distributed.join import AlreadyTold, joined, place_in
from unsqueeze.distributed.launch import run_processes, was_launched
from unsqueeze.distributed.processes import Processes
from unsqueeze.errors import UserError

ProcessesOption = Annotated[
    int,
    typer.Option(
        min=1, help="Processes of this machine that share the work, one a GPU. torchrun and srun work as well."
    ),
]


@contextmanager
def together(count: int, text: str) -> Iterator[tuple[Processes, Console]]:
    """The processes of a command, and the console that the main one speaks on. ``text`` says what is begun.

    They are those that a launcher has started; else this one, or ``count`` that are started here with the same command
    line, whose exit code becomes this command's.
    """
    place = place_in(os.environ)
    console = notes() if place is None or place.rank == 0 else Console(quiet=True)
    if not was_launched():  # who launched this one has said it
        begin(text, console)
    if place is None and count > 1:
        raise typer.Exit(run_processes([sys.executable, "-m", "unsqueeze", *sys.argv[1:]], count))
    with ending_together(), joined() as processes:
        yield processes, console


@contextmanager
def ending_together() -> Iterator[None]:
    """End a process without a word whose error another one tells, with the exit code that the error has."""
    try:
        yield
    except AlreadyTold as told:
        raise typer.Exit(2 if isinstance(told.__cause__, UserError) else 1) from None
