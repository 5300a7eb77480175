"""Training in Python, with problems, verifiers, advantages and callbacks of one's own."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unsqueeze.algos.groups import Estimator
from unsqueeze.api.judging import compare
from unsqueeze.api.recipes import AnyRecipe, as_arms, as_recipe
from unsqueeze.api.runs import RunView, open_run
from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.distributed.stop import SharedStop
from unsqueeze.errors import Interrupted, RunError, UserError
from unsqueeze.metrics.comparison import Comparison
from unsqueeze.metrics.summary import Summary
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Progress, Silent, StopRequest
from unsqueeze.store.best import Best
from unsqueeze.tasks.problem import Problem, content_sha256
from unsqueeze.tasks.task import Data, task_named
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
    """One arm of a recipe, trained: evaluations before and after, the reports of its phases, its run on disk."""

    result: ArmResult

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def path(self) -> Path:
        return self.result.path

    @property
    def before(self) -> Summary:
        """The evaluation of the model that training began with."""
        return self.result.before

    @property
    def after(self) -> Summary:
        """The evaluation of the model that training ended with."""
        return self.result.after

    @property
    def best(self) -> Best | None:
        """The best checkpoint by the validation problems; None without them."""
        return self.result.best

    @property
    def minutes(self) -> float:
        """Minutes that it took, in all the processes that worked on it one after the other."""
        return self.result.minutes

    @property
    def reports(self) -> Sequence[PhaseReport]:
        """The report of every phase, in order."""
        return self.result.reports

    @property
    def run(self) -> RunView:
        """The run on disk: metrics, rollouts, evaluations as tables."""
        return open_run(self.result.path)

    @property
    def temperature(self) -> float:
        """The temperature of the evaluations."""
        return self.run.recipe.evaluation.temperature

    @property
    def evaluations(self) -> dict[int, Summary]:
        """The summary of every evaluation by the RL step it followed."""
        return self.run.evaluations


@dataclass(frozen=True, slots=True)
class Trained(Mapping[str, TrainedArm]):
    """The arms of a recipe by name. Of a recipe with one arm, the arm's own values are at hand here."""

    arms: Mapping[str, TrainedArm]

    def __getitem__(self, name: str) -> TrainedArm:
        return self.arms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arms)

    def __len__(self) -> int:
        return len(self.arms)

    def comparisons(
        self, ks: Sequence[int] | None = None, *, progress: Progress | None = None
    ) -> dict[tuple[str, str], Comparison]:
        """Compare what training ended with: each arm with the first, then each with the model it began with (base).

        Paired differences on the held-out problems, by the names of both, (other, first). Arms that were not tested on
        the same problems are passed over, and ``progress`` is told.
        """
        samples = {name: arm.run.samples(max(arm.evaluations)) for name, arm in self.arms.items()}
        first, *others = samples
        made = {}
        for name in others:
            try:
                made[name, first] = compare(samples[first], samples[name], ks=ks)
            except UserError as error:
                (progress or Silent()).say(f"{name} is not compared with {first}: {error}")
        for name, arm in self.arms.items():
            made[name, "base"] = compare(arm.run.samples(0), samples[name], ks=ks)
        return made

    @property
    def only(self) -> TrainedArm:
        """The one arm. UserError where there are several."""
        if len(self.arms) > 1:
            raise UserError(f"the recipe has arms: name one of {', '.join(self.arms)}, as in trained['NAME'].")
        return next(iter(self.arms.values()))

    @property
    def path(self) -> Path:
        return self.only.path

    @property
    def before(self) -> Summary:
        return self.only.before

    @property
    def after(self) -> Summary:
        return self.only.after

    @property
    def best(self) -> Best | None:
        return self.only.best

    @property
    def reports(self) -> Sequence[PhaseReport]:
        return self.only.reports

    @property
    def run(self) -> RunView:
        return self.only.run

    @property
    def evaluations(self) -> dict[int, Summary]:
        return self.only.evaluations


