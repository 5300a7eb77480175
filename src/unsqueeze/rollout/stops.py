"""Ends of a completion: end tokens and stop strings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unsqueeze.tasks.turns import own_ends, turn_end


def end_token_ids(model: nn.Module | None, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a completion, sorted: those of the model's generation config and of the tokenizer, and the one
    that ends the assistant's turn in the tokenizer's chat template.
    """
    declared = declared_ends(model, tokenizer)
    end = turn_end(tokenizer, declared)
    return tuple(sorted(declared if end is None or not _has(model, end) else {*declared, end}))


def declared_ends(model: nn.Module | None, tokenizer: Any) -> set[int]:
    """The ids that end a completion by what the model's generation config and the tokenizer say."""
    given = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return {*own_ends(tokenizer), *([] if given is None else [given] if isinstance(given, int) else given)}


def end_texts(model: nn.Module, tokenizer: Any, further: Sequence[int]) -> list[str]:
    """The texts of all tokens that end a completion, ``further`` ones last."""
    ids = dict.fromkeys((*end_token_ids(model, tokenizer), *further))
    return [str(text) for text in tokenizer.convert_ids_to_tokens(list(ids))]


def undeclared_turn_end(model: nn.Module, tokenizer: Any) -> str | None:
    """The text of the token that ends the assistant's turn, where the model does not declare it; None where it does."""
    new = set(end_token_ids(model, tokenizer)) - declared_ends(model, tokenizer)
    return str(tokenizer.convert_ids_to_tokens(new.pop())) if new else None


def _has(model: nn.Module | None, token: int) -> bool:
    """Tell whether the model can draw a token: some tokenizers know more of them than the model has rows for."""
    embeddings: Any = getattr(model, "get_input_embeddings", lambda: None)()
    return embeddings is None or token < embeddings.weight.shape[0]


class StopStrings:
    """Finds stop strings in the text of tokens as they are drawn, by decoding the last few tokens of each row.

    A stop string of b bytes lies within the last b tokens that show anything; a few more are decoded, for tokens that
    show nothing and for a character cut by the window's edge.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self.window = max((len(s.encode()) for s in self._stop), default=0) + 8
        """Number of last tokens of a row that it is enough to look at."""

    def met(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Tell which rows of tokens hold a stop string that their last token completed: bool, shape N."""
        tails = [row[-self.window :] for row in rows]
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
