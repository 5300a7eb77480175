"""Attention of one new token a row, without repeating the cache for every head that shares it.

Grouped-query models keep fewer key heads than query heads. transformers' ``sdpa`` copies each key and value head once
for every query head that reads it, at each step and layer, wherever rows are padded; for one token a row that copy
costs several times the attention itself. The same numbers come from letting the query heads that share a key head
stand side by side where the queries of several tokens would stand.

Axes: N rows, H query heads, K key heads (H = K * G), T past and new tokens, D width of a head.
"""

from contextlib import AbstractContextManager

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from unsqueeze.policy.sdpa import sdpa_by


def shared_heads() -> AbstractContextManager[None]:
    """In this block ``sdpa`` of transformers reads shared heads where they lie; everything else it does as before."""

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor | None:
        one_token_shared = query.shape[2] == 1 and query.shape[1] > key.shape[1]
        for_all_heads = mask is None or mask.shape[1] == 1
        return one_token_attention(query, key, value, mask, scale=scale) if one_token_shared and for_all_heads else None

    return sdpa_by(attend)


def one_token_attention(
    query_NH1D: Tensor, key_NKTD: Tensor, value_NKTD: Tensor, mask_N11T: Tensor | None, *, scale: float | None
) -> Tensor:
    """softmax(scale * q k^T + mask) v, shape N1HD. Query head h reads key head h // G; ``scale`` is by default D^-1/2.

    A mask is of booleans (true: may be read) or is added, and is the same for all heads.
    """
    rows, query_heads, _, width = query_NH1D.shape
    key_heads = key_NKTD.shape[1]
    query_NKGD = query_NH1D.reshape(rows, key_heads, query_heads // key_heads, width)
    read_NKGD = scaled_dot_product_attention(query_NKGD, key_NKTD, value_NKTD, attn_mask=mask_N11T, scale=scale)
    return read_NKGD.reshape(rows, 1, query_heads, value_NKTD.shape[-1])
