r"""Two expressions compared as Math-Verify compares them, but for what it takes for equal and is not.

Numbers are compared by relative distance, not to six decimals (1.6e-19 is not 9.1e-31); capital and small symbols are
different; a product of symbols is no word; an equation between different numbers is no answer. Loaded by workers alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import math_verify.grader as grader
from latex2sympy2_extended.symbols import GREEK_LETTER_MAP
from sympy import E, Float, Integer, MatrixBase, MatrixExpr, Mul, Number, Rational, Symbol  # type: ignore[import-untyped]
from sympy.core.relational import Equality  # type: ignore[import-untyped]

from unsqueeze.verify.unequal import surely_unequal, without_needless_simplification

_GREEK = frozenset(GREEK_LETTER_MAP.values())
_DIGITS = 30
_ROUNDED = 2e-6
"""A decimal stands for an exact value that it is so near to, relatively; with six decimals, a little further."""
_ROUNDED_AT_SIX_DECIMALS = (5.01e-7, 1e-5)
_SAME_DECIMAL = 1e-14
_SAME_EXACT = 1e-20
_MAX_TERMINATING = 10**12


def numbers_equal(first: Any, second: Any, float_rounding: int, numeric_precision: int) -> bool:
    """Stands in for ``math_verify.grader.sympy_numeric_eq``, with the same arguments; the last two are not used."""
    if isinstance(first, MatrixBase | MatrixExpr) and isinstance(second, MatrixBase | MatrixExpr):
        first, second = grader.safe_sympy_doit(first), grader.safe_sympy_doit(second)
        if not (isinstance(first, MatrixBase) and isinstance(second, MatrixBase) and first.shape == second.shape):
            return False
        pairs = zip(first.flat(), second.flat(), strict=True)
        return all(numbers_equal(a, b, float_rounding, numeric_precision) for a, b in pairs)
    if _is_percentage(first) != _is_percentage(second):
        values = [grader.get_pct_val(side, side) for side in (first, second)]
        if all(isinstance(value, Integer) or (isinstance(value, Number) and abs(value) > 1) for value in values):
            # the question may ask for percent: 40 and 40 %, 12.5 and 12.5 %
            if numbers_equal(values[0], values[1], float_rounding, numeric_precision):
                return True
            if all(isinstance(value, Integer) for value in values):
                return False
    if surely_unequal(first, second):
        return False  # without evaluating anything exactly, which may take any amount of memory
    first, second = grader.safe_sympy_doit(first), grader.safe_sympy_doit(second)
    if first == second:
        return True
    if getattr(first, "free_symbols", True) or getattr(second, "free_symbols", True):
        return False
    if first.is_Rational and second.is_Rational:
        return False
    values = [_value(first), _value(second)]
    if values[0] is None or values[1] is None:
        return False
    return _near(values[0], values[1], _tolerance(first, second))


def _is_percentage(expression: Any) -> bool:
    return grader.get_pct_val(expression) is not None


def _value(expression: Any) -> Any:
    try:
        value = expression.evalf(_DIGITS)
        real, imaginary = value.as_real_imag()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - no value to be had: nothing is concluded
        return None
    if not (real.is_Float or real.is_Rational) or not (imaginary.is_Float or imaginary.is_Rational):
        return None
    return real, imaginary


def _tolerance(first: Any, second: Any) -> tuple[float, tuple[float, float]]:
    """Relative distance that is none; and an absolute one together with the relative one that it is bound to."""
    decimals = [expression.has(Float) for expression in (first, second)]
    if not any(decimals):
        return _SAME_EXACT, (0.0, 0.0)
    other = second if decimals[0] else first
    if all(decimals) or _terminates(other):
        return _SAME_DECIMAL, (0.0, 0.0)
    return _ROUNDED, _ROUNDED_AT_SIX_DECIMALS


def _terminates(expression: Any) -> bool:
    """Tell whether a number is itself a decimal, so that a decimal near it is another one."""
    if not isinstance(expression, Rational):
        return False
    bottom = int(expression.q)
    return _MAX_TERMINATING % bottom == 0 if bottom <= _MAX_TERMINATING else False


def _near(first: Any, second: Any, tolerance: tuple[float, tuple[float, float]]) -> bool:
    relative, (absolute, bound) = tolerance
    size = max(abs(part) for value in (first, second) for part in value)
    distance = max(abs(a - b) for a, b in zip(first, second, strict=True))
    return bool(distance <= relative * size or (distance <= absolute and distance <= bound * size))


def symbols_equal(gold: Any, given: Any) -> bool:
    """Stands in for ``math_verify.grader.sympy_compare_symbols``: names are equal, of words but for capital letters."""
    if isinstance(gold, Mul) and isinstance(given, Symbol) and given.name.isalpha():
        letters = [side.name if isinstance(side, Symbol) else "e" if side == E else "?" for side in gold.args]
        return sorted(letters) == sorted(given.name)  # the gold answer is a product: abc is cab
    names = [side.name if isinstance(side, Symbol) else "e" if side == E else "" for side in (gold, given)]
    if not all(names):
        return False
    if all(len(name) > 1 and name.replace(" ", "").isalpha() and name not in _GREEK for name in names):
        return bool(names[0].lower() == names[1].lower())
    return bool(names[0] == names[1])


def contradicts_itself(expression: Any) -> bool:
    """Tell whether an answer is an equation, or a chain of them, between numbers that differ (``5 = 6``)."""
    relations = getattr(expression, "_unsorted_args", None) or (expression,)
    for relation in relations:
        if isinstance(relation, Equality):
            sides = (relation.lhs, relation.rhs)
            numeric = all(hasattr(side, "free_symbols") and not side.free_symbols and side.is_number for side in sides)
            if numeric and not _about_equal(*sides):
                return True
    return False


def _about_equal(first: Any, second: Any) -> bool:
    values = [_value(grader.safe_sympy_doit(side)) for side in (first, second)]
    return values[0] is None or values[1] is None or _near(values[0], values[1], (0.02, (0.0, 0.0)))


@contextmanager
def comparing_strictly() -> Iterator[None]:
    """Inside, Math-Verify compares numbers and symbols by the rules here, and simplifies only what may be equal."""
    numeric, symbolic = grader.sympy_numeric_eq, grader.sympy_compare_symbols
    grader.sympy_numeric_eq, grader.sympy_compare_symbols = numbers_equal, symbols_equal
    try:
        with without_needless_simplification():
            yield
    finally:
        grader.sympy_numeric_eq, grader.sympy_compare_symbols = numeric, symbolic
