"""From judged groups to the rows of an RL step: who trains, how much, and against which log-probs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.groups import Advantages, Estimator
from unsqueeze.algos.overlong import overlong_punishment
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.rollout.types import Group, Rollout
from unsqueeze.training.estimating import estimate, estimated_groups, rewards_PG


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A rollout that carries gradient, with the weight of its tokens and its advantage (or those of its tokens)."""

    rollout: Rollout
    weight: float
    advantage: float | NDArray[np.float32]


def trained_rollouts(
    groups: Sequence[Group], settings: RlSettings, estimator: Estimator, *, max_tokens: int
) -> list[Trained]:
    """Return the rollouts that carry gradient, with advantages (Eq. 25) and weights over the WHOLE batch.

    The estimator says which responses are part of the batch. One of advantage 0 adds nothing to the gradient and is
    left out, unless there is a KL or entropy term, or may be one in a later step (``rl.adaptive_entropy``), or tokens
    are chosen among all (``rl.covariance``); in the latter two cases where another has an advantage. The denominators
    count it all the same, so this saves time and changes nothing. Rollouts that were not judged are no part of the
    batch: they are not in the denominators either.
    """
    surrogate = settings.surrogate
    rollouts_N = [rollout for group in groups for rollout in group.rollouts]
    if not rollouts_N:
        return []
    lengths_N = lengths_of(groups)
    advantages = advantages_of(groups, settings, estimator, max_tokens=max_tokens)
    trains_N, values_N = advantages.trains_PG.flatten(), advantages.values.flatten(0, 1)
    if not trains_N.any():
        return []
    weights_N = token_weights(
        lengths_N,
        surrogate.aggregation,
        num_rollouts=int(trains_N.sum()),
        num_tokens=int(lengths_N[trains_N].sum()),
        max_tokens=max_tokens,
    )
    moves_N = advantages.moves_PG.flatten()
    chosen_among = settings.covariance is not None or settings.adaptive_entropy is not None
    regularised = surrogate.kl_coefficient > 0 or surrogate.entropy_coefficient > 0
    carries_gradient_N = trains_N if regularised or (chosen_among and moves_N.any()) else moves_N
    return [
        Trained(
            rollout=rollouts_N[i],
            weight=float(weights_N[i]),
            advantage=float(values_N[i]) if values_N.ndim == 1 else values_N[i, : lengths_N[i]].numpy(),
        )
        for i in carries_gradient_N.nonzero().flatten().tolist()
    ]


def advantages_of(
    groups: Sequence[Group], settings: RlSettings, estimator: Estimator, *, max_tokens: int
) -> Advantages:
    """Return the advantages of judged groups, of which there is at least one, a punishment for length included."""
    rewards = rewards_PG(groups)
    if settings.overlong is not None:
        rewards = rewards + overlong_punishment(
            lengths_of(groups), max_tokens=max_tokens, soft_cache_length=settings.overlong.soft_cache_length
        ).view_as(rewards)
    return estimate(estimator, estimated_groups(groups, rewards), settings.surrogate)


def lengths_of(groups: Sequence[Group]) -> torch.Tensor:
    """Return the number of tokens of every rollout, shape (N,)."""
    return torch.tensor(
        [len(rollout.completion.tokens) for group in groups for rollout in group.rollouts], dtype=torch.int64
    )


def rl_rows(trained: Sequence[Trained], *, trainer_scores: bool) -> list[Row]:
    """Return the rows of an optimizer step.

    The ratio is against what the sampler gave, unless the trainer scores for itself: then it is against the rollout's
    ``logp_proximal``, and in the first step of a generation, for which there is none, against the step's own.
    """
    return [
        Row(
            prompt_tokens=one.rollout.prompt_tokens,
            tokens=one.rollout.completion.tokens,
            weight=one.weight,
            advantage=one.advantage,
            logp_proximal=one.rollout.logp_proximal if trainer_scores else one.rollout.completion.logp_behaviour,
            logp_behaviour=one.rollout.completion.logp_behaviour if trainer_scores else None,
        )
        for one in trained
    ]
