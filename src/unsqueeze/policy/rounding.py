"""Agreement of two ways of computing the same with a model."""

import torch
from torch import Tensor


def agree_to_rounding(found: Tensor, expected: Tensor) -> bool:
    """Tell whether no entry differs by more than 1e-4 of one plus the largest entry: what fp32 leaves room for.

    The bound is one for all entries, since what is large anywhere in a model's sums rounds all of them: SmolLM2-135M,
    whose logits reach 33, gives logits up to 4e-4 apart when it reads a sequence at once and token by token.
    Entries that are not finite, such as logits of tokens that may not be drawn, must be the same.
    """
    is_finite = expected.isfinite()
    if not torch.equal(found[~is_finite], expected[~is_finite]):
        return False
    if not is_finite.any():
        return True
    found, expected = found[is_finite], expected[is_finite]
    return bool((found - expected).abs().max() <= 1e-4 * (1 + expected.abs().max()))
