"""Judged groups as an estimator of advantages sees them, and what it returns.

Axes: P prompts, G rollouts of one prompt, T tokens of the longest response.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unsqueeze.algos.surrogate import Surrogate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """The groups of one batch.

    ``rewards_PG``     1 or 0 by the verdict, perhaps less a punishment for length; NaN means *not judged*
    ``num_tokens_PG``  tokens of each response
    ``logp_sum_PG``    log-prob of each response under the policy that drew it, at temperature 1, nats
    ``logp_PGT``       the same token by token, 0 on padding
    """

    rewards_PG: Float[Tensor, "P G"]
    num_tokens_PG: Int[Tensor, "P G"]
    logp_sum_PG: Float[Tensor, "P G"]
    logp_PGT: Float[Tensor, "P G T"]

    @property
    def judged_PG(self) -> Bool[Tensor, "P G"]:  # noqa: N802
        return ~torch.isnan(self.rewards_PG)

    @property
    def right_PG(self) -> Bool[Tensor, "P G"]:  # noqa: N802
        """The responses that earned 1, for rules that count them.

        Raises ValueError if a reward is neither 0 nor 1: such rules do not hold for rewards that depend on the length.
        """
        right_PG = self.rewards_PG == 1
        if not (right_PG | (self.rewards_PG == 0) | ~self.judged_PG).all():
            raise ValueError("it takes rewards of 0 and 1 alone; set rl.overlong to null, or take another estimator.")
        return right_PG

    @property
    def num_judged_P1(self) -> Int[Tensor, "P 1"]:  # noqa: N802
        """n: the responses of each group that were judged."""
        return self.judged_PG.sum(dim=1, keepdim=True)

    @property
    def num_right_P1(self) -> Int[Tensor, "P 1"]:  # noqa: N802
        """c: those of them that earned 1. Raises ValueError as ``right_PG`` does."""
        return self.right_PG.sum(dim=1, keepdim=True)

    @property
    def pass_rate_P1(self) -> Float[Tensor, "P 1"]:  # noqa: N802
        """p = c/n; 0 where nothing was judged. Raises ValueError as ``right_PG`` does."""
        return self.num_right_P1 / self.num_judged_P1.clamp(min=1)

    @property
    def mask_PGT(self) -> Bool[Tensor, "P G T"]:  # noqa: N802
        """The tokens of the responses; the rest is padding."""
        places_T = torch.arange(self.logp_PGT.shape[-1], device=self.num_tokens_PG.device)
        return places_T < self.num_tokens_PG[:, :, None]

    @property
    def logp_mean_PG(self) -> Float[Tensor, "P G"]:  # noqa: N802
        """The mean log-prob of the tokens of each response, nats per token."""
        return self.logp_sum_PG / self.num_tokens_PG.clamp(min=1)


@dataclass(frozen=True, slots=True, eq=False)
class Advantages:
    """Advantages of every response, shape [P, G], or of every token, [P, G, T] with anything on padding.

    ``trains_PG`` marks the responses that are part of the batch: the denominators of the loss count them, also those of
    advantage 0, which have no gradient of their own. A response that was not judged never trains: it is taken out
    whatever stands here. ``counts`` is what the estimator counts of these groups; it goes into the metrics of the step.
    """

    values: Float[Tensor, "P G"] | Float[Tensor, "P G T"]
    trains_PG: Bool[Tensor, "P G"]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def moves_PG(self) -> Bool[Tensor, "P G"]:  # noqa: N802
        """Responses with a gradient: those that train and have an advantage other than 0 somewhere."""
        nonzero = self.values.ne(0)
        return self.trains_PG & (nonzero if nonzero.ndim == 2 else nonzero.any(dim=-1))


Estimator = Callable[[Groups, Surrogate], Advantages]
"""Groups and the settings of the surrogate in, advantages out; ``rl.advantage_options`` are further keyword arguments.

A pure function: every group by itself, no random draw, NaN rewards (not judged) without influence on the others.
"""
