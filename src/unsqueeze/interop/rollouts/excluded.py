"""Prompts whose rollouts are left out: those of an evaluation that wrote into the same files."""

import re
from collections.abc import Iterable
from functools import lru_cache

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import Messages
from unsqueeze.interop.rollouts.rendered import prompts_in
from unsqueeze.interop.sample_files import Record

_BEFORE = re.compile(r"(^|[\n>\]|:}]) ?$")
_BEHIND = re.compile(r"^\s*($|[\n<\[|{])")
"""What a template has around a user's text: marks and lines, never words."""


class Excluded:
    """A set of prompts, known by what the user said last, with or without a template or a system message."""

    def __init__(self, prompts: Iterable[str | Messages]) -> None:
        self._texts = {said for prompt in prompts if (said := _said(prompt))}
        self._longest_first = sorted(self._texts, key=len, reverse=True)
        self._rendered = lru_cache(maxsize=100_000)(self._is_around_one)

    @classmethod
    def of_file(cls, source: str) -> "Excluded":
        """Return the prompts of a file. UserError where it has none."""
        found = cls(prompts_in(source))
        if not found._texts:
            raise UserError(f"{source}: no prompts; give prompt, messages, problem or question a line.")
        return found

    def holds(self, record: Record) -> bool:
        """Tell whether the prompt of a rollout is one of them."""
        prompt = record.fields.get("prompt") or record.fields.get("messages") or ""
        if isinstance(prompt, str) and record.fields.get("rendered"):
            return self._rendered(prompt)
        return _said(prompt) in self._texts

    def _is_around_one(self, prompt: str) -> bool:
        if prompt.strip() in self._texts:
            return True
        for text in self._longest_first:
            before, found, behind = prompt.rpartition(text)
            if found and _BEFORE.search(before) and _BEHIND.search(behind):
                return True
        return False


def _said(prompt: object) -> str:
    """Return what the user says last in a prompt; nothing of what is none, which is refused elsewhere."""
    if isinstance(prompt, str):
        return prompt.strip()
    if not isinstance(prompt, list):
        return ""
    users = [each for each in prompt if isinstance(each, dict) and each.get("role") == "user"]
    content = users[-1].get("content") if users else None
    return content.strip() if isinstance(content, str) else ""
