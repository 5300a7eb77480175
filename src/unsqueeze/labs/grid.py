"""The runs that a suite asks for: every arm in every variant, at every seed, with the learning rate it was given."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

from unsqueeze.config.load import apply_overrides, arms_of, check_recipe, load_recipe, merged
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.labs.choose import beyond
from unsqueeze.labs.suite import LearningRates, Suite
from unsqueeze.training.base_evaluation import begins_as

Role = Literal["search", "reported"]

RECIPE_NAME = "lab"
"""The name of the recipe in every run of a lab: runs that differ in a name alone are one run."""

_NOT_OF_THE_RUN = {"name", "description", "arms", "trackers", "tracking"}


@dataclass(frozen=True, slots=True)
class Cell:
    """An arm in a variant; ``variant`` is empty where a suite has none."""

    arm: str
    variant: str = ""

    @property
    def label(self) -> str:
        return f"{self.arm}, {self.variant}" if self.variant else self.arm


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a suite: which cell, at which seed, with which factor on its learning rate, and why."""

    cell: Cell
    seed: int
    factor: float
    role: Role
    recipe: Recipe

    @cached_property
    def digest(self) -> str:
        """A hash of everything in the recipe that the run's numbers depend on, and that differs from the defaults: it
        stays what it is where a later version has more settings.
        """
        return _digest(self.recipe.model_dump(mode="json", exclude=_NOT_OF_THE_RUN, exclude_defaults=True))

    @cached_property
    def begins(self) -> str:
        """A hash of what the evaluation before training depends on: runs that share it share that evaluation."""
        return _digest(begins_as(self.recipe))

    @property
    def folder(self) -> str:
        """The name of its run directory, which runs of other suites with the same recipe share."""
        return _folder(self)

    @property
    def label(self) -> str:
        factor = f" ×{self.factor:g}" if self.role == "search" else ""
        return f"{self.cell.label}{factor}, seed {self.seed}"


