r"""Integers and plain fractions, compared exactly and without a worker.

Math-Verify reads ``12``, ``-3/7`` and ``\frac{3}{7}`` as exact rational numbers and compares two of them by value, so
for these, and only these, comparing fractions gives its verdict.
"""

import re
from fractions import Fraction

# Short enough that nothing about the size of the number can matter.
_INTEGER = r"-?(?:0|[1-9][0-9]{0,14})"
_NATURAL = r"[1-9][0-9]{0,14}"
_NUMBER = re.compile(
    rf"(?P<integer>{_INTEGER})"
    rf"|(?P<over>{_INTEGER})/(?P<under>{_NATURAL})"
    rf"|(?P<sign>-?)\\[dt]?frac\{{(?P<top>{_INTEGER})\}}\{{(?P<bottom>{_NATURAL})\}}"
)


def exact_number(text: str) -> Fraction | None:
    """The value of an answer that is an integer or a plain fraction, with or without dollars. None for others."""
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] == "$":
        stripped = stripped[1:-1].strip()
    if len(stripped) > 60:
        return None
    match = _NUMBER.fullmatch(stripped)
    if match is None:
        return None
    if match["integer"]:
        return Fraction(int(match["integer"]))
    if match["over"]:
        return Fraction(int(match["over"]), int(match["under"]))
    value = Fraction(int(match["top"]), int(match["bottom"]))
    return -value if match["sign"] else value
