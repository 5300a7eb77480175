"""Trackers of a run: started, gone on with, and told what they lack."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from unsqueeze.config.recipe import Recipe
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.track.past import tell_past
from unsqueeze.track.tracker import TrackedRun
from unsqueeze.track.tracking import ID_FILE, Tracking, run_id, whole_in
from unsqueeze.training.state import Cursor


def begin_tracking(tracking: Tracking, recipe: Recipe, path: Path, cursor: Cursor) -> None:
    """Start the trackers of the recipe, or go on with them behind the lines of metrics that a checkpoint kept.

    The main process alone has any. One that lacks what the run did before, being added or having failed, is told.
    """
    if not recipe.trackers:
        if (path / ID_FILE).is_file():
            tracking.leave(path)
        return
    tracked = TrackedRun(
        id=run_id(path),
        project=recipe.tracking.project,
        name=recipe.tracking.name or f"{recipe.name}/{path.name}",
        path=path,
        recipe=recipe.model_dump(mode="json"),
        first_step=cursor.metrics_lines + 1 if cursor.step else 0,
    )
    past = partial(tell_past, path=path, step=cursor.step, phase=cursor.phase, metrics_lines=cursor.metrics_lines)
    tracking.open(tracked, past)


def tell_finished(recipe: Recipe, path: Path, num_phases: int, warn: Callable[[str], None]) -> None:
    """Tell trackers that were added to a run which is finished all that it did."""
    if set(recipe.trackers) <= whole_in(path):
        return
    tracking = Tracking(recipe.trackers, warn=warn)
    num_lines = RunDirectory.open(path).metrics.num_lines()
    begin_tracking(tracking, recipe, path, Cursor(step=recipe.rl.steps, phase=num_phases, metrics_lines=num_lines))
    tracking.close()
