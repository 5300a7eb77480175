"""The points at which Unsqueeze is extended: names that a recipe may give, and the object behind each.

An entry is ``package.module:attribute`` and is imported when it is asked for, so that names are known, and misspelt
ones refused, without loading anything. In place of a name, every one of these settings takes
``package.module:attribute`` of the user's own. CONTRIBUTING.md has a worked example for each.
"""

import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from unsqueeze.errors import UserError, one_line


class Registry:
    """Names of one kind of object, and where each is found. ``setting`` is what messages call it."""

    def __init__(self, setting: str, places: Mapping[str, str]) -> None:
        self.setting = setting
        self._places = dict(places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def check(self, name: str, setting: str | None = None) -> str:
        """Return ``name`` if it is known or has the form of a place. Raises ValueError saying what is allowed.

        ``setting``: what messages call it where it is given elsewhere than usual.
        """
        if name in self._places or is_place(name):
            return name
        raise ValueError(
            f"{setting or self.setting} is {name!r}; known are {', '.join(self._places)}, or one of your own as "
            f"package.module:attribute"
        )

    def resolve(self, name: str, setting: str | None = None) -> Any:
        """Import and return the object of a name, or of a place. UserError where there is none."""
        try:
            self.check(name, setting)
        except ValueError as error:
            raise UserError(f"{error}.") from None
        return load(self._places.get(name, name), setting or self.setting)


def is_place(name: str) -> bool:
    """Tell whether a name has the form ``package.module:attribute``."""
    module, separator, attribute = name.partition(":")
    return bool(separator) and all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def load(place: str, setting: str) -> Any:
    """Import ``package.module:attribute``, also from the working directory. UserError if there is none."""
    module_name, _, attribute = place.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"{setting} is {place!r}, and it cannot be imported ({one_line(error)}); the module must be installed, or "
            f"lie in the folder {os.getcwd()}."
        ) from error
    except Exception as error:  # a module of the user's own may raise anything while it is loaded
        raise UserError(
            f"{setting} is {place!r}, and importing {module_name} raised {type(error).__name__}: {one_line(error)}."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UserError(f"{setting} is {place!r}, and {module_name} has no {attribute}.")
        found = getattr(found, part)
    return found


def modules_of(package: str) -> dict[str, str]:
    """Find the modules of a package: each holds an object of its own name. Nothing is imported but the package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    names = [module.name for module in pkgutil.iter_modules(spec.submodule_search_locations)]
    return {name: f"{package}.{name}:{name}" for name in names}


ADVANTAGES = Registry("rl.advantage", modules_of("unsqueeze.algos.advantages"))
"""Estimators of advantages (``algos.groups.Estimator``): one file each, named like its function."""

LOSSES = Registry("rl.loss", {"clipped_surrogate": "unsqueeze.algos.objectives:clipped_surrogate_loss"})
"""Losses of an RL step, with the arguments of ``algos.objectives.clipped_surrogate_loss``."""

IRL_LOSSES = Registry("irl.loss", {"nll": "unsqueeze.algos.irl:nll_loss"})
"""Losses of an IRL update, with the arguments of ``algos.irl.nll_loss``."""

TASKS = Registry(
    "data.kind",
    {
        "countdown": "unsqueeze.tasks.countdown_task:CountdownTask",
        "jsonl": "unsqueeze.tasks.math_task:MathTask",
        "hub": "unsqueeze.tasks.math_task:MathTask",
        "reasoning_gym": "unsqueeze.tasks.gym_task:GymTask",
        "arithmetic": "unsqueeze.tasks.arithmetic_task:ArithmeticTask",
    },
)
"""Tasks (``tasks.task.Task``), by the kind of their data."""

VERIFIERS = Registry(
    "verify.verifier",
    {
        "countdown": "unsqueeze.verify.countdown:make_countdown_verifier",
        "math": "unsqueeze.verify.math_verifier:make_math_verifier",
        "reasoning_gym": "unsqueeze.verify.gym_verifier:make_gym_verifier",
    },
)
"""Makers of verifiers: called with ``config.rollout_settings.VerifySettings``, each returns a
``verify.verdict.Verifier``."""

ENGINES = Registry(
    "rollout.engine",
    {
        "hf": "unsqueeze.rollout.engines:hf_engine",
        "vllm": "unsqueeze.rollout.engines:vllm_engine",
        "vllm_server": "unsqueeze.rollout.engines:server_engine",
    },
)
"""Makers of engines: called with ``config.rollout_settings.RolloutSettings`` and the policy, each returns a
``rollout.types.Engine``."""

EXPORTERS = Registry(
    "to",
    {
        "evalscope": "unsqueeze.interop.write_evalscope:write_evalscope",
        "lighteval": "unsqueeze.interop.write_lighteval:write_lighteval",
    },
)
"""Writers of samples for other programs (``interop.exporters.Exporter``)."""
