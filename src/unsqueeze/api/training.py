"""Training in Python, with problems, verifiers, advantages and callbacks of one's own."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsqueeze.algos.groups import Estimator
from unsqueeze.api.runs import RunView, open_run
from unsqueeze.config.load import apply_overrides, arms_of, check_recipe, load_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.distributed.stop import SharedStop
from unsqueeze.errors import Interrupted, RunError, UserError
from unsqueeze.extensions import ADVANTAGES
from unsqueeze.metrics.summary import Summary
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Progress, Silent, StopRequest
from unsqueeze.tasks.problem import Problem, content_sha256
from unsqueeze.tasks.task import Data
from unsqueeze.training.arms import ArmResult, CheckedArm, check_arms, check_directories, train_arm
from unsqueeze.training.callbacks import Callback
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.setup import Own
from unsqueeze.verify.verifiers import as_verifier

__all__ = ["Callback", "Trained", "TrainedArm", "check", "train"]

Given = Problem | tuple[str, str]
"""A problem, or a question and its gold answer."""


@dataclass(frozen=True, slots=True)
class TrainedArm:
    """One arm of a recipe, trained: the evaluations before and after, the reports of its phases, and its run on disk."""

    result: ArmResult

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def path(self) -> Path:
        return self.result.path

    @property
    def run(self) -> RunView:
        """The run on disk: metrics, rollouts, evaluations as tables."""
        return open_run(self.result.path)

    @property
    def temperature(self) -> float:
        """The temperature of the evaluations."""
        return self.run.recipe.evaluation.temperature

    @property
    def reports(self) -> list[PhaseReport]:
        return self.result.reports

    @property
    def evaluations(self) -> dict[int, Summary]:
        """The summary of every evaluation by the RL step it followed."""
        return self.run.evaluations


@dataclass(frozen=True, slots=True)
class Trained:
    """What ``train`` gives: its arms by name. Of a recipe with one arm, the arm's own values are at hand here."""

    arms: Mapping[str, TrainedArm]

    def __getitem__(self, name: str) -> TrainedArm:
        return self.arms[name]

    @property
    def only(self) -> TrainedArm:
        """The one arm. UserError where there are several."""
        if len(self.arms) > 1:
            raise UserError(f"the recipe has arms: name one of {', '.join(self.arms)}, as in trained['NAME'].")
        return next(iter(self.arms.values()))

    @property
    def run(self) -> RunView:
        return self.only.run

    @property
    def reports(self) -> list[PhaseReport]:
        return self.only.reports

    @property
    def evaluations(self) -> dict[int, Summary]:
        return self.only.evaluations