@dataclass(frozen=True)
class PlannedPoint:
    """The evaluation of a free point: a policy made of a finished run, sampled at a temperature."""

    cell: Cell
    of: PlannedRun
    share: float
    last: int
    temperature: float

    role: Role = "reported"

    @property
    def seed(self) -> int:
        return self.of.seed

    @property
    def factor(self) -> float:
        return self.of.factor

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run, which its evaluation follows but for the temperature."""
        return self.of.recipe

    @cached_property
    def digest(self) -> str:
        made = {"of": self.of.digest, "share": self.share, "temperature": self.temperature}
        return _digest(made if self.last == 1 else made | {"last": self.last})

    @property
    def begins(self) -> str:
        """A hash of its own: it is evaluated once, and shares nothing."""
        return self.digest

    @property
    def folder(self) -> str:
        return _folder(self)

    @property
    def label(self) -> str:
        return f"{self.cell.label}, seed {self.seed}"


Job = PlannedRun | PlannedPoint
"""Work of one process."""


def _folder(job: Job) -> str:
    variant = f"-{job.cell.variant}" if job.cell.variant else ""
    return f"{job.cell.arm}{variant}-seed-{job.seed}-{job.digest[:12]}"


def _digest(plain: Mapping[str, Any]) -> str:
    return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Grid:
    """The cells of a suite, each with its recipe, seed and learning rate still those of the recipe."""

    suite: Suite
    cells: Mapping[Cell, Recipe]

    @property
    def control(self) -> str:
        """The arm that the others are compared with; the first, where the suite's own is not run."""
        arms = [cell.arm for cell in self.cells]
        return self.suite.control if self.suite.control in arms else next(iter(arms), "")

    def search(self) -> list[PlannedRun]:
        """The runs that learning rates are chosen by at first; none where they are given."""
        rates = self.suite.learning_rates
        return [] if rates is None else self._searching(rates, dict.fromkeys(self.cells, rates.factors))

    def wider(self, chosen: Mapping[Cell, float], searched: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs that the search goes on with where the factor ``chosen`` is at an end of those searched.

        None where the setting cannot have the value that would be next.
        """
        rates = self.suite.learning_rates
        assert rates is not None
        tried: dict[Cell, set[float]] = {}
        for run in searched:
            tried.setdefault(run.cell, set()).add(run.factor)
        wider: list[PlannedRun] = []
        for cell, factor in chosen.items():
            following = beyond(tried[cell], factor)
            if following is not None:
                with suppress(UserError):
                    wider += self._searching(rates, {cell: (following,)})
        return wider

    def _searching(self, rates: LearningRates, factors: Mapping[Cell, Sequence[float]]) -> list[PlannedRun]:
        return [
            PlannedRun(cell, seed, factor, "search", _changed(self.cells[cell], rates.set, rates.setting, factor, seed))
            for cell, of_cell in factors.items()
            for factor in of_cell
            for seed in rates.seeds
        ]

    def reported(self, chosen: Mapping[Cell, float]) -> list[PlannedRun]:
        """The runs that are reported, of the cells whose factor is ``chosen``: seed by seed, so that where a lab is
        stopped all arms have about as many.
        """
        rates = self.suite.learning_rates
        setting = "" if rates is None else rates.setting
        return [
            PlannedRun(cell, seed, chosen[cell], "reported", _changed(recipe, {}, setting, chosen[cell], seed))
            for seed in self.suite.seeds
            for cell, recipe in self.cells.items()
            if cell in chosen
        ]

    def points(self, runs: Sequence[PlannedRun]) -> list[PlannedPoint]:
        """The free points of these runs."""
        return [
            PlannedPoint(
                cell=Cell(name, run.cell.variant),
                of=run,
                share=point.share,
                last=point.last,
                temperature=run.recipe.evaluation.temperature if point.temperature is None else point.temperature,
            )
            for run in runs
            for name, point in self.suite.points.items()
            if point.of == run.cell.arm
        ]

    @property
    def rows(self) -> list[Cell]:
        """Arms and free points, variant by variant, in the order of their tables."""
        arms = {cell.arm for cell in self.cells}
        points = [name for name, point in self.suite.points.items() if point.of in arms]
        variants = list(dict.fromkeys(cell.variant for cell in self.cells))
        return [
            cell
            for variant in variants
            for cell in (
                *(cell for cell in self.cells if cell.variant == variant),
                *(Cell(name, variant) for name in points),
            )
        ]

    def as_given(self) -> dict[Cell, float]:
        """Every cell with a factor of 1: the learning rate of its recipe."""
        return dict.fromkeys(self.cells, 1.0)


def grid_of(suite: Suite, overrides: Sequence[str] = (), only: Sequence[str] | None = None) -> Grid:
    """Resolve the recipe of every cell. ``overrides`` go wherever their section stands, as those of ``train`` do;
    ``only`` names the arms that are wanted.

    UserError naming what is wrong, and in which arm.
    """
    if suite.recipe is None:
        return Grid(suite, {})
    base = load_recipe(suite.recipe)
    shared = base.model_dump(exclude={"arms"})
    arms = suite.arms or base.arms
    if not arms:
        raise UserError(
            f"suite {suite.name}: it has no arms, and its recipe {suite.recipe} has none either; give it arms, a name "
            f"for each with the settings in which it differs."
        )
    if unknown := [name for name in only or () if name not in arms]:
        raise UserError(f"suite {suite.name} has no arm {unknown[0]!r}; its arms are {', '.join(arms)}.")
    cells: dict[Cell, Recipe] = {}
    for variant, changes in (suite.variants or {"": {}}).items():
        raw = merged(merged(shared, suite.set), changes) | {"name": RECIPE_NAME, "description": ""}
        raw["arms"] = {name: dict(each) for name, each in arms.items() if only is None or name in only}
        where = f"{suite.recipe}, as suite {suite.name} changes it" + (f", variant {variant!r}" if variant else "")
        recipe = check_recipe(apply_overrides(raw, overrides), where)
        cells |= {Cell(arm, variant): resolved for arm, resolved in arms_of(recipe, where).items()}
    if suite.control is not None and suite.control not in arms:
        raise UserError(
            f"suite {suite.name}: control is {suite.control!r}, and the arms are {', '.join(arms)}; name one of them."
        )
    for name, point in suite.points.items():
        if point.of not in arms:
            raise UserError(
                f"suite {suite.name}: point {name!r} is of {point.of!r}, and the arms are {', '.join(arms)}; name one "
                "of them."
            )
        for cell, resolved in cells.items():
            if cell.arm == point.of and point.last > (there := _num_checkpoints(resolved)):
                raise UserError(
                    f"suite {suite.name}: point {name!r} is the mean over the last {point.last} checkpoints of "
                    f"{point.of!r}, whose runs keep {there}; ask for fewer, or set checkpoint.every_steps smaller."
                )
    if suite.subject is not None and suite.subject not in arms:
        raise UserError(
            f"suite {suite.name}: subject is {suite.subject!r}, and the arms are {', '.join(arms)}; name one of them."
        )
    if suite.learning_rates is not None:
        _check_search(suite, cells)
    return Grid(suite, cells)


def learning_rate(recipe: Recipe, setting: str) -> float:
    """Return the value of the setting that is searched. UserError where there is none."""
    value: Any = recipe.model_dump()
    for key in setting.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(f"learning_rates.setting is {setting!r}, which is no number of this recipe; name one.")
    return float(value)


def _check_search(suite: Suite, cells: Mapping[Cell, Recipe]) -> None:
    """UserError where there are no validation problems to choose by, or not what is to be searched."""
    rates = suite.learning_rates
    assert rates is not None
    for cell, recipe in cells.items():
        learning_rate(recipe, rates.setting)
        searched = _changed(recipe, rates.set, rates.setting, 1.0, rates.seeds[0])
        if searched.data.num_validation is None and searched.data.validation_path is None:
            raise UserError(
                f"suite {suite.name}: learning rates are chosen on validation problems, and {cell.label} has none; set "
                f"data.num_validation or data.validation_path."
            )


def _num_checkpoints(recipe: Recipe) -> int:
    """How many checkpoints a finished run has at least; those at phase ends may add to them."""
    checkpoint, steps = recipe.checkpoint, recipe.rl.steps
    saved = 1 if checkpoint.every_steps is None else math.ceil(steps / checkpoint.every_steps)
    return saved if checkpoint.keep_last is None else min(saved, checkpoint.keep_last)


def _changed(recipe: Recipe, changes: Mapping[str, Any], setting: str, factor: float, seed: int) -> Recipe:
    raw = merged(recipe.model_dump(exclude={"arms"}), changes) | {"seed": seed}
    if factor != 1:
        raw = apply_overrides(raw, [f"{setting}={learning_rate(recipe, setting) * factor!r}"])
    return check_recipe(raw, f"of seed {seed}")
