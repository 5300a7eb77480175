"""Focal advantages: those of another estimator, less the easier the group."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unsqueeze.algos.estimators import estimator_named
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.surrogate import Surrogate


def focal(
    groups: Groups,
    settings: Surrogate,
    *,
    gamma: float = 1.0,
    of: str = "group_relative",
    of_options: Mapping[str, Any] | None = None,
) -> Advantages:
    """(1 − p)^γ times the advantages of the estimator ``of``, p = c/n the pass rate of the group (arXiv 2602.06717).

    ``of`` is any estimator by its name, with ``of_options``, and says who trains; all of an all-right group have
    advantage 0 for γ > 0. γ = 0 is that estimator itself.

    Raises ValueError for rewards other than 0 and 1 and a γ below 0, UserError where there is no such estimator.
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}; it must be 0 or more.")
    given = estimator_named(of, of_options or {}, setting="rl.advantage_options.of")(groups, settings)
    factor_P1 = (1 - groups.pass_rate_P1) ** gamma
    return replace(given, values=given.values * (factor_P1 if given.values.ndim == 2 else factor_P1[:, :, None]))
