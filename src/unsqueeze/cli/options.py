"""Checks that several commands make of their options."""

from collections.abc import Sequence
from typing import TypeVar

from unsqueeze.errors import UserError

_Word = TypeVar("_Word", bound=str)


def one_of(option: str, value: str, allowed: Sequence[_Word]) -> _Word:
    """The allowed word that ``value`` is. UserError naming the option otherwise."""
    for word in allowed:
        if value == word:
            return word
    raise UserError(f"{option} {value}: it must be one of {', '.join(allowed)}.")
