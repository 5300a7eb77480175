"""A suite: arms × seeds × learning rates over one recipe, as a YAML file says it (docs/lab.md)."""

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from unsqueeze.config.load import read_settings
from unsqueeze.config.refusal import refusal
from unsqueeze.config.settings import ArmName, Options, RunName, Settings
from unsqueeze.errors import UserError

TableName = Literal[
    "results",
    "differences",
    "steps",
    "plane",
    "duels",
    "turnover",
    "reliability",
    "histogram",
    "similarity",
    "time",
    "greedy",
    "squeezing",
]

Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("it must name each only once")
    return values


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)]


class LearningRates(Settings):
    """The search of a learning rate for every arm, on validation problems and on seeds of its own."""

    setting: str = "rl.learning_rate"
    """The setting that is searched."""
    factors: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2), AfterValidator(_distinct)] = (
        0.5,
        1.0,
        2.0,
    )
    """What each arm's own value of it is multiplied by."""
    widen: int = Field(0, ge=0)
    """How often the search of an arm goes on beyond the largest or smallest factor where that is the best so far, each
    time by the step between the last two."""
    seeds: Seeds
    """Seeds of the search; none of them is reported."""
    choose_by: Literal["area", "avg", "pass_at_n"] = "area"
    """What the chosen learning rate has most of on the validation problems, as the mean over the seeds: `area`, the
    area of the plane (Avg@n, Pass@n) that the validated checkpoints of a run dominate; `avg`, Avg@n at the end;
    `pass_at_n`, Pass@n at the end. Of equals, the factor nearest to 1."""
    set: Options = Field(default_factory=dict)
    """Settings of the runs of the search alone, such as a small test set, which they do not need."""


class FreePoint(Settings):
    """A policy that needs no training of its own: made of the runs of an arm, and evaluated as they are."""

    of: str
    """The arm whose last checkpoints it is made of."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of the trained weights; the rest is the base model's, weight by weight."""
    last: int = Field(1, ge=1)
    """Trained weights are the mean over the last so many checkpoints of the run, as often as it saves them."""
    temperature: float | None = Field(None, ge=0)
    """Temperature of the samples; null: that of the arm's evaluations."""

    @model_validator(mode="after")
    def _differs_from_the_arm(self) -> Self:
        if self.share == 1 and self.last == 1 and self.temperature is None:
            raise ValueError(
                "a free point needs a share below 1, more than one checkpoint (last) or a temperature, else it is the "
                "arm itself"
            )
        return self


class Suite(Settings):
    """A whole suite."""

    name: RunName
    """Names the folder of its results."""
    title: str = ""
    """What it shows, in a line."""
    twin_of: str = ""
    """The table or figure of the paper that it is the twin of."""
    finding: str = ""
    """What of the paper's finding holds here, and where that is shown."""
    recipe: str | None = "quickstart"
    """The recipe of all arms: a shipped one by its name, or a file, looked for beside the suite first; null: nothing is
    trained, for tables of theory."""
    set: Options = Field(default_factory=dict)
    """Settings in which all runs differ from the recipe."""
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_distinct)] = ()
    """Seeds of the runs that are reported; one or more, unless nothing is trained."""
    arms: dict[ArmName, Options] | None = Field(None, min_length=1)
    """A name for each arm, with the settings in which it differs; null: the arms of the recipe."""
    variants: dict[ArmName, Options] | None = Field(None, min_length=1)
    """Settings in which every arm is run, such as sizes of the training set: a name for each; null: as it is."""
    points: dict[ArmName, FreePoint] = Field(default_factory=dict)
    """Rivals that cost no training, by name: weights averaged along a run or with the base model, other
    temperatures of sampling."""
    control: str | None = None
    """The arm that all others are compared with at equal seeds; null: the first."""
    subject: str | None = None
    """The arm that table `duels` holds against each of the others."""
    learning_rates: LearningRates | None = None
    """The search of each arm's learning rate; null: that of the recipe."""
    tables: tuple[TableName, ...] = ("results", "differences")
    """The tables that are made of the runs."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.recipe is None) != (not self.seeds):
            raise ValueError(
                "seeds must name one or more, since there is a recipe"
                if self.recipe is not None
                else "recipe is null, so nothing is trained; leave the seeds out, or name a recipe"
            )
        if self.control is not None and self.arms is not None and self.control not in self.arms:
            raise ValueError(f"control is {self.control!r}, and the arms are {', '.join(self.arms)}; name one of them")
        if (self.subject is None) == ("duels" in self.tables):
            raise ValueError("subject names the arm of table duels, so give both or neither")
        if twice := sorted({*self.points} & {*(self.arms or {})}):
            raise ValueError(f"{twice[0]!r} is both an arm and a free point; give one of them another name")
        if self.learning_rates is not None:
            both = sorted({*self.seeds} & {*self.learning_rates.seeds})
            if both:
                raise ValueError(
                    f"seed {both[0]} is both among the reported seeds and among those that learning rates are chosen "
                    f"on; what is chosen on a seed is not reported on it, so give other seeds to one of them"
                )
        return self


def load_suite(source: str, seeds: Sequence[int] | None = None) -> Suite:
    """Read a suite from a file or from the shipped ones; ``seeds`` replace its own. UserError if it is wrong."""
    path = _find(source)
    raw = read_settings(path, f"suite {source}")
    raw.setdefault("name", path.stem)
    if isinstance(recipe := raw.get("recipe"), str) and (beside := path.parent / recipe).is_file():
        raw["recipe"] = str(beside)
    return check_suite(raw | ({} if seeds is None else {"seeds": list(seeds)}), source)


def check_suite(raw: dict[str, Any], source: str) -> Suite:
    """Validate a suite given as plain data; ``source`` is what the message calls it."""
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"suite {source}: {refusal(error, Suite, raw)}") from None


def shipped_suites() -> list[str]:
    """Names of the suites inside the package."""
    return sorted(path.stem for path in _shipped().glob("*.yaml"))


def described_suites() -> dict[str, Suite]:
    """The shipped suites by their names."""
    return {name: load_suite(name) for name in shipped_suites()}


def _shipped() -> Path:
    return Path(str(resources.files("unsqueeze") / "suites"))


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    names = shipped_suites()
    if source in names:
        return _shipped() / f"{source}.yaml"
    near = difflib.get_close_matches(source, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"suite {source!r} is neither a file nor a shipped suite ({', '.join(names)}; unsqueeze lab lists them).{hint}"
    )
