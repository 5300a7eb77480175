"""Tasks: what is asked of a model, and how right answers are known.

A task is stateless; ``extensions.TASKS`` names those that ship. One of the user's own is a subclass of ``Task``, named
in a recipe as ``data.kind: package.module:Class``.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.extensions import TASKS, is_place
from unsqueeze.metrics.diversity import normalised
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.styles import Asks


@dataclass(frozen=True, slots=True)
class Data:
    """Problems to train on, to test on, and to choose the best checkpoint by; no problem in two of them."""

    train: Sequence[Problem]
    test: Sequence[Problem]
    validation: Sequence[Problem] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files, or of the problems of the data sets, that they come from."""
    hub_commits: Mapping[str, str] = field(default_factory=dict)
    """Commits of the data sets of the hub that were read."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """How many problems were left out for the length of their prompts, by set."""
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What is wrong with the records that hold no problem and were left out, by file or data set."""

    def sets(self) -> dict[str, Sequence[Problem]]:
        """The sets by their names."""
        return {"training": self.train, "test": self.test, "validation": self.validation}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Numbers of problems as far as they are known before anything is loaded; None where they are not."""

    train: int | None = None
    test: int | None = None
    validation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Tokens that the cost model expects of a task's prompts and responses."""

    prompt: int
    response: float


class Task(ABC):
    """A kind of problem. A subclass gives ``load``, and overrides what differs from mathematics.

    Tasks whose problems are made from a seed are best made of ``tasks.made.MadeTask``.
    """

    name: ClassVar[str]
    """Mark of problems (``Problem.task``): a name of ``extensions.TASKS``. A class that gives none is
    called by its place, ``package.module:Class``."""
    title: ClassVar[str] = ""
    """One line for lists."""
    named_is_enough: ClassVar[bool] = False
    """The name alone says which problems are held out, without files and options: ``--task NAME`` may ask for them."""
    verifier: ClassVar[str] = "math"
    """Verifier: a name of ``extensions.VERIFIERS``, or ``package.module:function``."""
    judged_in_place: ClassVar[bool] = False
    """The verifier takes no time worth counting and no process of its own."""
    asks: ClassVar[Asks] = "math"
    """The request that prompts make beside the problem, where no template is given."""
    longest_answer: ClassVar[int | None] = None
    """Tokens that an answer needs at most; None: as many as there is room for."""
    default_sizes: ClassVar[Sizes] = Sizes()
    """Numbers of problems where a recipe does not say; None: all there are."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in cls.__dict__:
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    @abstractmethod
    def load(self, settings: DataSettings) -> Data:
        """Make or read the problems. UserError naming what is wrong, or a problem that is in two splits."""

    def held_out(self, limit: int | None) -> list[Problem]:
        """Return the held-out problems of the default settings, the first ``limit`` of them."""
        settings = DataSettings(kind=self.name, num_train=1, num_test=limit)
        return list(self.load(settings).test)[:limit]

    def sizes(self, settings: DataSettings) -> Sizes:
        """Return the numbers of problems that ``load`` will give, without loading."""
        default = self.default_sizes
        return Sizes(
            train=settings.num_train or default.train,
            test=settings.num_test or default.test,
            validation=settings.num_validation or default.validation,
        )

    def expected(self, settings: DataSettings) -> Expected | None:
        """Return the lengths that the cost model expects; None leaves it to its own assumptions."""
        return None

    def gold_response(self, problem: Problem, settings: DataSettings) -> str | None:
        r"""Return a response that says the gold answer: in a box, which earns credit under every ``verify.credit``.

        It is given to the verifier before training, which must find it right. None where no right answer is known.
        """
        return f"\\boxed{{{problem.answer}}}"

    def canonical(self, problem: Problem, response: str) -> str:
        """Return a text that equal right answers share: the response without its spacing and case."""
        return normalised(response)


@cache
def task_named(kind: str) -> Task:
    """Return the task of ``data.kind``, or of ``Problem.task``. UserError where there is none."""
    found = TASKS.resolve("jsonl" if kind == "math" else kind)
    task = found() if inspect.isclass(found) and issubclass(found, Task) and not inspect.isabstract(found) else found
    if not isinstance(task, Task):
        raise UserError(f"data.kind is {kind!r}, which is {found!r}; it must be a class of unsqueeze.Task with load.")
    if task.name not in (*TASKS, "math") and not is_place(task.name):
        raise UserError(
            f"data.kind is {kind!r}, a task called {task.name!r}, and by that name it could not be found again; leave "
            f"out name, or give {kind!r}."
        )
    return task


def options_of(settings: DataSettings, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``data.options`` with the defaults of a task. UserError for one unknown, or of another type than those."""
    for name, value in settings.options.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise UserError(f"data.options has {name!r}; of data.kind {settings.kind} the options are: {known}.")
        wanted = type(defaults[name])
        if type(value) is not wanted:
            raise UserError(f"data.options.{name} is {value!r}; it must be of the type {wanted.__name__}.")
    return {**defaults, **settings.options}
