"""Recipes in every form in which a caller may give one."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from unsqueeze.config.load import apply_overrides, arms_of, check_recipe, load_recipe
from unsqueeze.config.recipe import Recipe

AnyRecipe = str | Path | Recipe | Mapping[str, Any]
"""The name of a shipped recipe, a file, a ``Recipe``, or settings as plain data."""


def as_recipe(recipe: AnyRecipe, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a name, a file, or plain settings, with overrides applied. UserError where it is wrong."""
    if isinstance(recipe, str | Path):
        return load_recipe(str(recipe), overrides)
    if isinstance(recipe, Recipe) and not overrides:
        return recipe
    raw = recipe.model_dump() if isinstance(recipe, Recipe) else deepcopy(dict(recipe))
    return check_recipe(apply_overrides(raw, overrides), "given")


def as_arms(recipe: Recipe, given: AnyRecipe) -> dict[str, Recipe]:
    """Return the runs that a recipe asks for, by name; ``given`` is what it was made of, for messages."""
    return arms_of(recipe, str(given) if isinstance(given, str | Path) else "given")
