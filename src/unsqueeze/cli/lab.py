"""``unsqueeze lab``: a suite of arms, seeds and learning rates, run side by side."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live as Drawn
from rich.table import Table as Rows

from unsqueeze.cli.options import LiveOption, OverridesOption, begin, notes
from unsqueeze.cli.picture import followed, picture
from unsqueeze.errors import INTERRUPTED, Interrupted, UserError
from unsqueeze.wording import counted

if TYPE_CHECKING:
    from unsqueeze.labs.lab import LabPlan
    from unsqueeze.labs.runner import Live
    from unsqueeze.labs.suite import Suite

PLAIN_EVERY_S = 30.0
"""Seconds between lines where nothing can be drawn over."""


def lab(
    suite: Annotated[
        str | None, typer.Argument(help="A suite file, or the name of a shipped one. Without it they are listed.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of results (OUT/NAME) and runs (OUT/runs, shared by suites).")
    ] = Path("labs"),
    overrides: OverridesOption = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="S,S,…", help="Seeds that are reported, instead of the suite's.")
    ] = None,
    arms: Annotated[
        str | None, typer.Option(metavar="ARM,ARM,…", help="The arms that are wanted. Default: all of the suite.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. Default: one a GPU; without any, one a core.")
    ] = None,
    live: LiveOption = False,
    form: Annotated[str, typer.Option("--format", help="Of the tables: markdown, csv or latex.")] = "markdown",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs and how long they will take, and stop.")
    ] = False,
) -> None:
    """Run a suite: arms × seeds × learning rates, side by side, into one table and one data file.

    A suite is a YAML file: a recipe, seeds, and a name for each arm with the settings in which it differs. Where it
    asks for a search, each arm's learning rate is chosen on validation problems and seeds of their own first. Before
    it starts it says how long it will take. A run that fails is named, and the others are done.

    Stopped by Ctrl-C, or killed, the same command goes on where it was; runs that suites have in common are made once.

    Examples:
      unsqueeze lab
      unsqueeze lab table1 --dry-run
      unsqueeze lab table1
      unsqueeze lab mine.yaml --seeds 11,12,13 --jobs 4 --format latex
      unsqueeze report labs/table1
    """
    from unsqueeze.api import lab as labs
    from unsqueeze.tables import WRITERS

    if suite is None:
        _print_suites(labs.suites())
        return
    if form not in WRITERS:
        raise UserError(f"--format is {form!r}; give one of {', '.join(WRITERS)}.")
    console = begin(f"{suite}: the suite and its recipes are checked", notes())

    def planned(plan: "LabPlan") -> bool:
        _print_plan(console, plan, every=dry_run)
        if not dry_run:
            stack.enter_context(followed(out / plan.grid.suite.name, wanted=live))
        return not dry_run

    with ExitStack() as stack, TableOfRuns(console) as watcher:
        try:
            result = labs.lab(
                suite,
                out=out,
                overrides=overrides or [],
                seeds=_parse_seeds(seeds),
                arms=None if arms is None else arms.split(","),
                jobs=jobs,
                watcher=watcher,
                on_planned=planned,
            )
        except Interrupted:
            console.print("stopped as asked; the same command goes on where it was.", markup=False, highlight=False)
            raise typer.Exit(INTERRUPTED) from None
    if result is None:
        return
    for table in result.tables.values():
        typer.echo(WRITERS[form](table))
    if result.num_runs:
        picture(result.path, watcher.say, watcher.warn)
    if result.failed:
        for name, reason in result.failed.items():
            console.print(f"failed: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def _print_suites(suites: "Mapping[str, Suite]") -> None:
    width = max(map(len, suites), default=0)
    for name, suite in suites.items():
        typer.echo(f"{name:{width}}  {suite.title}")


def _parse_seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: give whole numbers separated by commas, such as 11,12,13.") from None


def _print_plan(console: Console, plan: "LabPlan", *, every: bool) -> None:
    """Say what will be done, and how long it will take."""
    if every:
        suite = plan.grid.suite
        for text in (
            suite.title,
            suite.twin_of and f"twin of: {suite.twin_of}",
            suite.finding and suite.finding.strip(),
        ):
            if text:
                console.print(text, markup=False, highlight=False)
        for run in plan.runs:
            console.print(f"  {run.role:8} {run.label}", markup=False, highlight=False)
    done = f", {plan.num_done} of them done already" if plan.num_done else ""
    if plan.seconds is None:
        takes = f"{plan.num_left} are left to run" if plan.num_left else "nothing is left to run"
    else:
        at = time.strftime("%H:%M", time.localtime(time.time() + plan.seconds))
        takes = f"about {duration(plan.seconds)} for the {plan.num_left} that are left (until {at})"
    wider = f"; the search may grow by {counted(plan.num_wider, 'run')}" if plan.num_wider else ""
    console.print(
        f"{plan.grid.suite.name}: {len(plan.runs)} runs{done}, {plan.jobs} at a time; {takes}{wider}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def duration(seconds: float) -> str:
    """Write a time: ``40 s``, ``12 min``, ``1 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class TableOfRuns:
    """One live table of all runs; where nothing can be drawn over, a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn = Drawn(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._last = time.monotonic()

    def __enter__(self) -> "TableOfRuns":
        if self._drawn:
            self._drawn.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._drawn.stop()

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self._console.print(f"WARNING: {text}", style="bold yellow", markup=False, highlight=False, soft_wrap=True)

    def show(self, lives: "Sequence[Live]", left_s: float | None) -> None:
        now = time.monotonic()
        if now - self._last < (0.5 if self._drawn else PLAIN_EVERY_S):
            return
        self._last = now
        head = summary_line(lives, left_s)
        if self._drawn:
            self._drawn.update(rows_of(lives, head, self._console.height), refresh=True)
        else:
            running = "; ".join(f"{live.run.label}: {doing(live)}" for live in lives if live.state == "running")
            self.say(f"  {head}; {running}")


def summary_line(lives: "Sequence[Live]", left_s: float | None) -> str:
    """Write how many runs are in which state, and the time that is left."""
    states = [live.state for live in lives]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    left = "" if left_s is None else f", about {duration(left_s)} left"
    return ", ".join(parts) + left


def doing(live: "Live") -> str:
    """Write what a running run is at."""
    told = live.told
    if "work" not in told:
        return "starting"
    parts = [f"{told['work']} {told['done']}/{told['total']}"]
    if told.get("reward") is not None:
        parts.append(f"reward {told['reward']:.2f}")
    if told.get("entropy") is not None:
        parts.append(f"entropy {told['entropy']:.3f}")
    if told.get("greedy_logp") is not None:
        parts.append(f"greedy log-prob {told['greedy_logp']:.3f}")
    return ", ".join(parts)


def rows_of(lives: "Sequence[Live]", head: str, height: int) -> Rows:
    """Return the live table: every run that is at work or failed, and as many of the others as there is room for."""
    order = {"running": 0, "failed": 1, "stopped": 2, "waiting": 3, "finished": 4}
    room = max(height - 5, 4)
    table = Rows(title=head, title_justify="left", expand=False)
    for heading in ("run", "state", "time", "doing"):
        table.add_column(heading)
    shown = sorted(lives, key=lambda live: order[live.state])
    for live in shown[:room]:
        seconds = duration(live.seconds) if live.seconds else ""
        text = doing(live) if live.state == "running" else live.error or ""
        table.add_row(live.run.label, live.state, seconds, text)
    if len(shown) > room:
        table.add_row(f"… and {len(shown) - room} more", "", "", "")
    return table
