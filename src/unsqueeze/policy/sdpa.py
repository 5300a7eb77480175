"""Ways of attention that take the place of transformers' ``sdpa`` for a while, where they apply."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float | None], Tensor | None]
"""(query, key, value, mask, scale) -> what was read, shape NRHD; None where this way does not apply."""

_MORE_THAN_A_MASK = ("position_bias", "cache")
"""Arguments of transformers' ``sdpa`` that change which keys are read, or how strongly."""


@contextmanager
def sdpa_by(attend: Attend) -> Iterator[None]:
    """In this block ``sdpa`` of transformers reads by ``attend`` where that applies, and all else as before."""
    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **keywords: Any
    ) -> Any:
        is_plain = not keywords.get("dropout") and all(keywords.get(name) is None for name in _MORE_THAN_A_MASK)
        read = attend(query, key, value, attention_mask, keywords.get("scaling")) if is_plain else None
        return sdpa(module, query, key, value, attention_mask, **keywords) if read is None else (read, None)

    ALL_ATTENTION_FUNCTIONS["sdpa"] = attention
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = sdpa
