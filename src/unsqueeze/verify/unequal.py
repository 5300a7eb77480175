"""Two expressions whose values differ are not equal: no need to simplify their difference.

Math-Verify's last resort is ``simplify(a - b)``, which takes most of its time and, for a wrong answer, ends in "not
zero". Where both sides have a value at a point that every symbol allows, and the values lie far apart, that end is
known: ``a - b`` is not identically zero. Only that is concluded here; wherever values are close, undefined, or not to
be had cheaply, Math-Verify simplifies as ever. Loaded by workers alone, like everything that imports sympy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import math_verify.grader as grader
from sympy import Derivative, Expr, Integral, Limit, Product, Sum, Symbol  # type: ignore[import-untyped]

# Primes are integers, real, positive and odd: whatever sympy may have been told of a symbol, but for these.
_POINTS = (7, 11, 13, 17, 19, 23, 29, 31)
_EXCLUDED = ("is_even", "is_negative", "is_nonpositive", "is_zero", "is_prime", "is_composite", "is_irrational")
_EXPENSIVE = (Derivative, Integral, Limit, Product, Sum)
_DIGITS = 15
_FAR = 1e-6
_LARGEST = 1e30
_MAX_NODES = 200


def surely_unequal(first: Any, second: Any) -> bool:
    """Tell whether both are numbers, or functions of plain symbols, with values that lie far apart at one point."""
    if not (isinstance(first, Expr) and isinstance(second, Expr)):
        return False
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    if len(symbols) > len(_POINTS) or not all(_takes_any_prime(symbol) for symbol in symbols):
        return False
    if any(_is_expensive(expression) for expression in (first, second)):
        return False
    point = dict(zip(symbols, _POINTS, strict=False))
    values = [_value(expression, point) for expression in (first, second)]
    if values[0] is None or values[1] is None:
        return False
    size = max(abs(values[0]), abs(values[1]), 1.0)
    return size < _LARGEST and abs(values[0] - values[1]) > _FAR * size


def _takes_any_prime(symbol: Any) -> bool:
    plain = isinstance(symbol, Symbol) and bool(symbol.is_commutative)
    return plain and not any(getattr(symbol, name) for name in _EXCLUDED)


def _is_expensive(expression: Any) -> bool:
    return any(count > _MAX_NODES or isinstance(node, _EXPENSIVE) for count, node in enumerate(_nodes(expression)))


def _nodes(expression: Any) -> Iterator[Any]:
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.args)


def _value(expression: Any, point: dict[Any, int]) -> complex | None:
    try:
        value = complex(expression.evalf(_DIGITS, subs=point, maxn=_DIGITS + 15))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - no value to be had, for whatever reason: nothing is concluded
        return None
    return value if value == value else None


@contextmanager
def without_needless_simplification() -> Iterator[None]:
    """Inside, Math-Verify does not simplify a difference that is surely not zero."""
    simplify_difference = grader.sympy_symbolic_eq

    def quick(first: Any, second: Any) -> bool:
        return not surely_unequal(first, second) and bool(simplify_difference(first, second))

    grader.sympy_symbolic_eq = quick
    try:
        yield
    finally:
        grader.sympy_symbolic_eq = simplify_difference
