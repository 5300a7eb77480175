"""Weights between two models, and their mean over several."""

from collections.abc import Iterable

import torch
from transformers import PreTrainedModel

from unsqueeze.errors import UserError


@torch.no_grad()
def average_weights(base: PreTrainedModel, trained: PreTrainedModel, share: float) -> None:
    """Make the weights of ``trained`` θ = (1 − α)·θ_base + α·θ_trained, in place, α = ``share``; tied ones once.

    α = 0 and 1 give either model to the bit. UserError where the two do not have the same weights.
    """
    of_base, of_trained = dict(base.named_parameters()), dict(trained.named_parameters())
    for name in sorted(of_base.keys() ^ of_trained.keys()):
        raise UserError(f"the two models have different weights: only one has {name}; average a model with its base.")
    for name, weight in of_trained.items():
        other = of_base[name]
        if other.shape != weight.shape:
            raise UserError(
                f"the two models have different weights: {name} is {list(other.shape)} in the one and "
                f"{list(weight.shape)} in the other; average a model with its base."
            )
        weight.copy_(torch.lerp(other, weight, share))


def mean_weights(model: PreTrainedModel, others: Iterable[PreTrainedModel]) -> None:
    """Make the weights of ``model`` the mean of its own and those of ``others``, in place; one at a time is held.

    UserError where they do not have the same weights.
    """
    for count, other in enumerate(others, start=1):
        average_weights(other, model, count / (count + 1))
