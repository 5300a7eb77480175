"""The policy that a KL term pulls towards, the base or that at the start of the RL phase; IRL may rank by it, too."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.sharding import piece
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy


class Reference:
    """Log-probs of a fixed policy.

    Full-weight training keeps a second copy of the model. With LoRA the base policy is the model with its adapters
    switched off, and the policy of another moment is the model with that moment's adapters put in: no copy.
    """

    def __init__(self, policy: Policy, copy: Policy | None) -> None:
        """``copy`` is the base policy where ``policy`` trains its weights, and None where it trains adapters."""
        assert (copy is None) == policy.has_adapters, "adapters need no copy, and weights do"
        self._policy = policy
        self._copy = copy
        self._adapters: Mapping[str, Tensor] | None = None
        self._is_base = True

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Make the reference the policy that had these trained weights."""
        self._is_base = False
        if self._copy is None:
            self._adapters = weights
        else:
            self._copy.put_weights(weights)

    def weights(self) -> Mapping[str, Tensor] | None:
        """This process's piece of every trained weight of the policy it was made; None while it is the base."""
        if self._is_base or self._copy is None:
            return self._adapters
        return {name: piece(parameter.detach()) for name, parameter in self._copy.trainable()}

    def logp(self, rows: Sequence[Row], *, max_tokens: int, temperature: float = 1.0) -> list[NDArray[np.float32]]:
        """Return log-probs as ``Policy.logp`` does, under the reference policy."""
        if self._copy is not None:
            return self._copy.logp(rows, max_tokens=max_tokens, temperature=temperature)
        if self._adapters is None:
            with self._policy.without_adapters():
                return self._policy.logp(rows, max_tokens=max_tokens, temperature=temperature)
        present = {name: piece(parameter.detach()).clone() for name, parameter in self._policy.trainable()}
        self._policy.put_weights(self._adapters)
        try:
            return self._policy.logp(rows, max_tokens=max_tokens, temperature=temperature)
        finally:
            self._policy.put_weights(present)


def make_reference(policy: Policy, recipe: Recipe) -> Reference | None:
    """The reference of a recipe; None where nothing asks for one."""
    if not recipe.needs_reference:
        return None
    strategy = recipe.parallel.strategy
    copy = None if policy.has_adapters else Policy.load(recipe.model, policy.processes, strategy=strategy)
    return Reference(policy, copy)
