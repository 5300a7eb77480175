"""Attention of short rows behind their prompts, on a CPU: two products and a softmax, and no kernel for long rows.

softmax(scale · q kᵀ + bias) v. The kernel of PyTorch never holds the scores; for rows of a few dozen tokens and narrow
heads they are few, and where a mask says who reads what, as behind a prompt that was read before, avoiding them takes
longer than they do. Heads as wide as those of real models, and rows without a mask, are read by the kernel, which is as
fast or faster there (``benchmarks/short_attention.py``).

Axes: N rows, H query heads, K key heads (H = K · G), R tokens that read, T tokens that are read, D width of a head.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from unsqueeze.policy.sdpa import sdpa_by

_MOST_TOKENS = 32
_WIDEST_HEAD = 32


def short_attention() -> AbstractContextManager[None]:
    """In this block ``sdpa`` of transformers reads short rows with a mask in the way of this module, others as before.

    Not for layers whose activations are computed again: that happens outside of the block.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor | None:
        if mask is None or not _is_short(query, key, mask):
            return None
        return attend_short(query, key, value, bias_of(mask), scale=scale)

    return sdpa_by(attend)


def attend_short(
    query_NHRD: Tensor, key_NKTD: Tensor, value_NKTD: Tensor, bias_N1RT: Tensor, *, scale: float | None
) -> Tensor:
    """softmax(scale · q kᵀ + bias) v, shape NRHD. Query head h reads key head h // G; ``scale`` is by default D^-1/2.

    ``bias_N1RT`` is the same for all heads. A token that may read nothing reads all alike.
    """
    rows, query_heads, read, width = query_NHRD.shape
    key_heads, tokens = key_NKTD.shape[1:3]
    group = query_heads // key_heads
    scaled = query_NHRD * (width**-0.5 if scale is None else scale)
    bias = bias_N1RT.unsqueeze(1).expand(rows, key_heads, group, read, tokens).reshape(-1, group * read, tokens)
    scores = torch.baddbmm(bias, scaled.reshape(-1, group * read, width), key_NKTD.flatten(0, 1).transpose(1, 2))
    taken = torch.bmm(scores.softmax(dim=-1), value_NKTD.flatten(0, 1))
    return taken.view(rows, query_heads, read, -1).transpose(1, 2).contiguous()


def _is_short(query_NHRD: Tensor, key_NKTD: Tensor, mask: Tensor) -> bool:
    if query_NHRD.device.type != "cpu" or query_NHRD.dtype is not torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    tokens, width = key_NKTD.shape[2:]
    for_all_heads = mask.shape[1] == 1
    return for_all_heads and query_NHRD.shape[2] > 1 and tokens <= _MOST_TOKENS and width <= _WIDEST_HEAD


def bias_of(mask_N1RT: Tensor) -> Tensor:
    """What is added to the scores: nothing, or the lowest number where a token may not be read."""
    lowest = torch.finfo(torch.float32).min
    if mask_N1RT.dtype is torch.bool:
        return torch.zeros(mask_N1RT.shape).masked_fill(~mask_N1RT, lowest)
    return mask_N1RT.clamp(min=lowest)
