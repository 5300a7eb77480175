"""Ways of attention that take the place of transformers' ``sdpa`` for a while, where they apply."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float | None], Tensor | None]
"""(query, key, value, mask, scale) -> what was read, shape NRHD; None where this way does not apply."""

_MORE_THAN_A_MASK = ("position_bias", "cache")
"""Arguments of transformers' ``sdpa`` that change which keys are read, or how strongly."""


_LOCK = threading.Lock()
_ways: list[tuple[int, Attend]] = []
"""The ways of blocks that are entered, each with the thread that is in it."""
_sdpa: list[Any] = []
"""What transformers had as ``sdpa`` before a block was entered; kept, as a thread may be on its way to it."""


@contextmanager
def sdpa_by(attend: Attend) -> Iterator[None]:
    """In this block, and thread, ``sdpa`` of transformers reads by ``attend`` where that applies, else as before."""
    way = (threading.get_ident(), attend)
    with _LOCK:
        if not _ways:
            _sdpa[:] = [ALL_ATTENTION_FUNCTIONS["sdpa"]]
            ALL_ATTENTION_FUNCTIONS["sdpa"] = _attention
        _ways.append(way)
    try:
        yield
    finally:
        with _LOCK:
            _ways.remove(way)
            if not _ways:
                ALL_ATTENTION_FUNCTIONS["sdpa"] = _sdpa[0]


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **keywords: Any
) -> Any:
    if not keywords.get("dropout") and all(keywords.get(name) is None for name in _MORE_THAN_A_MASK):
        for thread, attend in reversed(tuple(_ways)):
            if thread == threading.get_ident():
                read = attend(query, key, value, attention_mask, keywords.get("scaling"))
                if read is not None:
                    return read, None
    return _sdpa[0](module, query, key, value, attention_mask, **keywords)
