"""What all sections of a recipe are made of: frozen settings, plain options, names of folders, an optimizer."""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from unsqueeze.config.refusal import NOT_TRUE
from unsqueeze.errors import one_line

LARGEST_COUNT = 10**8
"""Above any number of steps, tokens or problems that a machine gets through; lists of such lengths are made early."""


class Settings(BaseModel):
    """Frozen, and strict about names: a key nobody reads is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(NOT_TRUE)
        return value

    @field_validator("*")
    @classmethod
    def _counts_are_countable(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, int) and info.field_name != "seed" and abs(value) > LARGEST_COUNT:
            raise ValueError(f"it must be at most {LARGEST_COUNT}")
        return value


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it must hold plain texts, numbers, lists and mappings ({one_line(error, 100)})") from None
    return value


Options = Annotated[dict[str, Any], AfterValidator(_plain)]
"""Settings whose names are known to what they are given to, not here. They go to ``run.json`` like all others."""


_Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(Settings):
    learning_rate: float = Field(gt=0)
    """Step size of AdamW."""
    betas: tuple[_Decay, _Decay] = (0.9, 0.99)
    """Decay rates of AdamW's two moments."""
    epsilon: float = Field(1e-8, gt=0)
    """Term that keeps AdamW's division from one by zero."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm where theirs is larger."""


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("it must name a folder: letters, digits, '.', '_' and '-' alone, a letter or digit first")
    return name


RunName = Annotated[str, Field(max_length=100), AfterValidator(_folder_name)]
"""The name of a folder, and nothing more."""


def _not_of_a_run(name: str) -> str:
    if name.casefold() in _IN_A_RUN:
        raise ValueError(f"a run has something of its own of that name ({', '.join(_IN_A_RUN)}); give another")
    return name


_IN_A_RUN = (
    "lock", "run.json", "journal.jsonl", "metrics.jsonl", "tracking.json", "report.html",
    "rollouts", "base_rollouts", "demos", "checkpoints", "evals", "validation",
)  # fmt: skip
"""An arm of such a name could not be told from a run in the folder of the arms."""

ArmName = Annotated[RunName, AfterValidator(_not_of_a_run)]
