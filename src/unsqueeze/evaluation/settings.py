"""Settings of an evaluation: as given, else those of the run that the model comes from, else the defaults.

There is one set of defaults, that of recipes (``config.recipe``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsqueeze.config.load import check_recipe, checked
from unsqueeze.config.recipe import Recipe
from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.config.run_settings import EvaluationSettings
from unsqueeze.errors import UserError
from unsqueeze.rollout.types import Sampling
from unsqueeze.store.arms import refuse_arms
from unsqueeze.store.best import best_checkpoint
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.styles import AUTO, Wording, wording_of_settings
from unsqueeze.verify.extract import Credit, check_credit


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Settings as a caller gives them; None is not given."""

    style: str | None = None
    template: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] | None = None
    end_tokens: Sequence[str] | None = None
    credit: str | None = None
    workers: int | None = None
    timeout_s: float | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """Settings of an evaluation, all of them known but for what depends on the task.

    ``wording`` is that of the run the model comes from; without one, problems are put as ``style`` says. ``max_tokens``
    None leaves it to the task and the model's context. ``from_run`` names the settings that a run gave.
    """

    style: str
    template: str | None
    system: str | None
    wording: Wording | None
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    stop: tuple[str, ...]
    end_tokens: tuple[str, ...]
    verify: VerifySettings
    run: Path | None = None
    from_run: tuple[str, ...] = ()

    @property
    def drawn(self) -> dict[str, Any]:
        """Return what samples depend on, beside the prompts and their longest length."""
        return {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}

    @property
    def credit(self) -> Credit:
        return self.verify.credit

    def sampling(self, max_tokens: int, end_ids: tuple[int, ...] = ()) -> Sampling:
        """Return the settings of sampling; ``end_ids`` are the end tokens as the model knows them."""
        return Sampling(max_tokens=max_tokens, stop=self.stop, end_ids=end_ids, **self.drawn)

    def describe_run(self) -> str | None:
        """Say which settings came from a run; None where none did."""
        if self.run is None or not self.from_run:
            return None
        values = {
            "prompt": "as it is" if self.wording == Wording() else str(self.wording and self.wording.mode),
            "credit": self.credit,
            "timeout_s": f"{self.verify.timeout_s:g} s",
            "max_tokens": str(self.max_tokens),
            "temperature": f"{self.temperature:g}",
            "top_p": f"{self.top_p:g}",
            "top_k": str(self.top_k),
            "stop": repr(list(self.stop)),
            "end_tokens": repr(list(self.end_tokens)),
        }
        told = ", ".join(f"{name} {values[name]}" for name in self.from_run)
        return f"settings of the run {self.run / 'run.json'}: {told}"


def settle(given: Given, run: RunDirectory | None) -> EvalSettings:
    """Return the settings: as given, else of the run, else the defaults. UserError for what cannot be."""
    recipe = None if run is None else recipe_of(run)
    drawn = EvaluationSettings() if recipe is None else recipe.evaluation
    judged = VerifySettings() if recipe is None else recipe.verify
    own_prompt = given.style is None and given.template is None and given.system is None
    taken = {
        "prompt": own_prompt,
        "credit": given.credit is None,
        "timeout_s": given.timeout_s is None,
        "max_tokens": given.max_tokens is None,
        "temperature": given.temperature is None,
        # What cuts nothing is not worth a word.
        "top_p": given.top_p is None and drawn.top_p != 1,
        "top_k": given.top_k is None and drawn.top_k != 0,
        "stop": given.stop is None and recipe is not None and bool(recipe.rollout.stop),
        "end_tokens": given.end_tokens is None and recipe is not None and bool(recipe.rollout.end_tokens),
    }

    def value(name: str, default: Any) -> Any:
        found = getattr(given, name)
        return default if found is None else found

    return EvalSettings(
        style=given.style or AUTO,
        template=given.template,
        system=given.system,
        wording=wording_of_settings(recipe.prompt.model_dump(mode="json")) if recipe and own_prompt else None,
        max_tokens=value("max_tokens", None if recipe is None else recipe.rollout.max_tokens),
        temperature=value("temperature", drawn.temperature),
        top_p=value("top_p", drawn.top_p),
        top_k=value("top_k", drawn.top_k),
        stop=tuple(value("stop", () if recipe is None else recipe.rollout.stop)),
        end_tokens=tuple(value("end_tokens", () if recipe is None else recipe.rollout.end_tokens)),
        verify=verify_settings(
            judged,
            credit=check_credit(given.credit) if given.credit is not None else None,
            workers=given.workers,
            timeout_s=given.timeout_s,
            memory_mb=given.memory_mb,
        ),
        run=None if run is None else run.path,
        from_run=() if recipe is None else tuple(name for name, was in taken.items() if was),
    )


