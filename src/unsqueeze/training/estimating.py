"""The estimator of advantages that a recipe names, asked so that its mistakes become one sentence."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from unsqueeze.algos.estimators import estimator_named
from unsqueeze.algos.groups import Advantages, Estimator, Groups
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.errors import UserError
from unsqueeze.rollout.types import Group


def estimator_of(settings: RlSettings) -> Estimator:
    """Return the estimator of the settings, with its options. UserError if there is none, or they do not fit it."""
    return estimator_named(settings.surrogate.advantage, settings.advantage_options)


def estimate(estimator: Estimator, groups: Groups, settings: Surrogate) -> Advantages:
    """Return the advantages of groups; what was not judged does not train, whatever the estimator says of it.

    UserError where the estimator refuses its options, or gives what cannot be trained on.
    """
    try:
        given = estimator(groups, settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{_called(estimator)}: {error}") from error
    if not isinstance(given, Advantages):
        raise UserError(f"{_called(estimator)} gave a {type(given).__name__}; it must give algos.groups.Advantages.")
    shape_PG, shape_PGT = groups.rewards_PG.shape, groups.logp_PGT.shape
    if given.trains_PG.shape != shape_PG or given.values.shape not in (shape_PG, shape_PGT):
        raise UserError(
            f"{_called(estimator)} gave values of the shape {list(given.values.shape)} and trains_PG of the shape "
            f"{list(given.trains_PG.shape)}; trains_PG must be {list(shape_PG)}, and values that or {list(shape_PGT)}."
        )
    trains_PG = given.trains_PG.bool() & groups.judged_PG
    values = given.values.detach().float()
    of_tokens = values.ndim == 3
    counts = trains_PG[:, :, None] & groups.mask_PGT if of_tokens else trains_PG
    if not torch.isfinite(values[counts]).all():
        raise UserError(
            f"{_called(estimator)} gave an advantage that is not finite to a response that trains; rewards are NaN "
            f"where an answer was not judged, and must not reach the others."
        )
    return Advantages(torch.where(counts, values, 0.0), trains_PG, given.counts)


def estimated_groups(groups: Sequence[Group], rewards: torch.Tensor) -> Groups:
    """Return the groups as an estimator sees them, with these rewards."""
    logp = [[rollout.completion.logp_raw for rollout in group.rollouts] for group in groups]
    lengths_PG = torch.tensor([[len(logp_T) for logp_T in row] for row in logp], dtype=torch.int64)
    logp_PGT = torch.zeros((*lengths_PG.shape, int(lengths_PG.max()) if lengths_PG.numel() else 0))
    for p, row in enumerate(logp):
        for g, logp_T in enumerate(row):
            logp_PGT[p, g, : len(logp_T)] = torch.from_numpy(logp_T)
    logp_sum_PG = logp_PGT.sum(dim=-1, dtype=torch.float64).float()
    return Groups(rewards_PG=rewards, num_tokens_PG=lengths_PG, logp_sum_PG=logp_sum_PG, logp_PGT=logp_PGT)


def trial_groups(group_size: int, *, num_tokens: int = 1) -> Groups:
    """Return two groups to try an estimator on: one right answer among wrong ones; none right and one not judged."""
    rewards = torch.zeros(2, group_size)
    rewards[0, 0], rewards[1, -1] = 1.0, torch.nan
    logp_PGT = torch.full((*rewards.shape, num_tokens), -0.5)
    return Groups(
        rewards_PG=rewards,
        num_tokens_PG=torch.full(rewards.shape, num_tokens),
        logp_sum_PG=logp_PGT.sum(dim=-1),
        logp_PGT=logp_PGT,
    )


def rewards_PG(groups: Sequence[Group]) -> torch.Tensor:  # noqa: N802
    """Rewards of judged groups, float32; NaN where an answer could not be judged."""
    return torch.tensor(
        [[judgement.verdict.reward for judgement in group.judgements] for group in groups], dtype=torch.float32
    )


def _called(estimator: Any) -> str:
    function = estimator.func if isinstance(estimator, partial) else estimator
    return f"the estimator of advantages {getattr(function, '__qualname__', type(function).__name__)}"
