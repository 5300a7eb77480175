"""An answer graded against a gold answer, as a worker does it: no time limits of its own, no exception lost.

Nothing but a worker imports this module: it loads sympy and Math-Verify.
"""

import re
from functools import lru_cache
from typing import Any

from math_verify import verify
from sympy import Basic, MatrixBase, Tuple  # type: ignore[import-untyped]

from unsqueeze.verify.comparing import comparing_strictly, contradicts_itself
from unsqueeze.verify.confine import confine
from unsqueeze.verify.finding import find, patterns_of
from unsqueeze.verify.job import SAME_UNREADABLE, UNREADABLE_GOLD, Grade, Where
from unsqueeze.verify.reading import (
    Reading,
    in_order_of_units,
    in_unit_of,
    literal,
    with_decimal_comma,
    with_imaginary_unit,
    with_unit_of,
)
from unsqueeze.verify.relations import same_numbers
from unsqueeze.verify.special import special_verdict
from unsqueeze.verify.units import units_conflict

_MAX_EXTRACTED = 500
_MAX_LITERAL = 2000


class Grader:
    """Reads gold answers once each and grades answers against them."""

    def __init__(self) -> None:
        places: tuple[Where, ...] = ("anywhere", "final_answer", "box")
        self._patterns = {where: patterns_of(where) for where in places}
        self._read_gold = lru_cache(maxsize=4096)(self._read_gold_anywhere)

    def begin(self) -> None:
        """In the worker, before its first job."""
        confine()

    def _read(self, text: str, where: Where, *, spaced: bool = False) -> Reading | None:
        """Return what is read; as in Math-Verify, an error in reading means that nothing was found."""
        try:
            return find(text, self._patterns[where], spaced=spaced)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - Math-Verify's own rule
            return None

    def _read_gold_anywhere(self, gold: str) -> Reading | None:
        return self._read(gold, "anywhere", spaced=True)

    def grade(self, gold: str, text: str, where: Where) -> Grade:
        """The verdict on ``text`` against ``gold``, with what was read. Raises MemoryError."""
        reference = self._read_gold(gold)
        numeric = reference is not None and _is_number(reference.expression)
        given = self._read(text, where, spaced=numeric)
        extracted = given.text[:_MAX_EXTRACTED] if given and given.text else None
        parsed = given is not None and _is_mathematics(given.expression)
        if reference is None or not _is_mathematics(reference.expression):
            if gold == text or (given is not None and reference is not None and _same_literally(reference, given)):
                return Grade("correct", parsed, extracted, SAME_UNREADABLE)
            return Grade("unreadable_gold", parsed, extracted, UNREADABLE_GOLD)
        if given is None:
            return Grade("unparsable", False, None, "no answer was found in the response")
        if _same_text(reference, given):
            return Grade("correct", parsed, extracted, "the same text as the gold answer")
        if not parsed:
            return Grade("unparsable", False, extracted, "the answer cannot be read as mathematics")
        given = in_unit_of(reference, given)
        if _other_units(reference, given):
            return Grade("wrong", True, extracted, "another unit than the gold answer")
        if contradicts_itself(given.expression) and not contradicts_itself(reference.expression):
            return Grade("wrong", True, extracted, "an equation between different numbers")
        given = with_decimal_comma(reference, with_unit_of(reference, given))
        special = special_verdict(reference, given)
        if special is not None:
            return Grade("correct" if special else "wrong", True, extracted, "read by its form")
        given = in_order_of_units(reference, given)
        if any(same(reference, given) for same in (_equal, same_numbers, _equal_as_complex, _equal_as_vector)):
            return Grade("correct", True, extracted, "equal to the gold answer")
        return Grade("wrong", True, extracted, "not equal to the gold answer")


def _equal_as_vector(reference: Reading, given: Reading) -> bool:
    """Tell whether one is a column and the other a tuple, of the same values in the same order."""
    columns = [_column(reading.expression) for reading in (reference, given)]
    if (columns[0] is None) == (columns[1] is None):
        return False
    sides = [
        reading if column is None else Reading(column, reading.text)
        for reading, column in zip((reference, given), columns, strict=True)
    ]
    return _equal(sides[0], sides[1])


def _column(expression: Any) -> Any:
    is_one = isinstance(expression, MatrixBase) and expression.shape[1] == 1 < expression.shape[0]
    return Tuple(*expression) if is_one else None


def _equal(reference: Reading, given: Reading) -> bool:
    is_builder = "\\{" in reference.text and re.search(r"\\mid|\||:", reference.text) is not None
    with comparing_strictly():
        return bool(
            verify(
                [reference.expression],
                [given.expression],
                allow_set_relation_comp=is_builder,
                timeout_seconds=None,
            )
        )


def _equal_as_complex(reference: Reading, given: Reading) -> bool:
    """Tell whether both are equal with i the imaginary unit, which Math-Verify reads as a symbol like any other."""
    sides = [with_imaginary_unit(reading) for reading in (reference, given)]
    if sides[0] is None or sides[1] is None or sides == [reference, given]:
        return False
    return _equal(sides[0], sides[1])


def _other_units(reference: Reading, given: Reading) -> bool:
    if reference.quantity and given.quantity:
        return units_conflict(reference.quantity, given.quantity)
    pairs = zip(reference.parts, in_order_of_units(reference, given).parts, strict=False)
    return any(units_conflict(gold, other) for gold, other in pairs)


def _is_mathematics(expression: Any) -> bool:
    return isinstance(expression, Basic | MatrixBase)


def _is_number(expression: Any) -> bool:
    return (
        isinstance(expression, Basic) and not expression.free_symbols and bool(getattr(expression, "is_number", False))
    )


def _same_literally(reference: Reading, given: Reading) -> bool:
    one, other = literal(reference), literal(given)
    return bool(one) and one == other


def _same_text(reference: Reading, given: Reading) -> bool:
    one, other = (" ".join(reading.text.split()) for reading in (reference, given))
    return bool(one) and one == other and len(one) <= _MAX_LITERAL
