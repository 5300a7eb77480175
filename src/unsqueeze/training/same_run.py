"""Check that a stopped run may go on with the recipe and the data given now: what differs, and what may differ."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.generate import generation_steps

_MACHINE = ("device", "processes", "threads", "platform", "versions", "git")
"""Facts of run.json that may differ when a run goes on, and are then said: they decide how sums are rounded."""

MAY_CHANGE = (
    "checkpoint",
    "parallel",
    "rl.tokens_per_microbatch",
    "rollout.max_rows",
    "rollout.server.urls",
    "rollout.server.weights_folder",
    "rollout.server.timeout_s",
    "rollout.vllm.gpu_memory_utilization",
    "rollout.vllm.kv_cache_gib",
    "rollout.vllm.sleep",
    "verify.timeout_s",
    "verify.workers",
    "trackers",
    "tracking",
)
"""Settings, and sections of them, that say how the work is done and not what is learned: what helps after a fault.

``rl.steps`` may grow beside them.
"""

_STEPS = "rl.steps"


def check_same_run(
    directory: RunDirectory,
    recipe: Recipe,
    data: Mapping[str, Any],
    own: Mapping[str, str | None] = MappingProxyType({}),
) -> None:
    """Check that a run goes on as what it was started as, to its end or beyond.

    UserError naming the first setting that may not change, fact about the data, or code of the user's ``own``, in which
    it is another run.
    """
    for name, (before, now) in differences(_recipe_of(directory), recipe.model_dump(mode="json")):
        if not _may_change(name):
            raise UserError(
                f"{directory.path} was started with {name} {_short(before)}, and {_short(now)} is given now; only "
                f"{', '.join(MAY_CHANGE)} may change when a run goes on, and {_STEPS} may grow. Resume it with what "
                f"its run.json holds, or name another run directory (--run)."
            )
    for name, (before, now) in differences(_section(directory, "data"), data):
        raise UserError(
            f"{directory.path} was started with other data: {name} was {_short(before)} and is {_short(now)} now. Put "
            f"the data back, or name another run directory (--run)."
        )
    for name, (before, now) in differences(_section(directory, "own"), own):
        raise UserError(
            f"{directory.path} was started with {name} {before or 'of its recipe'}, and {now or 'that of the recipe'} "
            f"is given now; resume it from Python with the same {name}, or name another run directory (--run)."
        )
    _check_steps(directory, recipe, data)


def _check_steps(directory: RunDirectory, recipe: Recipe, data: Mapping[str, Any]) -> None:
    """UserError where the run was to have more steps already, or where with more of them what it has generated would
    have been generated otherwise.
    """
    before, now = planned_steps(directory), recipe.rl.steps
    if now < before:
        raise UserError(
            f"{directory.path} goes to {_STEPS} {before} already, and {now} is given now; when a run goes on, {_STEPS} "
            f"may only grow. Resume it with {_STEPS}={before} or more (--set), or name another run directory (--run)."
        )
    if now == before:
        return
    longer = _generations(recipe, data["num_train"])
    stored = set(directory.rollouts.steps())
    for steps in _generations(with_steps(recipe, before), data["num_train"]):
        if steps[0] in stored and steps not in longer:
            whole = next(other for other in longer if other[0] == steps[0])
            raise UserError(
                f"{directory.path} cannot go on from {_STEPS} {before} to {now}: one generation serves "
                f"{recipe.rl.steps_per_generation} steps (rl.steps_per_generation), and the last one was made for "
                f"{_named(steps)} alone, where the run ended, but in a run of {now} steps serves {_named(whole)}. "
                f"Start a run of {now} steps in another run directory (--run)."
            )


def planned_steps(directory: RunDirectory) -> int:
    """Return the RL steps a run was to have when it was last worked on: what it was started with, or more since."""
    grown = (event.get("changed", {}).get(_STEPS) for event in directory.journal.read() if event["event"] == "resumed")
    started = _recipe_of(directory)["rl"]["steps"]
    return max(started, directory.checkpoints.latest() or 0, *(steps for steps in grown if steps))


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with another number of RL steps."""
    return recipe.model_copy(update={"rl": recipe.rl.model_copy(update={"steps": steps})})


def _generations(recipe: Recipe, num_problems: int) -> list[range]:
    """The steps of every generation of a run."""
    return [
        steps
        for phase in recipe.phases(num_problems)
        if phase.kind == "rl"
        for steps in generation_steps(phase.first_step, phase.last_step, 0, recipe.rl.steps_per_generation)
    ]


def _named(steps: range) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def changed_settings(directory: RunDirectory, recipe: Recipe) -> dict[str, Any]:
    """Return what is set otherwise than when the run was started: its value now, by dotted name."""
    found = differences(_recipe_of(directory), recipe.model_dump(mode="json"))
    return {name: now for name, (_, now) in found}


def changed_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return in what the machine, the packages or this package's source differ: the value then and now, by name."""
    sides = [{name: side[name] for name in _MACHINE if name in side} for side in (before, now)]
    return {name: [then, new] for name, (then, new) in differences(*sides)}


def other_machine(changed: Mapping[str, Sequence[Any]]) -> str:
    """Say in what a run goes on otherwise than it was started."""
    listed = "; ".join(f"{name} {_short(then)}, now {_short(now)}" for name, (then, now) in changed.items())
    return f"this run was started with {listed}: it goes on, and may not come to the same bits."


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The dotted names under which two nested mappings differ, with both values; None where there is none."""
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from ((f"{key}.{name}", values) for name, values in differences(old, new))
        elif old != new:
            yield key, (old, new)


def _section(directory: RunDirectory, name: str) -> Mapping[str, Any]:
    """Return a part of run.json; an empty one where there is none."""
    section = directory.info.get(name)
    return section if isinstance(section, Mapping) else {}


def _recipe_of(directory: RunDirectory) -> dict[str, Any]:
    """The recipe a run was started with; settings that did not exist then have their defaults."""
    return check_recipe(directory.info.get("recipe", {}), f"in {directory.path / 'run.json'}").model_dump(mode="json")


def _may_change(name: str) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in (*MAY_CHANGE, _STEPS))


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
