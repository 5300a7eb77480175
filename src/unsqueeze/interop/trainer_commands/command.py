"""A command line of a trainer, what of a recipe it cannot say, and the SPS phases between its pieces."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError


@dataclass(frozen=True, slots=True)
class Layout:
    """The devices of a run, and how many rollouts each takes at a time."""

    devices: int = 8
    per_device: int = 8

    def accumulated(self, recipe: Recipe) -> int:
        """Return how many micro-batches make an optimizer step. UserError where they do not come out even."""
        rollouts = recipe.rl.prompts_per_step * recipe.rl.group_size
        at_once = self.devices * self.per_device
        if min(self.devices, self.per_device) < 1 or rollouts % at_once:
            raise UserError(
                f"{recipe.rl.prompts_per_step} prompts of {recipe.rl.group_size} rollouts are {rollouts} a step, which "
                f"{self.devices} devices of {self.per_device} at a time do not divide; give other --devices or "
                f"--per-device."
            )
        return rollouts // at_once


@dataclass(slots=True)
class Command:
    """The command itself, its settings in order, and sentences about what it leaves out."""

    program: Sequence[str]
    settings: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    dashes: bool = True
    """Settings are ``--name value``; without, ``name=value``."""

    def put(self, **settings: object) -> None:
        """Add settings; numbers are written so that they come back the same."""
        self.settings |= {name: written(value) for name, value in settings.items()}

    def put_dotted(self, settings: dict[str, object]) -> None:
        self.settings |= {name: written(value) for name, value in settings.items()}

    def arguments(self) -> list[str]:
        """Return the arguments behind the program."""
        if not self.dashes:
            return [f"{name}={value}" for name, value in self.settings.items()]
        return [part for name, value in self.settings.items() for part in (f"--{name}", *value.split("\t"))]

    def lines(self) -> str:
        """Return the command for a shell, a setting a line, after comments about what it leaves out."""
        comments = [f"# {sentence}" for sentence in self.left_out]
        quoted = [shlex.join(self.program)]
        for name, value in self.settings.items():
            quoted.append(shlex.join([f"--{name}", *value.split("\t")] if self.dashes else [f"{name}={value}"]))
        return "\n".join([*comments, " \\\n  ".join(quoted)])


def written(value: object) -> str:
    """Return a value as a command line has it; the parts of a list are parted by tabs."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "\t".join(map(written, value))
    return str(value)


def left_out_everywhere(recipe: Recipe) -> list[str]:
    """Say what no trainer's command line has of the recipe."""
    said = [f"RL of the recipe {recipe.name}: {recipe.description}"]
    verify = recipe.verify
    said.append(
        f"Not carried over: our verifier (credit {verify.credit}), in whose place is the trainer's own reward; and of "
        f"{recipe.data.train_path or recipe.data.kind} the subset of num_train {recipe.data.num_train}."
    )
    if recipe.prompt.style is not None or recipe.prompt.template is not None:
        said.append(f"Not carried over: the prompt ({recipe.prompt.style or 'own template'}); put it into the data.")
    if recipe.rl.reference == "iteration" and recipe.rl.surrogate.kl_coefficient > 0:
        said.append("Not carried over: rl.reference iteration; restart with the phase's weights as the reference.")
    if recipe.rl.covariance is not None or recipe.rl.loss != "clipped_surrogate":
        said.append(f"Not carried over: the loss {recipe.rl.loss}, or its covariance rule.")
    if recipe.rl.surrogate.advantage != "group_relative":
        said.append(f"Not carried over: the advantages {recipe.rl.surrogate.advantage}.")
    said += [f"Not carried over: rl.{name}." for name in _RL_ALONE if getattr(recipe.rl, name) is not None]
    return said


def phase_steps(recipe: Recipe) -> int | None:
    """Return the steps of the first RL phase; None where there is no IRL, or the problems are not counted yet."""
    if recipe.irl is None:
        return None
    if recipe.irl.every_steps is not None:
        return recipe.irl.every_steps
    if recipe.data.num_train is None:
        return None
    return next(phase.last_step for phase in recipe.phases(recipe.data.num_train) if phase.kind == "rl")


_RL_ALONE = ("adaptive_entropy", "dph", "reset")
"""Sections of ``rl`` that no trainer has."""
_IRL_ALONE = ("replay_phases", "hold", "phase_schedule", "optimizer_state", "loss")
"""Settings of ``irl`` that hold across the phases of a run, or are no option of ``unsqueeze irl``."""
_PHASE_DEFAULTS = tuple(IrlSettings.model_fields[name].default for name in ("betas", "epsilon", "weight_decay"))


def sps_lines(recipe: Recipe, *, source: str, checkpoint: str, go_on: str, into: bool) -> list[str]:
    """Return the commands of an SPS phase between two pieces of the trainer's run; none without IRL."""
    irl = recipe.irl
    if irl is None:
        return []
    select = ["unsqueeze", "select", source, "--model", checkpoint, "--k", str(irl.k), "--pool", irl.pool]
    select += ["--quantile", repr(irl.quantile), "--likelihood", irl.likelihood, "--seed", str(recipe.seed)]
    select += ["--max-length", str(recipe.rollout.max_tokens), "--out", "demos.parquet"]
    phase = ["unsqueeze", "irl", *(["--into"] if into else []), checkpoint, "--demos", "demos.parquet"]
    phase += ["--learning-rate", repr(irl.learning_rate), "--batch-size", str(irl.batch_size)]
    phase += ["--passes", repr(irl.passes)] if irl.passes is not None else ["--steps", str(irl.steps)]
    phase += ["--aggregation", irl.aggregation, "--schedule", irl.schedule, "--max-grad-norm", repr(irl.max_grad_norm)]
    if irl.kl_budget is not None:
        phase += ["--kl-budget", repr(irl.kl_budget)]
    if irl.kl_guard:
        phase += ["--kl-guard", repr(irl.kl_guard)]
    phase += ["--compute-dtype", recipe.model.compute_dtype, "--out", f"{checkpoint}-irl"]
    notes = [
        f"# Not carried over: irl.{name} {getattr(irl, name)}."
        for name in _IRL_ALONE
        if getattr(irl, name) != IrlSettings.model_fields[name].default
    ]
    if irl.rank_by == "ratio":
        notes.append("# Not carried over: irl.rank_by ratio; select ranks by the checkpoint.")
    if (irl.betas, irl.epsilon, irl.weight_decay) != _PHASE_DEFAULTS:
        notes.append(
            f"# Not carried over: irl.betas {list(irl.betas)}, which unsqueeze irl has at {list(_PHASE_DEFAULTS[0])}."
        )
    steps = phase_steps(recipe)
    when = f"step {steps} and every so many after it" if steps is not None else "every pass over the data"
    return [
        *notes,
        f"# SPS, after {when}: stop the run at its checkpoint, then",
        "# " + shlex.join(select),
        "# " + shlex.join(phase),
        f"# and {go_on}",
    ]
