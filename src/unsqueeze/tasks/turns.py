"""Ends of turns: the token that a chat template puts after what the assistant said, and others that are named.

A base model often declares ``<|endoftext|>`` alone, while its chat template ends turns with ``<|im_end|>``: whoever
stops at the declared token only samples on, into a next turn that the model makes up.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.tasks.prompts import as_ids

Chat = list[dict[str, str]]
SAID, SAID_OTHERWISE = "first", "something else, 7"
"""Contents of a turn that share no last token."""


def turn_end(tokenizer: Any, declared: Collection[int] = ()) -> int | None:
    """Return the token that ends the assistant's turn in the tokenizer's chat template; None where none does.

    ``declared`` are tokens that the model says to end with, beside the tokenizer's own.
    """
    if not tokenizer.chat_template:
        return None
    known = {*declared, *own_ends(tokenizer)}
    marks = marks_of(tokenizer)

    def render(chat: Chat) -> list[int]:
        return as_ids(tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=False))

    return find_turn_end(render, marks.__contains__, known)


@dataclass(frozen=True, slots=True)
class Ends:
    """Tokens that end a response: ``turn`` in a chat, ``text`` elsewhere. ``opening``: those that tell a chat."""

    turn: int | None
    text: int | None
    opening: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any, vocabulary: int) -> "Ends":
        """Return those of a tokenizer and a model that knows ``vocabulary`` tokens."""
        text, turn = tokenizer.eos_token_id, turn_end(tokenizer)
        if turn is None or turn >= vocabulary:
            return cls(text, text, frozenset())
        chat = [_user("question")]
        closed, opened = (
            as_ids(tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=opens))
            for opens in (False, True)
        )
        return cls(turn, text, frozenset(opened[len(_common_start(closed, opened)) :]) & marks_of(tokenizer))

    def closed(self, response: list[int], prompt: Sequence[int], *, is_chat: bool) -> list[int]:
        """Return the response with its end token, unless it ends with one. A prompt may be a chat written out."""
        end = self.turn if is_chat or not self.opening.isdisjoint(prompt) else self.text
        if end is None or (response and response[-1] in (self.turn, self.text)):
            return response
        return [*response, end]


def find_turn_end(
    render: Callable[[Chat], Sequence[int]], is_mark: Callable[[int], bool], declared: Collection[int]
) -> int | None:
    """Return the token that ends the assistant's turn in what ``render`` makes of a chat; None where none does.

    A chat is rendered twice, with another content each time: what is equal behind the content is the template's. There
    the end is the first token that is no text (``is_mark``); of several that follow each other directly the first one
    that is ``declared``. What stands behind the last turn of a chat alone, such as the end of the whole text, and what
    opens the next turn do not count: only what both have in common, where that holds a mark.
    """
    chat = [_user("question"), _assistant(SAID)]
    last = _behind(render, chat, 1)
    if last is None:
        return None
    middle = _behind(render, [*chat, _user("another question"), _assistant("second")], 1)
    common = last if middle is None else _common_start(last, middle)
    run = _first_run(common, is_mark) or _first_run(last, is_mark)
    return next((token for token in run if token in declared), run[0] if run else None)


def marks_of(tokenizer: Any) -> set[int]:
    """Return the tokens of a tokenizer that are no text: special ones, and those added to its vocabulary."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} - {None, tokenizer.unk_token_id}
    # Some tokenizers have runs of spaces added to them.
    return {int(token) for token in special if tokenizer.convert_ids_to_tokens(token).strip()} | own_ends(tokenizer)


def own_ends(tokenizer: Any) -> set[int]:
    """Return the end token of a tokenizer, where it has one."""
    return set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}


def named_tokens(names: Sequence[str], tokenizer: Any) -> tuple[int, ...]:
    """Return the ids of tokens that are given by their text. UserError for a text that is not one token."""
    vocabulary = tokenizer.get_vocab()
    return tuple(_named(name, vocabulary, tokenizer) for name in names)


def _named(name: str, vocabulary: dict[str, int], tokenizer: Any) -> int:
    if name in vocabulary:
        return vocabulary[name]
    ids = as_ids(tokenizer(name, add_special_tokens=False)) if name else []
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return ids[0]
    marks = [tokenizer.convert_ids_to_tokens(token) for token in sorted(marks_of(tokenizer))]
    raise UserError(
        f"the end token {name!r} is no token of the model's vocabulary; tokens there that are no text: "
        f"{', '.join(marks[:20]) or 'none'}{' …' if len(marks) > 20 else ''}. A text of several tokens is a stop text "
        f"(rollout.stop, --stop)."
    )


def _behind(render: Callable[[Chat], Sequence[int]], chat: Chat, place: int) -> list[int] | None:
    """Return the tokens from behind the content of the message at ``place`` on; None for a template that fails."""
    otherwise = [*chat[:place], _assistant(SAID_OTHERWISE), *chat[place + 1 :]]
    try:
        one, other = list(render(chat)), list(render(otherwise))
    except Exception:  # noqa: BLE001 (a chat template is a program of the model's author, and may raise anything)
        return None
    return _common_start(one[::-1], other[::-1])[::-1]


def _common_start(one: Sequence[int], other: Sequence[int]) -> list[int]:
    same = [a == b for a, b in zip(one, other, strict=False)]
    return list(one[: same.index(False) if False in same else len(same)])


def _first_run(tokens: Sequence[int], is_mark: Callable[[int], bool]) -> list[int]:
    """Return the first marks that follow each other directly."""
    flags = [is_mark(token) for token in tokens]
    if True not in flags:
        return []
    start = flags.index(True)
    end = flags.index(False, start) if False in flags[start:] else len(flags)
    return list(tokens[start:end])


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}
