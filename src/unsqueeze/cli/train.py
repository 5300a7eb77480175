"""``unsqueeze train``: from a recipe to run directories and a table of what training did."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unsqueeze.cli.options import ListRecipesOption, LiveOption, OverridesOption, RecipeArgument, begin, print_next
from unsqueeze.cli.picture import followed, picture
from unsqueeze.cli.together import ProcessesOption, ending_together
from unsqueeze.distributed.join import joined, leave, place_in
from unsqueeze.distributed.launch import run_processes, was_launched
from unsqueeze.distributed.processes import Processes
from unsqueeze.errors import INTERRUPTED, Interrupted


def _print_settings(wanted: bool) -> None:
    """Print every setting, and end the command."""
    if not wanted:
        return
    from unsqueeze.config.describe import describe_settings

    for each in describe_settings():
        default = f"; default {each.default}" if each.default else ""
        typer.echo(f"{each.name}  ({each.values}{default})\n    {each.meaning}")
    raise typer.Exit


def train(
    recipe: RecipeArgument = "quickstart",
    run: Annotated[
        Path | None, typer.Option(help="The run directory. Default: runs/NAME, NAME from the recipe.")
    ] = None,
    overrides: OverridesOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a run that was stopped, or give it more steps (--set rl.steps=N)."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Try everything once, print plan and estimates, and stop.")
    ] = False,
    processes: ProcessesOption = 1,
    live: LiveOption = False,
    list_settings: Annotated[
        bool,
        typer.Option(
            "--list-settings", callback=_print_settings, is_eager=True, help="Show every setting of a recipe."
        ),
    ] = False,
    list_recipes: ListRecipesOption = False,
) -> None:
    """Train a model: RL phases on verifiable rewards, interleaved with IRL phases on its own unlikely rollouts (SPS).

    Without an argument this runs [bold]quickstart[/bold]: SPS and its control without IRL, from the same seed, on the
    embedded Countdown model, in minutes on two CPU cores. Everything a run does is in its directory: rollouts, metrics,
    checkpoints in Hugging Face format, evaluations, and at its end report.html to look at, which [bold]--live[/bold]
    writes while it trains, too.

    Before the first step everything is tried once, in seconds: data, prompts, model, the verifier on gold answers, a
    generation, a loss, room on the disk. [bold]--check[/bold] stops there.

    Examples:
      unsqueeze train
      unsqueeze train gsm8k-smollm2 --set model.path=./smollm2 --run runs/mine
      unsqueeze train my-recipe.yaml --dry-run
      unsqueeze train my-recipe.yaml --check
      unsqueeze train my-recipe.yaml --processes 8
      unsqueeze train --list-settings
      unsqueeze train --list-recipes
    """
    from unsqueeze.config.left_out import left_out
    from unsqueeze.config.load import arms_of, load_recipe

    loaded = load_recipe(recipe, overrides or [])
    arms = arms_of(loaded, recipe)
    if dry_run:
        import yaml

        for name, arm in arms.items():
            typer.echo("\n".join(f"# {line}" for line in (name, *left_out(arm))))
            typer.echo(yaml.safe_dump(arm.model_dump(mode="json", exclude={"arms"}), sort_keys=False))
        return

    directory = run or Path("runs") / loaded.name
    place = place_in(os.environ)
    if (place is None or place.rank == 0) and not was_launched():
        begin(f"{recipe}: {', '.join(arms)} in {directory}; loading PyTorch, then everything is tried once", Console())
    if processes > 1:
        command = [sys.executable, "-m", "unsqueeze", "train", recipe, "--run", str(directory)]
        command += [f"--set={override}" for override in overrides or []]
        command += ["--resume"] * resume + ["--check"] * check
        with followed(directory, wanted=live):
            status = run_processes(command, processes)
        raise typer.Exit(status)

    following = followed(directory, wanted=live and (place is None or place.rank == 0))
    with ending_together(), following, joined() as together:
        if not train_together(recipe, overrides or [], directory, together, resume=resume, check=check):
            leave(together, INTERRUPTED)


def train_together(
    recipe: str, overrides: list[str], directory: Path, processes: Processes, *, resume: bool, check: bool
) -> bool:
    """Train every arm and print the table, or only try everything once. False if the user stopped it."""
    from unsqueeze.api import training
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.cli.train_tables import next_after, print_plans, print_results

    console = Console(quiet=not processes.is_main)
    if check:
        with TerminalProgress(console) as progress:
            checked = training.check(recipe, run=directory, overrides=overrides, processes=processes, progress=progress)
            print_plans(console, checked)
            training.warn_of_unreadable(checked, progress)
        return True
    with TerminalProgress(console) as progress:
        try:
            trained = training.train(
                recipe,
                run=directory,
                resume=resume,
                overrides=overrides,
                progress=progress,
                processes=processes,
                on_checked=partial(print_plans, console),
            )
        except Interrupted:
            return False
    if processes.is_main:  # the others may not see its disk
        print_results(console, progress, trained)
        picture(directory, progress.say, progress.warn)
        print_next(console, next_after(recipe, overrides, directory, trained))
    return True
