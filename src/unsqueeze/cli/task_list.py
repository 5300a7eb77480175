"""``unsqueeze eval --list-tasks``: the benchmarks that are known by name."""

from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

MORE = (
    "Tasks without a number are made here. The others come from NAME.jsonl in --data-dir, else from the hub. "
    "Any other set: a file (JSON Lines, JSON, Parquet), or hub:OWNER/NAME[:CONFIG]:SPLIT."
)


def print_tasks(wanted: bool) -> None:
    """The table, and the end of the command."""
    if not wanted:
        return
    from unsqueeze.extensions import TASKS
    from unsqueeze.tasks.known import KNOWN
    from unsqueeze.tasks.task import task_named

    table = Table(box=box.SIMPLE, caption=MORE, caption_justify="left")
    for heading in ("task", "problems", "what, and where on the hub"):
        table.add_column(heading, no_wrap=heading == "task", overflow="fold")
    for name in TASKS:
        task = task_named(name)
        if task.title and name not in ("jsonl", "hub"):
            table.add_row(name, "", task.title)
    for known in KNOWN:
        names = "\n".join((known.name, *known.aliases))
        table.add_row(names, f"{known.size:,}", f"{known.title} ({known.licence})\n{known.hub}")
    Console(highlight=False).print(table)
    raise typer.Exit


ListTasksOption = Annotated[
    bool,
    typer.Option("--list-tasks", callback=print_tasks, is_eager=True, help="Show the benchmarks known by name."),
]
