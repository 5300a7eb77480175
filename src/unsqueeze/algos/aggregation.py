"""Aggregate the terms of single tokens into one loss: denominators passed in, so that parts add up to the whole."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unsqueeze.algos.surrogate import Aggregation


def token_weights(
    lengths_N: Int[Tensor, " N"],
    aggregation: Aggregation,
    *,
    num_rollouts: int,
    num_tokens: int,
    max_tokens: int,
) -> Float[Tensor, " N"]:
    """The weight w_i of every token of response i, so that the loss is Σ_i w_i Σ_t loss_it.

    ``num_rollouts`` and ``num_tokens`` count the WHOLE optimizer batch, over all micro-batches and processes, and
    ``max_tokens`` is the generation limit: a part of the batch gets the same weights alone as it has in the whole, and
    gradients of parts add up to the gradient of the whole.

    The weights are float64 and lose nothing before they meet log-probs of whatever precision.

    ``sequence_mean`` 1 / (num_rollouts · |y_i|)        (Eq. 23, 28; 0 for an empty response)
    ``token_mean``    1 / num_tokens                    (Eq. 26)
    ``constant``      1 / (num_rollouts · max_tokens)   (Dr. GRPO)

    Raises ValueError if a denominator is not positive.
    """
    if num_rollouts < 1 or num_tokens < 1 or max_tokens < 1:
        raise ValueError(
            f"token_weights: denominators must be positive; got num_rollouts={num_rollouts}, "
            f"num_tokens={num_tokens}, max_tokens={max_tokens}."
        )
    lengths = lengths_N.to(torch.float64)
    if aggregation == "sequence_mean":
        return torch.where(lengths > 0, 1.0 / (num_rollouts * lengths.clamp(min=1)), torch.zeros_like(lengths))
    if aggregation == "token_mean":
        return torch.full_like(lengths, 1.0 / num_tokens)
    return torch.full_like(lengths, 1.0 / (num_rollouts * max_tokens))
