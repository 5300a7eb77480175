"""Texts that a chat template made, and the messages they were made of."""

from collections.abc import Iterable
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import Messages, prompt_of
from unsqueeze.interop.sample_files import Record, read_samples
from unsqueeze.tasks.prompts import plain_ids

_SYSTEM, _USER = "\u2039system\u203a", "\u2039user\u203a"
"""Contents that no template has in it."""


def rendered_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a rendered text: its special tokens are in it, and none is added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class Unrendering:
    """Finds the messages behind a rendered prompt: a user's turn, with or without a system message before it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._parts: list[tuple[str, ...]] = []
        if not tokenizer.chat_template:
            return
        for chat in ([_user(_USER)], [{"role": "system", "content": _SYSTEM}, _user(_USER)]):
            text = self._render(chat)
            marks = [_SYSTEM, _USER][2 - len(chat) :]
            if text is not None and all(text.count(mark) == 1 for mark in marks):
                self._parts.append(_split(text, marks))

    def messages(self, text: str) -> Messages | None:
        """Return messages that the template turns into exactly ``text``; None where none of one turn do."""
        for parts in self._parts:
            found = self._between(text, parts)
            if found is not None and self._render(found) == text:
                return found
        return None

    def _between(self, text: str, parts: tuple[str, ...]) -> Messages | None:
        first, *middle, last = parts
        if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
            return None
        inner = text[len(first) : len(text) - len(last)]
        if not middle:
            return [_user(inner)]
        system, mark, user = inner.partition(middle[0])
        return [{"role": "system", "content": system}, _user(user)] if mark else None

    def _render(self, chat: Messages) -> str | None:
        try:
            text = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except Exception:  # noqa: BLE001 (a chat template is a program of the model's author, and may raise anything)
            return None
        return text if isinstance(text, str) else None


class TruePrompts:
    """The prompts of a data set by what a trainer that drops special tokens writes of them."""

    def __init__(self, source: str, tokenizer: Any) -> None:
        self._source = source
        self._by_text: dict[str, str | Messages] = {}
        for prompt in prompts_in(source):
            self._by_text[_decoded(tokenizer, prompt)] = prompt

    def of(self, record: Record) -> str | Messages:
        """Return the prompt that a line was sampled from. UserError where the data set has none like it."""
        text = record.fields["prompt"]
        if text in self._by_text:
            return self._by_text[text]
        raise UserError(
            f"{record.where}: no prompt of {self._source} reads {text[:80]!r} without its special tokens; give the "
            f"data set that the run was trained on, and the model whose chat template it used."
        )


def prompts_in(source: str) -> Iterable[str | Messages]:
    """Yield the prompts of a data set: ``prompt`` or ``messages``, or ``problem`` or ``question`` as text."""
    columns = ("prompt", "messages", "problem", "question", "query")
    for record in read_samples(source, columns):
        yield prompt_of(record, columns)


def _decoded(tokenizer: Any, prompt: str | Messages) -> str:
    if isinstance(prompt, str):
        ids = plain_ids(tokenizer, prompt)
    else:
        try:
            text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a chat template may raise anything
            raise UserError(f"the tokenizer's chat template failed on a prompt of the data set: {error}") from error
        ids = rendered_ids(tokenizer, text)
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def _split(text: str, marks: list[str]) -> tuple[str, ...]:
    parts = []
    for mark in marks:
        before, _, text = text.partition(mark)
        parts.append(before)
    return (*parts, text)


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
