"""Recipes as the command lines of other trainers."""

from collections.abc import Callable, Mapping

from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.interop.trainer_commands import swift, trl, verl
from unsqueeze.interop.trainer_commands.command import Command, Layout

TRAINERS: Mapping[str, Callable[[Recipe, Layout], Command]] = {
    "swift": swift.command,
    "trl": trl.command,
    "verl": verl.command,
}


def export_recipe(recipe: Recipe, *, to: str, devices: int = 8, per_device: int = 8) -> Command:
    """Return the RL of a recipe as a command line of ``swift`` (ms-swift), ``trl`` or ``verl``.

    ``lines()`` of it is for a shell: after comments about what the trainer cannot say, and the commands of the SPS
    phases in between. ``devices`` are those of the run, ``per_device`` the rollouts that one takes at a time; together
    they must divide a step's. UserError for a setting that the trainer has nothing like and that changes the loss.
    """
    if to not in TRAINERS:
        raise UserError(f"to is {to!r}; it must be one of {', '.join(TRAINERS)}.")
    return TRAINERS[to](recipe, Layout(devices, per_device))
