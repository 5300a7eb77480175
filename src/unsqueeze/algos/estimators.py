"""Estimators of advantages by their names, with their options."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from unsqueeze.algos.groups import Estimator
from unsqueeze.errors import UserError
from unsqueeze.extensions import ADVANTAGES


def estimator_named(name: str, options: Mapping[str, Any], *, setting: str = "rl.advantage") -> Estimator:
    """Return the estimator with its options. UserError if there is none of that name, or they do not fit it.

    ``setting`` is what messages call the name.
    """
    found: Any = ADVANTAGES.resolve(name, setting)
    if not callable(found):
        raise UserError(f"{setting} is {name!r}, which is a {type(found).__name__}; it must be a function.")
    try:
        inspect.signature(found).bind(None, None, **options)
    except TypeError as error:
        known = ", ".join(option_names(found)) or "none"
        raise UserError(f"{setting}_options do not fit {name}: {error}; its options are: {known}.") from None
    estimator: Estimator = partial(found, **options) if options else found
    return estimator


def option_names(estimator: Estimator) -> list[str]:
    """Return the arguments of an estimator beside the groups and the settings."""
    return list(inspect.signature(estimator).parameters)[2:]
