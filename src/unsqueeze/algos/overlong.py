"""Soft overlong punishment (DAPO, arXiv 2503.14476 Eq. 13)."""

from jaxtyping import Float, Int
from torch import Tensor


def overlong_punishment(
    lengths_N: Int[Tensor, " N"], *, max_tokens: int, soft_cache_length: int
) -> Float[Tensor, " N"]:
    """Return what is added to the reward of a response of this many tokens, in [−1, 0].

    With L_max = ``max_tokens``, the generation limit, and L_cache = ``soft_cache_length`` (the name is ms-swift's):

        0                                   abs(y) ≤ L_max − L_cache
        ((L_max − L_cache) − abs(y)) / L_cache   up to L_max
        −1                                  abs(y) > L_max

    A response cut off at the limit gets −1. Added to a verdict of 1 or 0 it gives the reward whose advantage is taken;
    which groups are informative and which rollouts are negatives is still for the verdict alone to say.

    Raises ValueError unless 1 ≤ soft_cache_length ≤ max_tokens.
    """
    if not 1 <= soft_cache_length <= max_tokens:
        raise ValueError(f"soft_cache_length is {soft_cache_length}; it must be in [1, max_tokens={max_tokens}].")
    return ((max_tokens - soft_cache_length - lengths_N) / soft_cache_length).clamp(min=-1.0, max=0.0)
