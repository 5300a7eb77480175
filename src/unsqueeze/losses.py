"""The losses, estimators and weights of Unsqueeze as pure functions, for any trainer.

    from unsqueeze import losses

    weights_N = losses.token_weights(lengths_N, "sequence_mean", num_rollouts=N, num_tokens=total, max_tokens=limit)
    output = losses.nll_loss(logp_policy_NT, mask_NT, weights_N)
    output.loss.backward()

Axes: P prompts, G rollouts a prompt, N responses, T tokens. Log-probs are in nats; losses are to be minimised, and the
weights hold every denominator, so that micro-batches add up (docs/algorithms.md).
"""

from unsqueeze.algos.advantages.group_relative import group_advantages
from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.irl import nll_loss
from unsqueeze.algos.mismatch import truncated_importance
from unsqueeze.algos.objectives import LossOutput, clipped_surrogate_loss
from unsqueeze.algos.overlong import overlong_punishment
from unsqueeze.algos.selection import select_demonstrations
from unsqueeze.algos.surrogate import ALGORITHMS, Surrogate

__all__ = [
    "ALGORITHMS",
    "Advantages",
    "Groups",
    "LossOutput",
    "Surrogate",
    "clipped_surrogate_loss",
    "group_advantages",
    "nll_loss",
    "overlong_punishment",
    "select_demonstrations",
    "token_weights",
    "truncated_importance",
]
