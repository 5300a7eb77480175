r"""Answers that the LaTeX grammar has no rule for, taken apart as text and read in parts.

Congruences, set builders, cases, lists with dots, numbers in other bases, orders of letters, values "with n = 10": each
becomes a tuple that begins with its name, so that it equals only its like, part by part. Loaded by workers alone.
"""

import re
from collections.abc import Callable
from typing import Any

from sympy import Basic, Expr, FiniteSet, Integer, Mod, Reals, Symbol, Tuple  # type: ignore[import-untyped]
from sympy.core.relational import Relational  # type: ignore[import-untyped]
from sympy.logic.boolalg import Boolean  # type: ignore[import-untyped]

from unsqueeze.verify.texts import NO_SOLUTION, is_word, plain_words
from unsqueeze.verify.units import Quantity, split_unit

Parse = Callable[[str], Any]

_ENVIRONMENT = re.compile(r"\\begin\s*\{(aligned|align\*?|split|gathered|gather\*?)\}(.*?)\\end\s*\{\1\}", re.DOTALL)
_QUANTIFIER = re.compile(
    r",?\s*(?:\\forall|\\text\s*\{\s*,?\s*for (?:all|any|every|each)[^{}]*\}|for (?:all|any|every|each)(?= ))"
    r"(?:\s|,|[A-Za-z]+(?![A-Za-z(])|\\in(?![a-z])|\\mathbb\s*\{?[A-Z]\}?|\\text\s*\{[^{}]*\})*$"
)
_ALL = re.compile(r"^\s*(?:\\text\s*\{\s*(?:all|any|every)(?:\s+(?:real|integers?|numbers?))*\s*\}|all(?= ))\s*")
_TAIL = re.compile(r"(?:\s|\\\\|\\[,;:! ]|(?<!\.)[.;,])+$")
_EMPTY_TEXT = re.compile(r"\\text\s*\{[\s.,;]*\}")
_LEADING = re.compile(r"^\s*(?:=|\\approx(?![a-z])|\\sim(?![a-z])|~|≈)\s*(?=\S)")
_TEXT_OF = re.compile(r"\\text\s*\{([^{}]*)\}")
_REALS, _NONE = r"\mathbb{R}", r"\emptyset"
_IN_WORDS = dict.fromkeys(["all real numbers", "all reals", "all real values", "the set of all real numbers"], _REALS)
_IN_WORDS |= dict.fromkeys(NO_SOLUTION, _NONE)
_INTRODUCTION = re.compile(r"^\\text\s*\{(?![^{}]*(?:\bnot?\b|n't))[^{}]*(?:\b(?:is|are|equals)|:)\s*\}\s*(?=[^\s])")
_DERIVATIVE = re.compile(r"^\\[dt]?frac\s*\{\s*d\s*([A-Za-z])\s*\}\s*\{\s*d\s*[A-Za-z]\s*\}\s*=")
_WHOLE_TEXT = re.compile(r"\\(?:text|mathrm|textbf)\s*\{\s*([-+]?\d[^{}]*)\}")
_PLAIN_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_WORD_ALONE = re.compile(
    r"(?P<group>\\[A-Za-z]+\s*\{[^{}]*\}|\\[A-Za-z]+)|(?P<before>^|[,;{(\[=]\s*)(?P<word>[A-Za-z]{3,})(?=\s*(?:[,;})\]=]|\\\}|$))"
)
_CASES = re.compile(r"^(?P<name>.*?=)?\s*\\begin\s*\{cases\}(?P<rows>.*)\\end\s*\{cases\}\s*$", re.DOTALL)
_CONDITION = re.compile(r"^(?:\\text\s*\{\s*,?\s*(?:if|when|for|where)\s*\}|(?:if|when|for|where)\b)\s*")
_CONGRUENCE = re.compile(
    r"^(?:(?P<left>.+?)(?:\\equiv|=|\\in))?\s*(?P<residue>.+?)\s*(?:\\pmod|\(\s*\\?b?mod|\\bmod|\\mod|(?<![A-Za-z\\])mod)"
    r"(?![a-z])\s*(?P<modulus>[^()=]+?)\s*\)?\s*$"
)
_BUILDER = re.compile(
    r"^(?:[A-Za-z]\s*=\s*)?\\\{(?P<element>[^|:]+?)(?:\\mid(?![a-z])|\\vert(?![a-z])|\||:)(?P<condition>.+)\\\}$"
)
_DOTS = re.compile(r"\\[lc]?dots(?:[a-z](?![a-z]))?(?![A-Za-z])|\.\.\.")
_BASE = re.compile(
    r"^\(?(?P<digits>\d[0-9A-Fa-f]*|[0-9A-F]{2,}(?=\)?_\{?16))\)?_\s*\{?\s*"
    r"(?:\\text\s*\{\s*base\s*\}\s*)?(?P<base>\d{1,2})\s*\}?$"
)
_BASE_NAMES_TEXT = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_BASE_NAMES = _BASE_NAMES_TEXT.split()
_DIGITS_IN_TEXT = re.compile(r"^\\(?:text|mathrm)\s*\{\s*([0-9A-F]+)\s*\}(?=_)")
_BASE_IN_WORDS = re.compile(
    rf"(?<=[0-9A-Fa-f)])\s*(?:_\s*\{{?\s*)?\\text\s*\{{\s*\(?\s*(?:(?P<base>(?:in\s+)?base[\s-]*))?"
    rf"(?P<number>\d{{1,2}}|{'|'.join(_BASE_NAMES)})\s*\)?\s*\}}\s*\}}?$"
)
_WITH = re.compile(
    r"^(?P<value>.+?)(?:,?\s*\\text\s*\{\s*,?\s*(?:with|where|for|when|at)\s*\}|,?\s+(?:with|where)\s)\s*"
    r"(?P<name>[A-Za-z])\s*=\s*(?P<number>-?\d{1,12}(?:\.\d{1,12})?)$"
)
_ORDER = re.compile(r"^[A-Z](?:\s*,\s*[A-Z]){2,}$")
_AND = re.compile(r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
_TEXT_WITH_AND = re.compile(r"\\text\s*\{([^{}]*?)\b(and|or)\b([^{}]*)\}")
_CLOSE = 0.02


def simplest(text: str) -> str:
    """A formula without alignment, "for all x" and closing marks, its single words marked as texts."""
    text = _ENVIRONMENT.sub(
        lambda env: re.sub(r"\\\\(?:\[[^\]]*\])?", ", ", env[2].replace("&", " ")).strip(" ,"), text
    )
    text = _TAIL.sub("", _EMPTY_TEXT.sub("", text))
    text = _IN_WORDS.get(" ".join(_TEXT_OF.sub(r" \1 ", text).lower().split()).strip(" ."), text)
    text = _LEADING.sub("", text)
    if whole := _WHOLE_TEXT.fullmatch(text):
        text = whole[1]
    text = _INTRODUCTION.sub("", _DERIVATIVE.sub(r"\1_{prime} =", text))
    shorter = _QUANTIFIER.sub("", text)
    text = _ALL.sub("", shorter) if shorter.strip() else text
    text = _TEXT_WITH_AND.sub(_connected, text)
    text = _DIGITS_IN_TEXT.sub(r"\1", text)
    text = _BASE_IN_WORDS.sub(_base_in_digits, text)
    text = _PLAIN_PI.sub(r"\\pi ", text)
    return _WORD_ALONE.sub(_as_text, text)


def _connected(match: re.Match[str]) -> str:
    """``\\text{red and blue}`` with its connective outside, where parts are split."""
    left, right = (rf"\text{{{side}}}" if side.strip() else " " for side in (match[1], match[3]))
    return f"{left} {match[2]} {right}"


def _base_in_digits(match: re.Match[str]) -> str:
    """``_8`` for ``_{\\text{eight}}`` and ``\\text{ (base 8)}``; a number without "base" counts only as an index."""
    if match["base"] is None and "_" not in match[0].split("\\text")[0]:
        return match[0]
    name = match["number"]
    return f"_{{{name if name.isdigit() else _BASE_NAMES.index(name) + 2}}}"


def _as_text(match: re.Match[str]) -> str:
    if match["group"] or not is_word(match["word"]):
        return match[0]
    return rf"{match['before']}\text{{{match['word']}}}"


def split_list(text: str) -> list[str]:
    r"""The parts of a list: between commas, semicolons, "and", "or" that stand in no bracket."""
    text = _AND.sub(", ", text)
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in "({[":
            depth += 1
        elif character in ")}]":
            depth -= 1
        elif character in ",;" and depth == 0 and not (place and text[place - 1] == "\\"):
            parts.append(text[start:place].strip())
            start = place + 1
    return [part for part in (*parts, text[start:].strip()) if part]


def quantities(text: str, *, spaced: bool) -> list[Quantity]:
    """The parts of a list whose parts have units. Empty for any other text."""
    if not re.search("[,;]|and|or", text) or _DOTS.search(text):
        return []
    parts = [split_unit(part, spaced=spaced) for part in split_list(text)]
    return parts if len(parts) > 1 and any(part.unit for part in parts) else []


def in_parts(text: str, parse: Parse) -> Any:
    """The expression of a formula: of its parts, where its structure is one of those known here. None: unreadable."""
    for pattern, read in (
        (_CASES, _cases),
        (_BASE, _base),
        (_WITH, _with_value),
        (_CONGRUENCE, _congruence),
        (_BUILDER, _set_builder),
        (_ORDER, _order),
    ):
        match = pattern.search(text)
        if match:
            expression = read(match, parse)
            if expression is not None or pattern is _BASE:
                return expression
    if _DOTS.search(text):
        return _dots(text, parse)
    if "\\approx" in text and "=" not in text:
        return _approximation(text, parse)
    return parse(text)


def _named(name: str, *parts: Any) -> Any:
    return None if any(part is None for part in parts) else Tuple(Symbol(name), *parts)


def _words(text: str) -> Any:
    return Symbol("text " + plain_words(text))


def _cases(match: re.Match[str], parse: Parse) -> Any:
    rows = []
    for row in re.split(r"\\\\(?:\[[^\]]*\])?", match["rows"]):
        value, separator, condition = row.partition("&")
        if not separator and not value.strip():
            continue
        condition = _CONDITION.sub("", condition.strip())
        relation = None if re.search(r"\\text|[A-Za-z]{3}", condition) else parse(condition)
        rows.append(_named("row", parse(value.strip(" ,")), _words(condition) if relation is None else relation))
    if not rows or any(row is None for row in rows):
        return None
    return Tuple(Symbol("cases"), *sorted(rows, key=lambda row: str(row[2])))


def _base(match: re.Match[str], parse: Parse) -> Any:
    base = int(match["base"])
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in match["digits"]):
        return None
    return Tuple(Symbol("base"), Symbol(match["digits"].upper()), Integer(base))