def verify_settings(base: VerifySettings | None = None, **given: Any) -> VerifySettings:
    """Return settings of verification with those that are given (not None) in place. UserError naming a wrong one."""
    changes = {name: value for name, value in given.items() if value is not None}
    return checked(VerifySettings, (base or VerifySettings()).model_dump() | changes, "verify")


def recipe_of(run: RunDirectory) -> Recipe | None:
    """Return the recipe of a run; None where its ``run.json`` names none."""
    raw = run.info.get("recipe")
    return check_recipe(raw, f"in {run.path / 'run.json'}") if isinstance(raw, dict) else None


def run_of(model: str) -> RunDirectory | None:
    """Return the run that a path is, or that a checkpoint lies in; None for any other model."""
    path = Path(model)
    for folder in (path, *path.parents[:3]):
        if (folder / "run.json").is_file() and (folder == path or folder / "checkpoints" in (path, *path.parents)):
            return RunDirectory.open(folder)
    return None


def last_policies(run: str, number: int) -> list[str]:
    """Return the policies of the last ``number`` checkpoints of a run, oldest first; of any model, where that is 1.

    UserError where there are not as many.
    """
    if number < 1:
        raise UserError(f"last is {number}; it must be the number of checkpoints, at least 1.")
    if number == 1:
        return [checkpoint_of(run)]
    path = Path(run)
    refuse_arms(path)
    if not (path / "run.json").is_file():
        raise UserError(f"last is {number}, and {run} is no run; the checkpoints of a run are averaged, so name one.")
    checkpoints = RunDirectory.open(path).checkpoints
    steps = checkpoints.steps()
    if len(steps) < number:
        raise UserError(
            f"last is {number}, and {run} has {len(steps)} checkpoint{'s' * (len(steps) != 1)}; ask for fewer, "
            f"or train with a smaller checkpoint.every_steps, and checkpoint.keep_last null or larger."
        )
    return [checkpoint_of(str(checkpoints.path(step))) for step in steps[-number:]]


def checkpoint_of(model: str) -> str:
    """Return the policy of a checkpoint, of the last one where the path is a run, of the best for RUN/checkpoints/best;
    otherwise the path as it is."""
    path = Path(model)
    refuse_arms(path)
    if (path / "run.json").is_file():
        checkpoints = RunDirectory.open(path).checkpoints
        step = checkpoints.latest()
        if step is None:
            raise UserError(f"{model} is a run without a checkpoint yet; give a model, or train further.")
        path = checkpoints.path(step)
    elif path.name == "best" and (path.parent.parent / "run.json").is_file():
        run = RunDirectory.open(path.parent.parent)
        best = best_checkpoint(run)
        if best is None:
            raise UserError(
                f"{model}: no checkpoint of this run was validated, and test problems must not choose the best one; "
                f"name a checkpoint, or train with data.num_validation."
            )
        path = run.checkpoints.path(best.step)
    return str(path / "policy") if (path / "policy" / "config.json").is_file() else model
