r"""Brackets around brackets, which say nothing: ``((x))`` and ``{{x}}``.

Every further pair costs the grammar another way through all its rules, and braces are read as sets, whose comparison
doubles with every set in a set: sixteen pairs are over any deadline. Loaded by workers alone.
"""

import itertools
import re
from collections.abc import Sequence

_SIZED = r"(?:\\(?:left|right|[bB]igg?[lrm]?)\s*)?"
_BRACKET = re.compile(rf"{_SIZED}(\\[{{}}]|(?<!\\)[{{}}()\[\]])")
_CLOSING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}"}
# ``[[1, 2]]`` may be a matrix of one row, and ``\{\{1\}\}`` a set in a set: two pairs may mean what one does not.
_PAIRS_THAT_MAY_DIFFER = {"(": 1, "{": 1, "[": 2, r"\{": 2}


def without_doubled_brackets(text: str) -> str:
    r"""The text without pairs of brackets that hold nothing but another pair.

    Of a chain of pairs of one kind the innermost is left, so that ``((1, 2))`` is ``(1, 2)``. Of one of parentheses and
    braces in turn the outermost is left too, which may be the argument of a command; where there is a comma inside, a
    parenthesis is not a brace, and all of it is left. Linear in the length of the text. Where brackets do not match,
    all are left as they are.
    """
    brackets = list(_BRACKET.finditer(text))
    partners = _pairs(brackets)
    if partners is None:
        return text
    spaces = [not text[one.end() : other.start()].strip() for one, other in itertools.pairwise(brackets)]
    dropped: list[int] = []
    chain: list[int] = []  # opening brackets of pairs, each of which holds nothing but the next
    for place in sorted(partners):
        chain.append(place)
        inner, last = place + 1, partners[place]
        if not (partners.get(inner) == last - 1 and spaces[place] and spaces[last - 1]):
            dropped += _dropped(chain, brackets, text[brackets[place].end() : brackets[last].start()])
            chain = []
    spans = sorted(brackets[end].span() for place in dropped for end in (place, partners[place]))
    starts = [0, *(stop for _, stop in spans)]
    stops = [*(start for start, _ in spans), len(text)]
    return "".join(text[start:stop] for start, stop in zip(starts, stops, strict=True))


def _pairs(brackets: Sequence[re.Match[str]]) -> dict[int, int] | None:
    """The place of the closing bracket of every opening one. None where they do not match."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    for place, bracket in enumerate(brackets):
        if bracket[1] in _CLOSING:
            opened.append(place)
        elif not opened or _CLOSING[brackets[opened[-1]][1]] != bracket[1]:
            return None
        else:
            partners[opened.pop()] = place
    return None if opened else partners


def _dropped(chain: Sequence[int], brackets: Sequence[re.Match[str]], content: str) -> list[int]:
    """The pairs of a chain that can go, from the outermost in; ``content`` is what the innermost holds."""
    if len(chain) < 2:
        return []
    kinds = [brackets[place][1] for place in chain]
    if set(kinds) == {"(", "{"} and "," not in content:
        return list(chain[1:-1])
    dropped = []
    for number, kind in enumerate(kinds):
        following = kinds[number + 1 : number + 1 + _PAIRS_THAT_MAY_DIFFER[kind]]
        if following == [kind] * _PAIRS_THAT_MAY_DIFFER[kind]:
            dropped.append(chain[number])
    return dropped