def _with_value(match: re.Match[str], parse: Parse) -> Any:
    value, number = parse(match["value"]), parse(match["number"])
    if not isinstance(value, Expr) or number is None:
        return None
    names = [symbol for symbol in value.free_symbols if symbol.name == match["name"]]
    return value.subs(names[0], number) if names else None


def _congruence(match: re.Match[str], parse: Parse) -> Any:
    modulus = parse(match["modulus"].strip(" {}"))
    residue = parse(match["residue"])
    if modulus is None or residue is None:
        return None
    if isinstance(modulus, Integer) and modulus > 0:
        if isinstance(residue, Integer):
            residue = Mod(residue, modulus)
        elif isinstance(residue, FiniteSet) and all(isinstance(value, Integer) for value in residue.args):
            residue = FiniteSet(*(Mod(value, modulus) for value in residue.args))
    left = parse(match["left"]) if match["left"] else Symbol("anything")
    return _named("congruence", left, residue, modulus)


def _set_builder(match: re.Match[str], parse: Parse) -> Any:
    element, condition = match["element"].strip(), match["condition"].strip()
    name, _, domain = element.partition("\\in")
    symbol, relation = parse(name), None if re.search(r"\\text", condition) else parse(condition)
    domain_set = parse(domain) if domain.strip() else Reals
    if isinstance(relation, Relational | Boolean) and domain_set == Reals and relation.free_symbols == {symbol}:
        try:
            return relation.as_set()
        except Exception:  # noqa: BLE001 - sympy cannot solve it: compared as it is written
            pass
    return _named("set builder", symbol, domain_set, _words(condition) if relation is None else relation)


def _order(match: re.Match[str], parse: Parse) -> Any:
    return Tuple(Symbol("order"), *(Symbol(letter) for letter in match[0] if letter.isalpha()))


def _dots(text: str, parse: Parse) -> Any:
    brackets = re.fullmatch(r"(\\\{|\(|\[)(.*?)(\\\}|\)|\])", text)
    parts = split_list(brackets[2] if brackets else text)
    if len(parts) < 2:
        return Symbol("text " + re.sub(r"\s+", "", _DOTS.sub("…", text)))
    dots = Symbol("…")
    return _named("list", *(dots if _DOTS.fullmatch(part) else parse(part) for part in parts))


def _approximation(text: str, parse: Parse) -> Any:
    """The first value, where the others are near it; a name before the sign is no value."""
    values = [parse(part) for part in text.split("\\approx")]
    if values and isinstance(values[0], Symbol):
        values = values[1:]
    if not values or any(not isinstance(value, Basic) for value in values):
        return None
    try:
        numbers = [complex(value.evalf(15)) for value in values]
    except (TypeError, ValueError, AttributeError):
        return None
    near = all(abs(number - numbers[0]) <= _CLOSE * abs(numbers[0]) for number in numbers)
    return values[0] if near else None
