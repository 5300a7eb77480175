"""Our estimators of advantages in the place of those of a trainer that has one advantage a response."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unsqueeze.algos.groups import Estimator, Groups
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.errors import UserError
from unsqueeze.rollout.types import Group
from unsqueeze.training.estimating import estimate, estimated_groups, rewards_PG, trial_groups


class OwnAdvantages:
    """An estimator, asked about what a trainer generated. Rewards are verdicts: 1 is right, 0 wrong, NaN not judged."""

    def __init__(self, estimator: Estimator, surrogate: Surrogate, *, setting: str) -> None:
        self.estimator = estimator
        self.surrogate = surrogate
        self.setting = setting

    def try_once(self, num_generations: int) -> None:
        """UserError where the estimator refuses its options, or does what the trainer cannot."""
        self._values(trial_groups(num_generations))

    def of(self, groups: Sequence[Group]) -> Tensor:
        """Return the advantages of the responses, float32[N], in order; 0 for those that were not judged.

        UserError where the estimator does what the trainer cannot.
        """
        return self._values(estimated_groups(groups, rewards_PG(groups))).flatten()

    def _values(self, groups: Groups) -> Tensor:
        given = estimate(self.estimator, groups, self.surrogate)
        if given.values.ndim == 3:
            raise self._cannot("gives every token an advantage of its own")
        if not torch.equal(given.trains_PG, groups.judged_PG):
            raise self._cannot("leaves judged responses out of the batch")
        return given.values

    def _cannot(self, does: str) -> UserError:
        return UserError(
            f"the estimator of {self.setting} {does}, and the trainer has one advantage for every response, which all "
            f"count in its loss; take another estimator, or other options."
        )


def surrogate_of(scale_rewards: Any, setting: str) -> Surrogate:
    """Return our settings for TRL's ``scale_rewards``. UserError for ``batch``, which estimators have nothing like."""
    if scale_rewards == "batch":
        raise UserError(
            f"scale_rewards is 'batch', and {setting} estimates every group by itself; set scale_rewards to 'group' or "
            f"'none', or {setting} to None."
        )
    return Surrogate(advantage_scale="sample_std" if scale_rewards == "group" else "none")
