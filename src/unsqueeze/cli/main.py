"""The ``unsqueeze`` command: a thin shell around the library.

Each command lives in a module of its own, which imports the heavy packages inside its function, so that ``--help`` is
instant. Exit codes: 0 done, 1 it failed, 2 the user's input is wrong.
"""

import inspect
import sys
from collections.abc import Callable

import typer
from rich.console import Console

from unsqueeze import __version__
from unsqueeze.cli.average import average
from unsqueeze.cli.compare import compare
from unsqueeze.cli.convert import convert
from unsqueeze.cli.diagnose import diagnose
from unsqueeze.cli.doctor import doctor
from unsqueeze.cli.evaluate import evaluate
from unsqueeze.cli.export import export
from unsqueeze.cli.export_recipe import export_recipe
from unsqueeze.cli.irl import irl
from unsqueeze.cli.lab import lab
from unsqueeze.cli.plan import plan
from unsqueeze.cli.plot import plot
from unsqueeze.cli.plugin import plugin
from unsqueeze.cli.report import report
from unsqueeze.cli.score import score
from unsqueeze.cli.select import select
from unsqueeze.cli.train import train
from unsqueeze.cli.verify import verify
from unsqueeze.distributed.join import exit_after
from unsqueeze.errors import UnsqueezeError, UserError, one_line

app = typer.Typer(
    name="unsqueeze",
    help="RL on verifiable rewards that does not squeeze out exploration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"unsqueeze {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """RL on verifiable rewards that does not squeeze out exploration."""


def _help(command: Callable[..., None]) -> str:
    """The docstring for a terminal of any width: lines of prose are joined, indented examples stay as they are."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(each if "\n " in each else each.replace("\n", " ") for each in paragraphs)


COMMANDS: dict[str, Callable[..., None]] = {
    "train": train,
    "lab": lab,
    "plan": plan,
    "verify": verify,
    "score": score,
    "compare": compare,
    "report": report,
    "plot": plot,
    "select": select,
    "irl": irl,
    "eval": evaluate,
    "diagnose": diagnose,
    "export": export,
    "export-recipe": export_recipe,
    "plugin": plugin,
    "convert": convert,
    "average": average,
    "doctor": doctor,
}
for name, command in COMMANDS.items():
    app.command(name, help=_help(command))(command)


def main() -> None:
    """Entry point."""
    exit_after(run)


def run() -> None:
    """Run the command line: errors we raise on purpose become one message on stderr and an exit code, no traceback."""
    try:
        app()
    except UnsqueezeError as error:
        # A part of a name such as hub:x:train is no emoji.
        console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        console.print(f"error: {_printable(error)}")
        sys.exit(2 if isinstance(error, UserError) else 1)


def _printable(error: Exception) -> str:
    """The message on one line, without the control characters that a name or a line of a file may hold."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in one_line(error, 100_000))
