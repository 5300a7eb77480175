"""``unsqueeze export-recipe``: a recipe as the command line of another trainer."""

from typing import Annotated

import typer

from unsqueeze.cli.options import OverridesOption, RecipeArgument


def export_recipe(
    recipe: RecipeArgument,
    to: Annotated[str, typer.Option("--to", help="For whom: swift, trl or verl.")],
    overrides: OverridesOption = None,
    devices: Annotated[int, typer.Option(help="GPUs of the run, of one machine.")] = 8,
    per_device: Annotated[int, typer.Option(help="Rollouts of one forward and backward pass of one GPU.")] = 8,
) -> None:
    """Print the RL of a recipe as a command line of ms-swift, TRL or verl, every constant from the recipe.

    Comments above it say what the trainer has nothing like, and how SPS phases go between the pieces of its run.

    Examples:
      unsqueeze export-recipe paper/7b-10k-sps-grpo --to swift
      unsqueeze export-recipe my-recipe.yaml --to trl --devices 4 --set rl.steps=200
    """
    import unsqueeze as uq

    loaded = uq.load_recipe(recipe, overrides or ())
    typer.echo(uq.export_recipe(loaded, to=to, devices=devices, per_device=per_device).lines())
