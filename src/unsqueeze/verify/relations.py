r"""Inequalities, and the sets of numbers that they describe: ``5 > x > 3`` is ``3 < x < 5`` and ``(3, 5)``.

Nothing is solved: one side of each inequality is a symbol and the other a real number, or both sides are compared as
they stand. Loaded by workers alone.
"""

import re
from dataclasses import dataclass
from typing import Any

from sympy import (  # type: ignore[import-untyped]
    And,
    Complement,
    EmptySet,
    FiniteSet,
    Float,
    Intersection,
    Interval,
    Rational,
    Reals,
    Set,
    Symbol,
    Union,
    oo,
)
from sympy.core.relational import (  # type: ignore[import-untyped]
    Equality,
    GreaterThan,
    LessThan,
    Relational,
    StrictGreaterThan,
    StrictLessThan,
    Unequality,
)

from unsqueeze.verify.reading import Reading

_OR = re.compile(r"(?<![A-Za-z\\])or(?![A-Za-z])|\\lor(?![a-z])|\\vee(?![a-z])|\\cup(?![a-z])")
_TURNED = {StrictGreaterThan: StrictLessThan, GreaterThan: LessThan}
_MAX_PARTS = 20


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Real numbers, and the name of the variable that takes them, where it is named."""

    values: Any
    name: str | None
    from_relation: bool


def same_numbers(reference: Reading, given: Reading) -> bool:
    """Tell whether two answers, at least one of them in inequalities, say the same of the same variable."""
    expressions = (reference.expression, given.expression)
    if not any(_has_relation(expression) for expression in expressions):
        return False
    chains = [_chain(expression) for expression in expressions]
    if chains[0] and chains[0] == chains[1]:
        return True
    try:
        one, other = (_numbers(reading.expression, bool(_OR.search(reading.text))) for reading in (reference, given))
    except (TypeError, ValueError, NotImplementedError):  # endpoints that sympy cannot put in order
        return False
    if one is None or other is None or not (one.from_relation or other.from_relation):
        return False
    if one.name and other.name and one.name != other.name:
        return False
    return bool(one.values == other.values)


def _has_relation(expression: Any) -> bool:
    if isinstance(expression, FiniteSet):
        return any(_has_relation(part) for part in expression.args)
    return isinstance(expression, And | Relational)


def _chain(expression: Any) -> frozenset[tuple[Any, ...]] | None:
    """The inequalities of a chain, each from small to large."""
    if not isinstance(expression, And):
        return None
    turned = []
    for part in expression.args:
        kind = _TURNED.get(type(part))
        if kind is None and not isinstance(part, StrictLessThan | LessThan):
            return None
        turned.append((kind, part.rhs, part.lhs) if kind else (type(part), part.lhs, part.rhs))
    return frozenset(turned)


def _numbers(expression: Any, is_or: bool) -> _Numbers | None:
    if isinstance(expression, Equality):
        named = isinstance(expression.lhs, Symbol) and isinstance(expression.rhs, Set)
        inner = _numbers(expression.rhs, is_or) if named else None
        return None if inner is None else _Numbers(inner.values, expression.lhs.name, False)
    if isinstance(expression, Relational):
        return _half_line(expression)
    if isinstance(expression, And):
        return _joined([_numbers(part, is_or) for part in expression.args], is_or=False)
    if isinstance(expression, FiniteSet) and _has_relation(expression):
        return _joined([_numbers(part, is_or) for part in expression.args], is_or=is_or)
    if isinstance(expression, Interval | Union | Complement) or expression in (EmptySet, Reals):
        return _Numbers(_exact(expression), None, False)
    return None


def _joined(parts: list[_Numbers | None], *, is_or: bool) -> _Numbers | None:
    """The numbers of several inequalities: of all of them at once, but of any where that is said, or none is in all."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not 0 < len(parts) <= _MAX_PARTS or len({part.name for part in known}) > 1:
        return None
    sets = [part.values for part in known]
    values = Union(*sets) if is_or else Intersection(*sets)
    return _Numbers(Union(*sets) if values is EmptySet else values, known[0].name, True)


def _half_line(relation: Any) -> _Numbers | None:
    left, right, kind = relation.lhs, relation.rhs, type(relation)
    if isinstance(right, Symbol):
        kinds = {StrictGreaterThan: StrictLessThan, StrictLessThan: StrictGreaterThan}
        kinds |= {GreaterThan: LessThan, LessThan: GreaterThan}
        left, right, kind = right, left, kinds.get(kind, kind)
    if not isinstance(left, Symbol) or getattr(right, "free_symbols", True) or not right.is_number:
        return None
    bound = _exact(right.doit())
    if not bound.is_extended_real:
        return None
    values = {
        StrictGreaterThan: Interval.open(bound, oo),
        GreaterThan: Interval(bound, oo),
        StrictLessThan: Interval.open(-oo, bound),
        LessThan: Interval(-oo, bound),
        Unequality: Union(Interval.open(-oo, bound), Interval.open(bound, oo)),
    }.get(kind)
    return None if values is None else _Numbers(values, left.name, True)


def _exact(expression: Any) -> Any:
    """The expression with its decimals as fractions; a set without a part of the real numbers, as intervals."""
    exact = expression.xreplace({number: Rational(str(number)) for number in expression.atoms(Float)})
    if isinstance(exact, Complement) and exact.args[0] is Reals and isinstance(exact.args[1], FiniteSet):
        return Complement(Interval(-oo, oo), exact.args[1])
    return Interval(-oo, oo) if exact is Reals else exact.doit() if isinstance(exact, Set) else exact
