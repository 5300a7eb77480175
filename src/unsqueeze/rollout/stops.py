"""Ends of a completion: end tokens and stop strings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def end_token_ids(model: nn.Module, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a completion, sorted: those of the model's generation config and of the tokenizer."""
    ids: set[int] = set()
    for owner in (getattr(model, "generation_config", None), tokenizer):
        declared = getattr(owner, "eos_token_id", None)
        if declared is not None:
            ids.update([declared] if isinstance(declared, int) else declared)
    return tuple(sorted(ids))


class StopStrings:
    """Finds stop strings in the text of tokens as they are drawn, by decoding the last few tokens of each row.

    A stop string of b bytes lies within the last b tokens that show anything; a few more are decoded, for tokens that
    show nothing and for a character cut by the window's edge.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._window = max((len(s.encode()) for s in self._stop), default=0) + 8

    def met(self, tokens_NT: Tensor) -> Tensor:
        """Tell which rows, all of T tokens, hold a stop string that ends in their last tokens: bool, shape N."""
        tails = tokens_NT[:, -self._window :].tolist()
        if not tails:  # batch_decode of no rows gives one empty text
            return torch.zeros(0, dtype=torch.bool)
        texts = self._tokenizer.batch_decode(tails, skip_special_tokens=False)
        before = self._tokenizer.batch_decode([tail[:-1] for tail in tails], skip_special_tokens=False)
        return torch.tensor([self._find(t, b) >= 0 for t, b in zip(texts, before, strict=True)], dtype=torch.bool)

    def cut(self, text: str, tokens: Sequence[int]) -> str:
        """``text`` (of all ``tokens``, special ones skipped) up to the stop string that its last token completed."""
        before = self._tokenizer.decode(list(tokens[:-1]), skip_special_tokens=True)
        place = self._find(text, before)
        return text if place < 0 else text[:place]

    def _find(self, text: str, before: str) -> int:
        """First place in ``text`` of a stop string not whole in ``before`` (the text less its last token), or -1."""
        places = [text.find(s, max(0, len(before) - len(s) + 1)) for s in self._stop]
        return min((place for place in places if place >= 0), default=-1)