def train(
    recipe: AnyRecipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    overrides: Sequence[str] = (),
    problems: Sequence[Given] | Data | None = None,
    test_problems: Sequence[Given] | None = None,
    validation_problems: Sequence[Given] = (),
    verifier: Any = None,
    advantages: str | Estimator | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    processes: Processes = ONE,
    on_checked: Callable[[Mapping[str, CheckedArm]], None] | None = None,
) -> Trained:
    """Train every arm of a recipe, or go on with it (``resume``); what a run does is on disk in every respect.

    ``recipe`` is the name of a shipped one, a file, a ``Recipe``, or plain settings; ``overrides`` are ``a.b=v``.
    ``run`` is the run directory, by default ``runs/NAME``.

    ``problems`` to train on, with ``test_problems``, take the place of the recipe's data. ``verifier`` is a function of
    a problem and a response that says true, false, 1, 0, a ``Verdict``, or None where it cannot tell; or an object with
    ``verify(problems, responses)`` and ``close()``, which is not closed; or the name that ``verify.verifier`` takes.
    ``advantages`` is an estimator (``algos.groups.Estimator``), or the name that ``rl.advantage`` takes. ``callbacks``
    are told of steps, phases and evaluations. Of what has no name in the recipe ``run.json`` says where its code is,
    and the run is resumed with the same.

    Everything is tried once before the first step; ``on_checked`` is told what that gave. Ctrl-C and SIGTERM ask to
    stop at the next safe point: Interrupted is raised, and ``resume`` goes on. A ``stop`` of the caller's own takes
    their place, and so does nothing in a thread other than the main one.
    """
    asked = _ask(recipe, run, overrides, problems, test_problems, validation_problems, verifier, advantages, callbacks)
    processes.on_main(lambda: check_directories(asked.directory, asked.paths, resume=resume))
    shown = progress or Silent()
    checked = check_arms(asked.arms, asked.paths, processes, asked.own, shown)
    if on_checked is not None:
        on_checked(checked)
    warn_of_unreadable(checked, shown)
    results: dict[str, TrainedArm] = {}
    begun_here: dict[Path, Recipe] = {}
    with _listening(stop, processes) as request:
        for name, arm in asked.arms.items():
            path, found = asked.paths[name], checked.pop(name)
            is_new = not (path / "run.json").exists()
            try:
                result = train_arm(
                    name,
                    arm,
                    path,
                    shown,
                    request,
                    processes,
                    begun_here,
                    own=asked.own,
                    data=found.data,
                    parts=found.parts,
                )
            except (Interrupted, KeyboardInterrupt) as error:
                shown.warn(f"stopped as asked; what was done is in {path}. Resume it (--resume) to go on.")
                raise Interrupted from error
            except RunError:
                shown.warn(f"it failed; what was done is in {path}. Once the cause is gone, resume it (--resume).")
                raise
            results[name] = TrainedArm(result)
            if is_new and processes.size == 1:  # other processes may not see this one's disk
                begun_here[path] = arm
    return Trained(results)


def warn_of_unreadable(checked: Mapping[str, CheckedArm], progress: Progress) -> None:
    """Warn of gold answers that cannot be read."""
    for name, arm in checked.items():
        if arm.unreadable.problems:
            progress.warn(f"{name}: {arm.unreadable.describe()}")


def check(
    recipe: AnyRecipe,
    *,
    run: str | Path | None = None,
    overrides: Sequence[str] = (),
    problems: Sequence[Given] | Data | None = None,
    test_problems: Sequence[Given] | None = None,
    validation_problems: Sequence[Given] = (),
    verifier: Any = None,
    advantages: str | Estimator | None = None,
    processes: Processes = ONE,
    progress: Progress | None = None,
) -> dict[str, CheckedArm]:
    """Try everything that ``train`` will do once: data, prompts, model, verifier, a generation, a loss, a checkpoint.

    Nothing is written. UserError or RunError saying what does not work.
    """
    asked = _ask(recipe, run, overrides, problems, test_problems, validation_problems, verifier, advantages, ())
    return check_arms(asked.arms, asked.paths, processes, asked.own, progress or Silent())


@dataclass(frozen=True, slots=True)
class _Asked:
    """Request for training: what, and where."""

    arms: Mapping[str, Recipe]
    directory: Path
    paths: Mapping[str, Path]
    own: Own


