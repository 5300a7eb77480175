"""Where in a text its tokens stand, so that each can be coloured by its log-prob."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from unsqueeze.config.recipe import Recipe
from unsqueeze.models import shipped_folder


class Pieces:
    """Cuts texts into the pieces that tokens stand for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._alone: dict[int, str] = {}

    def lengths(self, tokens: Sequence[int], text: str) -> list[int] | None:
        """Return of how many characters of ``text`` each token is the cause; None where the tokens do not say it.

        A token that only ends a response has none. Tokens that are no text by themselves (a part of a character) go
        with the one that completes it.
        """
        for lengths in self._candidates(tokens):
            total = sum(lengths)
            if total == len(text):
                return lengths
            if total > len(text):  # stop strings are cut off a text; what follows it has no place in it
                return _cut(lengths, len(text))
        return None

    def _candidates(self, tokens: Sequence[int]) -> Iterable[list[int]]:
        alone = [self._piece(token) for token in tokens]
        if not any("\ufffd" in piece for piece in alone):
            yield [len(piece) for piece in alone]
        stream = DecodeStream(skip_special_tokens=True)
        yield [len(stream.step(self._tokenizer, token) or "") for token in tokens]

    def _piece(self, token: int) -> str:
        if token not in self._alone:
            self._alone[token] = self._tokenizer.decode([token], skip_special_tokens=True)
        return self._alone[token]


def _cut(lengths: Sequence[int], most: int) -> list[int]:
    """Return the lengths as far as there is text for them."""
    cut, left = [], most
    for length in lengths:
        cut.append(min(length, left))
        left -= cut[-1]
    return cut


def pieces_of(run: Path, recipe: Recipe | None) -> Pieces | None:
    """Return what cuts the texts of a run: the tokenizer of a checkpoint of it, or of the model it began with.

    None where neither is a file on this machine.
    """
    places = sorted((run / "checkpoints").glob("step-*/policy"))[-1:]
    if recipe is not None:
        path = recipe.model.path
        places.append(shipped_folder(path) or Path(path))
    for place in places:
        file = place / "tokenizer.json"
        if file.is_file():
            try:
                return Pieces(Tokenizer.from_file(str(file)))
            except Exception:  # noqa: BLE001 - whatever the Rust library raises; texts are shown without colours
                return None
    return None
