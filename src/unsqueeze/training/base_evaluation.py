"""The evaluation before training, made once for the arms of a recipe that begin alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsqueeze.config.recipe import Recipe
from unsqueeze.store.run_directory import RunDirectory

_AFTER_THE_BEGINNING = {"name", "description", "rl", "irl", "checkpoint", "arms", "trackers", "tracking"}
"""Settings that an evaluation of the untrained model does not depend on."""


def begins_as(recipe: Recipe) -> dict[str, Any]:
    """Return what the evaluation before training depends on: model, data, prompts, sampling, judging, seed, threads."""
    return recipe.model_dump(exclude=_AFTER_THE_BEGINNING)


def take_base_evaluation(directory: RunDirectory, recipe: Recipe, others: Mapping[Path, Recipe]) -> None:
    """Copy the evaluation after step 0 from the first of the ``others`` that began alike; none, where none did.

    The ``others`` are runs that this process began, so that it was the same model, machine and code. Both the summary
    and the journal say where it was made.
    """
    if 0 in directory.evals.steps():
        return
    for path, other in others.items():
        made = RunDirectory.open(path).evals
        if begins_as(other) == begins_as(recipe) and 0 in made.steps():
            directory.evals.copy(0, made, made.record(0) | {"made_in": str(path)})
            summary = made.summary(0)
            directory.journal.append(
                "evaluated", step=0, avg=summary.avg.mean, greedy_logp=summary.greedy_logp, made_in=str(path)
            )
            return
