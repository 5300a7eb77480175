"""Suggest changes that are worth making whether or not a run fits: they cost the method nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.estimate import Estimate
from unsqueeze.cost.memory import Layout

LEAST_SHARE_OF_TIME = 0.1
LEAST_DISK = 10 * 10**9
"""Bytes. Below either a change is not worth a line."""
VALIDATION_PROBLEMS = 64
"""Problems that are enough to choose the best checkpoint by, where a recipe has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """Settings with their values before and after, and what they save: seconds, or bytes of disk, before and after."""

    changes: tuple[str, ...]
    of: Literal["seconds", "disk"]
    before: float
    after: float


def savings(recipe: Recipe, layout: Layout, estimate: Callable[[Recipe], Estimate]) -> list[Saving]:
    """Changes of a recipe that save a tenth of the time or 10 GB of disk and change no loss: bf16 passes on a GPU, and
    checkpoints of which the last and the best by validation problems stay.
    """
    return [*_half(recipe, layout, estimate), *_retention(recipe, estimate)]


def _half(recipe: Recipe, layout: Layout, estimate: Callable[[Recipe], Estimate]) -> Iterator[Saving]:
    if recipe.model.compute_dtype != "float32" or not layout.on_gpu:
        return
    changed = recipe.model_copy(update={"model": recipe.model.model_copy(update={"compute_dtype": "bfloat16"})})
    before, after = estimate(recipe).duration.total, estimate(changed).duration.total
    if after < (1 - LEAST_SHARE_OF_TIME) * before:
        yield Saving(changes=("model.compute_dtype float32 -> bfloat16",), of="seconds", before=before, after=after)


def _retention(recipe: Recipe, estimate: Callable[[Recipe], Estimate]) -> Iterator[Saving]:
    if recipe.checkpoint.keep_last is not None:
        return
    changes = ["checkpoint.keep_last null -> 1"]
    changed = recipe.model_copy(update={"checkpoint": recipe.checkpoint.model_copy(update={"keep_last": 1})})
    if recipe.data.validation_path is None and recipe.data.num_validation is None:
        changes.append(f"data.num_validation null -> {VALIDATION_PROBLEMS}")
        data = changed.data.model_copy(update={"num_validation": VALIDATION_PROBLEMS})
        changed = changed.model_copy(update={"data": data})
    before, after = estimate(recipe).disk.total, estimate(changed).disk.total
    if before - after >= LEAST_DISK:
        yield Saving(changes=tuple(changes), of="disk", before=before, after=after)
