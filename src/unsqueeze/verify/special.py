"""Forms whose value is not what they mean: times of day, and numbers in a base that one side leaves out."""

import re
from math import gcd
from typing import Any

from sympy import Integer, Symbol, Tuple  # type: ignore[import-untyped]

from unsqueeze.verify.reading import Reading

_TIME = re.compile(
    r"(\d{1,2}):(\d\d)(?::(\d\d))?(?:\s|\\[,; ])*(?:\\text\s*\{)?\s*([ap])?\.?\s?(?:m\.?)?\s*\}?", re.IGNORECASE
)
_DIGITS = re.compile(r"[0-9A-Fa-f]+")


def special_verdict(reference: Reading, given: Reading) -> bool | None:
    """Tell whether two times, or two numbers of which one names its base, are the same. None where they are neither."""
    times = [_time(reading.text) for reading in (reference, given)]
    if times[0] and times[1]:
        one, other = times[0], times[1]
        return _same_time(one, other)
    if times[0] and (times[0][3] or gcd(*times[0][:2]) > 1) and ":" in given.text:
        return False  # a ratio is given in lowest terms, so that the gold answer is a time
    congruences = [_congruence(reading.expression) for reading in (reference, given)]
    if congruences[0] and congruences[1] and Symbol("anything") in (congruences[0][0], congruences[1][0]):
        return congruences[0][1:] == congruences[1][1:]
    bases = [_based(reading.expression) for reading in (reference, given)]
    if bases[0] and bases[1]:
        return int(bases[0][0], bases[0][1]) == int(bases[1][0], bases[1][1])
    if bases[0] or bases[1]:
        digits, _ = bases[0] or bases[1] or ("", 0)
        plain = (given if bases[0] else reference).text.strip()
        return _DIGITS.fullmatch(plain) is not None and plain.upper().lstrip("0") == digits.lstrip("0")
    return None


def _congruence(expression: Any) -> tuple[Any, ...] | None:
    """What is congruent, to what, and the modulus."""
    is_one = isinstance(expression, Tuple) and len(expression) == 4 and expression[0] == Symbol("congruence")
    return tuple(expression)[1:] if is_one else None


def _same_time(one: tuple[int, int, int, str | None], other: tuple[int, int, int, str | None]) -> bool:
    """Tell whether two times are the same, where one may leave out which half of the day it means."""
    if one[3] and other[3] is None:
        one, other = other, one
    if other[3] and one[0] > 12:
        one = (one[0] - 12, one[1], one[2], "p")
    return one[:3] == other[:3] and (one[3] is None or other[3] is None or one[3] == other[3])


def _time(text: str) -> tuple[int, int, int, str | None] | None:
    match = _TIME.fullmatch(text.strip())
    if match is None or int(match[1]) > 24 or int(match[2]) > 59:
        return None
    return int(match[1]), int(match[2]), int(match[3] or 0), match[4] and match[4].lower()


def _based(expression: Any) -> tuple[str, int] | None:
    if isinstance(expression, Tuple) and len(expression) == 3 and expression[0] == Symbol("base"):
        assert isinstance(expression[2], Integer)
        return expression[1].name, int(expression[2])
    return None
