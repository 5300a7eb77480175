r"""Formulas read with Math-Verify's grammar. Loaded by workers alone, like everything that imports sympy.

It differs from ``math_verify.parse`` in what is read, not in how: capital and small letters are different symbols,
numbers and Unicode are brought into the grammar's spelling first, a unit is parted from its value rather than dropped,
and what the grammar has no rule for (congruences, cases, bases, …) is read in parts.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from latex2sympy2_extended.latex2sympy2 import ConversionConfig, convert_to_pct, latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, extract_boxed_content, normalize_latex
from latex2sympy2_extended.sets import FiniteSet
from math_verify.grader import should_treat_as_complex
from math_verify.parser import get_last_eq
from sympy import Expr, I, Integer, Number, Rational, Tuple, pi  # type: ignore[import-untyped]

from unsqueeze.verify.brackets import without_doubled_brackets
from unsqueeze.verify.normalise import formula, without_delimiters
from unsqueeze.verify.sizes import ratio_of_units
from unsqueeze.verify.structures import in_parts, quantities, simplest
from unsqueeze.verify.two_stages import parsing_in_two_stages
from unsqueeze.verify.units import Quantity, split_unit

_NORMALIZATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
_CASE_MATTERS = ConversionConfig(lowercase_symbols=False)
_PERCENTAGE = re.compile(r"(.*[^\\\s])\s*\\?%", re.DOTALL)
_LETTERS_AFTER_DIGIT = re.compile(r"(\d)([A-Za-z]{1,2})$")
_DECIMAL_COMMA = re.compile(r"([-+]?\d{1,12}),(\d{1,2}|\d{4,12})")
_OF_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(
    r"(\d+(?:\.\d+)?|(?<![A-Za-z])[a-z]|\\(?:alpha|beta|gamma|theta|phi))\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))"
)
_COUNTED = frozenset("jkmn")
_MAX_FORMULA = 20_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A formula: its expression (None where it cannot be read), its text, and its value and unit.

    ``parts`` are the values and units of a list, where its parts have units.
    """

    expression: Any
    text: str
    quantity: Quantity | None = None
    parts: tuple[Quantity, ...] = ()


def read_formula(latex: str, *, spaced: bool = False) -> Reading:
    r"""The expression of a formula, as it stands between dollars or in a box. ``spaced``: see ``split_unit``."""
    text = without_doubled_brackets(formula(without_delimiters(latex)))
    if len(text) > _MAX_FORMULA:
        return Reading(None, text)
    text = simplest(text)
    if "\\circ" in text and _OF_ANGLE.search(text):
        text = _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    parts = quantities(text, spaced=spaced)
    if parts and (listed := _read_parts(text, parts)) is not None:
        return listed
    quantity = split_unit(text, spaced=spaced)
    expression = in_parts(quantity.value, parse)
    if expression is None and (percentage := _PERCENTAGE.fullmatch(text)):
        value = parse(percentage[1])
        expression = None if value is None else convert_to_pct(value)
    if expression is None and quantity.value != text:
        quantity = Quantity(text)
        expression = in_parts(text, parse)
    return Reading(expression, text, quantity)


def _read_parts(text: str, parts: list[Quantity]) -> Reading | None:
    """A list of values with units: in their order, unless all units are the same."""
    values = [parse(part.value) for part in parts]
    if any(value is None for value in values):
        return None
    units = {part.unit for part in parts if part.unit}
    make = Tuple if len(units) > 1 else FiniteSet
    return Reading(make(*values), text, parts=tuple(parts))


def read_boxed(latex: str, mode: str, *, spaced: bool = False) -> Reading:
    """Read a text with boxes in the same way: ``all`` of them, or the ``last`` ones."""
    return read_formula(extract_boxed_content(latex, mode=mode), spaced=spaced)


@lru_cache(maxsize=64)
def parse(latex: str) -> Any:
    """The expression of LaTeX that is in the grammar's spelling. None where it cannot be read. Raises MemoryError."""
    normal = normalize_latex(latex, _NORMALIZATION)
    for text in dict.fromkeys((normal, get_last_eq(normal))):
        try:
            with parsing_in_two_stages():
                return latex2sympy(
                    text,
                    is_real=not should_treat_as_complex(text),
                    convert_degrees=False,
                    normalization_config=None,
                    conversion_config=_CASE_MATTERS,
                )
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the grammar's error listener raises nothing more special
            continue
    return None


def in_order_of_units(reference: Reading, given: Reading) -> Reading:
    """A list of values with the units of the reference, in its order; any other reading as it is."""
    units = [part.unit for part in reference.parts]
    if len(set(units)) < 2 or len(set(units)) != len(units) or {part.unit for part in given.parts} != set(units):
        return given
    ordered = sorted(given.parts, key=lambda part: units.index(part.unit))
    return _read_parts(given.text, ordered) or given


def literal(reading: Reading) -> str:
    """The text of a formula that cannot be read, to be compared as it stands: without spaces, spelled in one way."""
    return "".join(normalize_latex(reading.text, _NORMALIZATION).split())


def with_unit_of(reference: Reading, given: Reading) -> Reading:
    """A number right before the unit of the reference (``5m`` against ``5 m``), read as such; else as it is."""
    if reference.quantity is None or not reference.quantity.unit or given.quantity is None or given.quantity.unit:
        return given
    apart = split_unit(_LETTERS_AFTER_DIGIT.sub(r"\1 \2", given.text), spaced=True)
    return Reading(parse(apart.value), given.text, apart) if apart.unit == reference.quantity.unit else given


def in_unit_of(reference: Reading, given: Reading) -> Reading:
    """The value in the unit of the reference, where that is another one of the same kind; else the reading as it is.

    An angle without a unit is one in radians where it is a multiple of pi.
    """
    value = given.expression
    if reference.quantity is None or given.quantity is None or not isinstance(value, Expr) or value.free_symbols:
        return given
    gold_unit, unit = reference.quantity.unit, given.quantity.unit
    if gold_unit == "degree" and (unit == "radian" or (unit is None and value.has(pi))):
        factor = 180 / pi
    elif unit == "degree" and (gold_unit == "radian" or (gold_unit is None and reference.expression.has(pi))):
        factor = pi / 180
    elif gold_unit and unit and gold_unit != unit and (ratio := ratio_of_units(unit, gold_unit)) is not None:
        factor = Rational(ratio.numerator, ratio.denominator)
    else:
        return given
    return Reading(value.doit() * factor, given.text, Quantity(given.quantity.value, gold_unit, True))


def with_imaginary_unit(reading: Reading) -> Reading | None:
    """The symbol i as the imaginary unit. None where there is none, or others beside it count something as it may."""
    symbols: set[Any] = getattr(reading.expression, "free_symbols", set())
    if not _COUNTED.isdisjoint(symbol.name for symbol in symbols):
        return None
    units = [symbol for symbol in symbols if symbol.name == "i"]
    return Reading(reading.expression.xreplace(dict.fromkeys(units, I)), reading.text) if units else reading


def with_decimal_comma(reference: Reading, given: Reading) -> Reading:
    """``2,74`` as a decimal, where the reference is a number that is not whole; else as it is."""
    match = _DECIMAL_COMMA.fullmatch(given.text)
    number = reference.expression
    if match is None or not isinstance(number, Number) or isinstance(number, Integer):
        return given
    return Reading(parse(f"{match[1]}.{match[2]}"), given.text, given.quantity)