def _ask(
    recipe: AnyRecipe,
    run: str | Path | None,
    overrides: Sequence[str],
    problems: Sequence[Given] | Data | None,
    test_problems: Sequence[Given] | None,
    validation_problems: Sequence[Given],
    verifier: Any,
    advantages: str | Estimator | None,
    callbacks: Sequence[Callback],
) -> _Asked:
    """Check what a caller gives before anything is loaded; what has a name becomes a setting of the recipe."""
    named = {"verify.verifier": verifier, "rl.advantage": advantages}
    settings = [f"{setting}={value}" for setting, value in named.items() if isinstance(value, str)]
    loaded = as_recipe(recipe, [*overrides, *settings])
    arms = as_arms(loaded, recipe)
    directory = Path("runs") / loaded.name if run is None else Path(run)
    own = Own(
        data=own_data(problems, test_problems, validation_problems),
        verifier=None if verifier is None or isinstance(verifier, str) else as_verifier(verifier),
        estimator=None if isinstance(advantages, str) else advantages,
        callbacks=tuple(callbacks),
    )
    without_progress_bars()
    return _Asked(arms, directory, {name: directory / name if loaded.arms else directory for name in arms}, own)


def _listening(stop: StopRequest | None, processes: Processes) -> AbstractContextManager[StopRequest]:
    """Return the request to stop that a run asks: the caller's own, or one that hears Ctrl-C and SIGTERM."""
    if stop is not None:
        return nullcontext(stop)
    request = SharedStop(processes) if processes.size > 1 else StopRequest()
    # Python hands signals to the main thread alone.
    return request.listening() if threading.current_thread() is threading.main_thread() else nullcontext(request)


def own_data(
    problems: Sequence[Given] | Data | None,
    test_problems: Sequence[Given] | None,
    validation_problems: Sequence[Given] = (),
) -> Data | None:
    """Return problems of the user's own as data; None where none are given. UserError where they cannot be trained on.

    Their contents are hashed, so that a run goes on with the same ones only.
    """
    if problems is None:
        if test_problems is not None or validation_problems:
            raise UserError("test_problems or validation_problems are given without problems to train on; give both.")
        return None
    if isinstance(problems, Data):
        data = problems
    else:
        data = Data(
            as_problems(problems, "problems", "train"),
            as_problems(test_problems or (), "test_problems", "test"),
            as_problems(validation_problems, "validation_problems", "validation"),
        )
    sides = {"problems": data.train, "test_problems": data.test, "validation_problems": data.validation}
    for side in ("problems", "test_problems"):
        if not sides[side]:
            raise UserError(f"{side} must hold at least one problem.")
    _check_distinct(sides)
    _check_task([problem for problem_set in sides.values() for problem in problem_set])
    return replace(data, sha256={**data.sha256, **{side: content_sha256(found) for side, found in sides.items()}})


def as_problems(given: Sequence[Given], side: str, split: str) -> list[Problem]:
    """Return problems as they are, and pairs of question and answer as problems of mathematics."""
    return [_problem(each, f"{side}[{place}]", f"{split}:{place}") for place, each in enumerate(given)]


def _problem(given: Given, place: str, problem_id: str) -> Problem:
    if isinstance(given, Problem):
        return given
    if not (isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], str)):
        raise UserError(f"{place} is {str(given)[:80]!r}; give a Problem, or a question (a text) and its answer.")
    return Problem(id=problem_id, prompt=given[0], answer=str(given[1]), task="math")


def _check_distinct(sides: Mapping[str, Sequence[Problem]]) -> None:
    """Check that no id is there twice, and no question on two sides."""
    ids = Counter(problem.id for problems in sides.values() for problem in problems)
    twice = next((problem_id for problem_id, count in ids.items() if count > 1), None)
    if twice is not None:
        raise UserError(f"two problems have the id {twice!r}; every problem needs one of its own.")
    seen: dict[str, str] = {}
    for side, problems in sides.items():
        for problem in problems:
            if seen.setdefault(problem.prompt, side) != side:
                raise UserError(
                    f"{problem.prompt[:80]!r} stands in both {seen[problem.prompt]} and {side}; remove it from one."
                )


def _check_task(problems: Sequence[Problem]) -> None:
    """Check that all problems are of one task that is known."""
    tasks = sorted({problem.task for problem in problems})
    if len(tasks) > 1:
        raise UserError(f"the problems are of the tasks {', '.join(tasks)}; a run is on problems of one task.")
    try:
        task_named(tasks[0])
    except UserError as error:
        raise UserError(
            f"the problems are of the task {tasks[0]!r}, which is not known; take 'math' for questions with an answer "
            f"that a verifier compares ({error})"
        ) from None
