"""Formulas and numbers found in a text with Math-Verify's patterns and read. Loaded by workers alone.

What is found is ranked as Math-Verify ranks it: by how it is announced, then by how far right it ends. A number or a
part inside a formula that cannot be read is no answer.
"""

import re
from itertools import groupby
from typing import Any

from latex2sympy2_extended.latex2sympy2 import convert_to_pct
from latex2sympy2_extended.sets import FiniteSet
from math_verify import ExprExtractionConfig, LatexExtractionConfig
from math_verify.parser import extract_expr, get_extraction_regexes
from sympy import Rational, Tuple  # type: ignore[import-untyped]

from unsqueeze.verify.job import Where
from unsqueeze.verify.reading import Reading, read_boxed
from unsqueeze.verify.units import Quantity, canonical_unit

_MIXED = re.compile(r"(-?)(\d{1,9})\s+(\d{1,6})\s*/\s*(\d{1,6})\s*")
# A number that goes on in LaTeX or Unicode is a part of a formula.
_GOES_ON = re.compile(r"\s?(?:\\(?:pi|sqrt|frac|cdot|times)|[π√^])")
_UNIT_WORDS = re.compile(r"\s?([A-Za-z]{2,}(?:/[A-Za-z]+(?:\^\d)?)?)(?:\s(?:per\s)?[A-Za-z]+)?")
_MAX_UNIT = 40
_NEXT_GROUPS = tuple(f"next{place}_" for place in range(1, 6))
Patterns = list[tuple[int, list[tuple[Any, bool]]]]


def patterns_of(where: Where) -> Patterns:
    """Math-Verify's patterns by their rank, each with whether it finds LaTeX."""
    anywhere = where != "final_answer"
    latex = LatexExtractionConfig(try_extract_without_anchor=anywhere)
    expression = ExprExtractionConfig(try_extract_without_anchor=anywhere)
    ranked = []
    for patterns, config in get_extraction_regexes([latex, expression]):
        for pattern, rank in patterns:
            if where != "box" or "first_latexBoxed>" in pattern.pattern:
                ranked.append((rank, pattern, isinstance(config, LatexExtractionConfig)))
    ranked.sort(key=lambda entry: entry[0])
    return [(rank, [entry[1:] for entry in group]) for rank, group in groupby(ranked, key=lambda entry: entry[0])]


def find(text: str, patterns: Patterns, *, spaced: bool) -> Reading | None:
    """The formula or number that ranks first among those that can be read; else the first text. None: nothing there."""
    unreadable: list[tuple[int, int]] = []
    fallback: Reading | None = None
    for _, group in patterns:
        matches = [(match, is_latex) for pattern, is_latex in group for match in pattern.finditer(text)]
        matches.sort(key=lambda found: (found[0].end(), -found[0].start()), reverse=True)
        for match, is_latex in matches:
            if any(start < match.end() <= end for start, end in unreadable):
                continue
            reading = _read_latex(match, spaced) if is_latex else _read_expression(match)
            if reading.expression is not None:
                return reading
            if is_latex:
                unreadable.append(match.span())
            if fallback is None and reading.text:
                fallback = reading
    return fallback


def _read_expression(match: re.Match[str]) -> Reading:
    expression, text = extract_expr(match)
    rest = match.string[match.end() : match.end() + _MAX_UNIT]
    if expression is not None and _GOES_ON.match(rest):
        return Reading(None, "")
    if expression is None and (mixed := _MIXED.fullmatch(text.strip().rstrip(")"))) and int(mixed[4]):
        value = int(mixed[2]) + Rational(int(mixed[3]), int(mixed[4]))
        return Reading(-value if mixed[1] else value, text)
    return Reading(expression, text, _with_unit(text, rest))


def _with_unit(value: str, rest: str) -> Quantity | None:
    """The number with the unit of measure that follows it in prose (``15 hours``). None where none does."""
    words = _UNIT_WORDS.match(rest)
    for text in (words[0], words[1]) if words else ():
        unit = canonical_unit(text.strip())
        if unit is not None and unit[1]:
            return Quantity(value, *unit)
    return None


def _read_latex(match: re.Match[str], spaced: bool) -> Reading:
    groups = match.groupdict()
    readings = []
    for prefix in ("first_", *_NEXT_GROUPS):
        found = next(
            ((name, value) for name, value in groups.items() if name.startswith(f"{prefix}latex") and value), None
        )
        if found is None:
            continue
        name, latex = found
        reading = read_boxed(latex, "last" if name.endswith("latexBoxed") else "all", spaced=spaced)
        if groups.get(f"{prefix}percent") and reading.expression is not None:
            reading = Reading(convert_to_pct(reading.expression), reading.text, reading.quantity)
        readings.append(reading)
    if not readings:
        return Reading(None, "")
    if len(readings) == 1 or any(reading.expression is None for reading in readings):
        return readings[0]
    elements: list[Any] = []
    for reading in readings:
        is_set = isinstance(reading.expression, FiniteSet) and not isinstance(reading.expression, Tuple)
        elements.extend(reading.expression.args if is_set else [reading.expression])
    return Reading(FiniteSet(*elements), " and ".join(reading.text for reading in readings))