def train(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    run: str | Path | None = None,
    resume: bool = False,
    overrides: Sequence[str] = (),
    problems: Sequence[Given] | Data | None = None,
    test_problems: Sequence[Given] | None = None,
    verifier: Any = None,
    advantages: str | Estimator | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    processes: Processes = ONE,
    on_checked: Callable[[Mapping[str, CheckedArm]], None] | None = None,
) -> Trained:
    """Train every arm of a recipe, or go on with it (``resume``); what a run does is on disk in every respect.

    ``recipe`` is the name of a shipped one, a file, a ``Recipe``, or plain settings; ``overrides`` are ``a.b=v``.
    ``run`` is the run directory, by default ``runs/NAME``.

    ``problems`` to train on, with ``test_problems``, take the place of the recipe's data. ``verifier`` is an object
    with
    ``verify(problems, responses)`` and ``close()``, or a function of a problem and a response that says true, false, 1,
    0, a ``Verdict``, or None where it cannot tell. ``advantages`` is the name of an estimator, or a function
    (``algos.groups.Estimator``). ``callbacks`` are told of steps, phases and evaluations.

    Everything is tried once before the first step; ``on_checked`` is told what that gave. In the main thread Ctrl-C
    asks to stop at the next safe point: Interrupted is raised, and ``resume`` goes on.
    """
    loaded = as_recipe(recipe, overrides)
    arms = arms_of(loaded, str(recipe) if isinstance(recipe, str | Path) else loaded.name)
    own = Own(
        data=own_data(problems, test_problems),
        verifier=None if verifier is None else as_verifier(verifier),
        estimator=ADVANTAGES.resolve(advantages) if isinstance(advantages, str) else advantages,
        callbacks=tuple(callbacks),
    )
    directory, paths = directories(loaded, arms, run)
    processes.on_main(lambda: check_directories(directory, paths, resume=resume))
    without_progress_bars()
    checked = check_arms(arms, paths, processes, own)
    if on_checked is not None:
        on_checked(checked)
    stop = SharedStop(processes) if processes.size > 1 else StopRequest()
    shown = progress or Silent()
    in_main = threading.current_thread() is threading.main_thread()
    results: dict[str, TrainedArm] = {}
    begun_here: dict[Path, Recipe] = {}
    with stop.listening() if in_main else nullcontext():
        for name, arm in arms.items():
            is_new = not (paths[name] / "run.json").exists()
            parts = checked.pop(name).parts
            try:
                result = train_arm(name, arm, paths[name], shown, stop, processes, begun_here, parts, own)
            except (Interrupted, KeyboardInterrupt) as error:
                shown.warn(f"stopped as asked; what was done is in {paths[name]}. Resume the run to go on.")
                raise Interrupted from error
            except RunError:
                shown.warn(f"it failed; what was done is in {paths[name]}. Once the cause is gone, resume the run.")
                raise
            del parts  # one model at a time
            results[name] = TrainedArm(result)
            if is_new and processes.size == 1:  # other processes may not see this one's disk
                begun_here[paths[name]] = arm
    return Trained(results)


def check(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    run: str | Path | None = None,
    overrides: Sequence[str] = (),
    processes: Processes = ONE,
) -> dict[str, CheckedArm]:
    """Try everything that training will do once, in seconds: data, prompts, model, verifier, a generation, a loss."""
    loaded = as_recipe(recipe, overrides)
    arms = arms_of(loaded, str(recipe) if isinstance(recipe, str | Path) else loaded.name)
    without_progress_bars()
    return check_arms(arms, directories(loaded, arms, run)[1], processes)


def as_recipe(recipe: str | Path | Recipe | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a name, a file, or plain settings, with overrides applied. UserError where it is wrong."""
    if isinstance(recipe, str | Path):
        return load_recipe(str(recipe), overrides)
    raw = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else dict(recipe)
    if not overrides:
        return recipe if isinstance(recipe, Recipe) else check_recipe(raw, "given")
    return check_recipe(apply_overrides(raw, overrides), "given")


def directories(recipe: Recipe, arms: Mapping[str, Recipe], run: str | Path | None) -> tuple[Path, dict[str, Path]]:
    """Return the run directory, and that of each arm in it."""
    directory = Path("runs") / recipe.name if run is None else Path(run)
    return directory, {name: directory / name if recipe.arms else directory for name in arms}


def own_data(problems: Sequence[Given] | Data | None, test_problems: Sequence[Given] | None) -> Data | None:
    """Return problems of the user's own as data; None where none are given. UserError where a side is missing."""
    if isinstance(problems, Data) or problems is None:
        if problems is None and test_problems is not None:
            raise UserError("test_problems are given without problems to train on; give both.")
        return problems
    if not problems or not test_problems:
        raise UserError("problems and test_problems must both hold at least one problem.")
    train_set, test_set = as_problems(problems, "train"), as_problems(test_problems, "test")
    shared = {problem.prompt for problem in train_set} & {problem.prompt for problem in test_set}
    if shared:
        raise UserError(
            f"{len(shared)} problem(s) stand in both problems and test_problems, the first being {min(shared)[:80]!r}; "
            f"remove them from one."
        )
    digests = {"problems": content_sha256(train_set), "test_problems": content_sha256(test_set)}
    return Data(train_set, test_set, sha256=digests)


def as_problems(given: Sequence[Given], split: str) -> list[Problem]:
    """Return problems as they are, and pairs of question and answer as problems of mathematics."""
    return [
        each
        if isinstance(each, Problem)
        else Problem(id=f"{split}:{place}", prompt=each[0], answer=str(each[1]), task="math")
        for place, each in enumerate(given)
    ]
