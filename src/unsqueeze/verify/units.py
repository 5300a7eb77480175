r"""Units and nouns after a number: ``12 \text{ cm}^2``, ``5 m/s``, ``20 mph``, ``15 apples``, ``$5.50``.

A value without a unit is as good as one with; another unit than that of the gold answer is another answer. Units are
told apart by name and are not converted into each other.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

_NAMES = {
    "m": "m meter meters metre metres 米",
    "cm": "cm cms centimeter centimeters centimetre centimetres 厘米 公分",
    "mm": "mm millimeter millimeters millimetre millimetres 毫米",
    "km": "km kms kilometer kilometers kilometre kilometres 千米 公里",
    "nm": "nm nanometer nanometers nanometre nanometres",
    "in": "in ins inch inches",
    "ft": "ft foot feet",
    "yd": "yd yds yard yards",
    "mi": "mi mile miles",
    "s": "s sec secs second seconds 秒",
    "ms": "ms millisecond milliseconds",
    "min": "min mins minute minutes 分钟",
    "h": "h hr hrs hour hours 小时 时",
    "day": "day days 天 日",
    "week": "week weeks 周 星期",
    "month": "month months 月 个月",
    "year": "yr yrs year years 年",
    "g": "g gram grams gramme grammes 克",
    "kg": "kg kgs kilogram kilograms kilo kilos 千克 公斤",
    "mg": "mg milligram milligrams",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "ton": "t ton tons tonne tonnes 吨",
    "l": "l L liter liters litre litres 升",
    "ml": "ml milliliter milliliters millilitre millilitres 毫升",
    "gal": "gal gallon gallons",
    "quart": "quart quarts qt",
    "pint": "pint pints",
    "cup": "cup cups",
    "N": "N newton newtons",
    "J": "J joule joules",
    "kJ": "kJ kilojoule kilojoules",
    "W": "W watt watts",
    "kW": "kW kilowatt kilowatts",
    "V": "V volt volts",
    "A": "A amp amps ampere amperes",
    "Pa": "Pa pascal pascals",
    "kPa": "kPa kilopascal kilopascals",
    "Hz": "Hz hertz",
    "K": "K kelvin kelvins",
    "C": "C coulomb coulombs",
    "mol": "mol mole moles",
    "ohm": "ohm ohms Ω",
    "dollar": "dollar dollars usd bucks 美元",
    "cent": "cent cents",
    "euro": "euro euros eur",
    "pound sterling": "gbp",
    "yuan": "yuan rmb cny 元",
    "rupee": "rupee rupees rs inr",
    "degree": "degree degrees deg degs 度",
    "radian": "radian radians rad rads",
    "unit": "unit units",
    "mph": "mph",
    "km/h": "kmh kmph kph km/h",
    "celsius": "celsius",
    "fahrenheit": "fahrenheit",
    "acre": "acre acres",
    "hectare": "hectare hectares ha",
    "cc": "cc",
    "m^2": "平方米",
    "cm^2": "平方厘米 平方公分",
    "km^2": "平方千米 平方公里",
    "m^3": "立方米",
    "cm^3": "立方厘米",
}
_PREFIXES = {
    "n": ("nano", Fraction(1, 10**9), "s g F A W C"),
    "u": ("micro", Fraction(1, 10**6), "m s g l F A V W C mol"),
    "m": ("milli", Fraction(1, 1000), "V A W mol Pa"),
    "k": ("kilo", Fraction(1000), "V N Hz eV Wh mol"),
    "M": ("mega", Fraction(10**6), "W V J N Hz Pa eV"),
    "G": ("giga", Fraction(10**9), "W J Hz Pa eV"),
}
"""Prefixes, as they are written and said, what they multiply by, and before what they stand beside ``_NAMES``."""
_SAID = {
    "m": "meter meters metre metres",
    "s": "second seconds",
    "g": "gram grams",
    "l": "L liter liters litre litres",
    "F": "farad farads",
    "A": "amp amps ampere amperes",
    "V": "volt volts",
    "W": "watt watts",
    "C": "coulomb coulombs",
    "J": "joule joules",
    "N": "newton newtons",
    "Hz": "hertz",
    "Pa": "pascal pascals",
    "eV": "electronvolt electronvolts",
    "Wh": "watt-hour watt-hours watthour watthours",
    "mol": "mole moles",
}
PREFIXED = {letter + unit: (unit, factor) for letter, (_, factor, units) in _PREFIXES.items() for unit in units.split()}
"""Of a unit with a prefix, the unit without it and how many of them it is."""
_CANONICAL = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings.split()}
for _name, (_unit, _) in PREFIXED.items():
    _CANONICAL[_name] = _name
    for _word in _SAID[_unit].split():
        _CANONICAL[(_name[0] if _word == "L" else _PREFIXES[_name[0]][0]) + _word] = _name
_SPELLED = Counter(map(str.lower, _CANONICAL))
_CANONICAL_LOWER = {
    spelling.lower(): name
    for spelling, name in _CANONICAL.items()
    # mW and MW are told apart by their letters alone.
    if len(spelling) > 1 and (name in _NAMES or _SPELLED[spelling.lower()] == 1)
}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_RAISED_AFTER = {"squared": 2, "cubed": 3}
_NO_UNIT_TEXT = (
    "or and more less than least most not at if for when where with is are to plus minus times the a an all "
    "no percent by from mod"
)
_NO_UNIT = frozenset(_NO_UNIT_TEXT.split())

_GROUP = r"\\(?:text|textrm|textbf|textit|textnormal|mathrm|mathbf|mbox|operatorname|rm)\s*\{[^{}]*\}"
_POWER = r"(?:\s*\^\s*(?:\{\s*-?\d\s*\}|-?\d))?"
_SPACE = r"(?:\s|\\[,;:! ]|~)*"
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = rf"(?<![A-Za-z\\])(?:[A-Za-zµμΩ][A-Za-zµμΩ.'-]*|[{_IDEOGRAPHS}]+)"
_ATOM = rf"(?:{_GROUP}|{_WORD}){_POWER}"
_UNIT = re.compile(
    rf"(?P<space>{_SPACE})(?P<unit>{_ATOM}(?:{_SPACE}(?:/|\\cdot|\*)?{_SPACE}{_ATOM}){{0,6}}){_SPACE}\.?\s*$"
)
_UNWRAP = re.compile(r"\\(?:text[a-z]*|mathrm|mathbf|mbox|operatorname|rm)\s*\{([^{}]*)\}")
_PLAIN_NUMBER = re.compile(
    r"(?:[A-Za-z]\s*=\s*)?[-+]?(?:\d[\d.,]*|\\[dt]?frac\{\d+\}\{\d+\}|\d+/\d+)(?:\s*\\times\s*10\^\{?-?\d+\}?)?"
)
_OHM = re.compile(r"(?<=[\d}])(?:\s|\\[,;: ])+\\Omega\s*$")
_MU = r"\\(?:up)?mu(?![A-Za-z])\s*"
_IN_TEXT = r"\\(?:text|textrm|mathrm)\s*\{\s*"
_MICRO = re.compile(
    rf"(?<=[\d}}])(?:\s|\\[,;: ]|~)+{_MU}(?P<plain>[a-zA-Z]+)\s*$"
    rf"|{_MU}{_IN_TEXT}(?P<beside>[a-zA-Z]+)\s*\}}\s*$"
    rf"|{_IN_TEXT}\$?{_MU}\$?\s*(?P<inside>[a-zA-Z]+)\s*\}}\s*$"
    rf"|{_IN_TEXT}{_MU}{_IN_TEXT}(?P<nested>[a-zA-Z]+)\s*\}}\s*\}}\s*$"
)
_UNIT_FRACTION = re.compile(
    r"\\[dt]?frac\s*\{\s*\\(?:text|mathrm)\s*\{([^{}]*)\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{([^{}]*)\}\s*((?:\^\s*\{?\d\}?)?)\s*\}"
)
_BRACED_POWER = re.compile(r"(?<=[A-Za-z])\^\s*\{\s*(-?\d)\s*\}(?=[^{}]*\})")
_BRACKETED_BELOW = re.compile(r"/\s*\(\s*([A-Za-z]+(?:(?:\s|\\cdot|\\,|\*)+[A-Za-z]+){0,3})\s*\)")
_MONEY = re.compile(r"^\s*(?:\\\$|\$|€|£|¥|₹|\\pounds|\\euro)\s*(?=[-+]?[\d.\\])")
_MONEY_UNIT = {"$": "dollar", "€": "euro", "£": "pound sterling", "¥": "yuan", "₹": "rupee"}
_DEGREES = re.compile(
    r"(?:\s|\\[,; ])*\^\s*(?:\{\s*\\circ\s*\}|\\circ)(?![A-Za-z])\s*(?:\\?(?:text|mathrm)?\s*\{?\s*([CFcf])?\s*\}?)\s*$"
)
_MAX_WORDS = 5
_MAX_TAIL = 90


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value as written, and the unit that followed it in its common name (None: no unit).

    ``known`` tells whether the unit is one of measure or money; ``marbles`` is not.
    """

    value: str
    unit: str | None = None
    known: bool = False


def split_unit(text: str, *, spaced: bool = False) -> Quantity:
    r"""Part a value from its unit.

    ``spaced``: a unit of one or two plain letters counts after a number and a space (``5 m``). Gold answers are read
    so; in an answer ``5 m`` may be a product and stays one, unless the unit stands in ``\text{}``.
    """
    money = _MONEY.match(text)
    if money:
        sign = next((sign for sign in _MONEY_UNIT if sign in money[0]), "$")
        rest = split_unit(text[money.end() :], spaced=spaced)
        return Quantity(rest.value, _MONEY_UNIT[sign], True)
    text = _MICRO.sub(_micro, _OHM.sub(r"\\text{ohm}", text))
    tail = _BRACED_POWER.sub(r"^\1", _UNIT_FRACTION.sub(r"\\text{\1/\2\3}", text[-_MAX_TAIL:]))
    tail = _BRACKETED_BELOW.sub(r"/\1", tail)
    head = text[:-_MAX_TAIL]
    degrees = _DEGREES.search(tail)
    if degrees:
        value, unit, known, is_short = (
            tail[: degrees.start()],
            f"degree {(degrees[1] or '').upper()}".strip(),
            True,
            False,
        )
    else:
        match = _UNIT.search(tail)
        name = None if match is None else canonical_unit(_UNWRAP.sub(r" \1 ", match["unit"]))
        if match is None or name is None:
            return Quantity(text)
        unit, known = name
        value = tail[: match.start()]
        is_bare = "{" not in match["unit"] and match["unit"].isascii()
        is_short = is_bare and len(re.sub("[^A-Za-z]", "", match["unit"])) <= 2
        is_one_letter = is_short and len(match["unit"].strip()) < 2
        if is_bare and not match["space"] and (is_one_letter or not known):
            return Quantity(text)
    value = (head + value).strip()
    if is_short and not (spaced and known and _PLAIN_NUMBER.fullmatch(value)):
        return Quantity(text)
    return Quantity(value, unit, known) if _is_value(value) else Quantity(text)


def _micro(match: re.Match[str]) -> str:
    r"""``\mu m`` behind a number as ``\text{um}``, where it is a unit of measure."""
    unit = match["plain"] or match["beside"] or match["inside"] or match["nested"]
    return rf"\text{{u{unit}}}" if f"u{unit}" in _CANONICAL else match[0]


def _is_value(text: str) -> bool:
    """Tell whether a text may be the value before a unit: a formula that ends, and no prose."""
    words = re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+", " ", text))
    return not words and re.search(r"[\d})\]!|A-Za-z%]$", text) is not None


def canonical_unit(text: str) -> tuple[str, bool] | None:
    """The common name of a unit, and whether it is one of measure or money. None where it is no unit and no noun."""
    text = re.sub(r"\\[,;:! ]|~|\\cdot|\*", " ", text.replace("µ", "u").replace("μ", "u"))
    text = re.sub(r"\s*/\s*|\s+per\s+", " / ", text)
    words = re.sub(r"\s*\^\s*\{?\s*(-?\d)\s*\}?", r"^\1 ", text).split()
    if len(words) > _MAX_WORDS:
        return None
    above: list[str] = []
    below: list[str] = []
    known = True
    power = 1
    is_below = False
    for place, word in enumerate(words):
        base, _, raised = word.strip(".'").partition("^")
        name = _name_of(base)
        if word == "/":
            if is_below or not above:
                return None
            is_below = True
        elif base.lower() in _POWERS and place + 1 < len(words):
            power = _POWERS[base.lower()]
        elif base.lower() in _RAISED_AFTER and (above or below):
            (below or above)[-1] += f"^{_RAISED_AFTER[base.lower()]}"
        elif (base.lower() in _NO_UNIT and base != "A") or (
            name is None and len(base) < 3 and base.isascii() and base != "of"
        ):
            return None
        else:
            known = known and name is not None
            exponent = int(raised) if raised else power
            part = (name or base.lower()) + (f"^{abs(exponent)}" if abs(exponent) != 1 else "")
            (below if is_below or exponent < 0 else above).append(part)
            power = 1
    if not above or (is_below and not below):
        return None
    return "/".join(" ".join(side) for side in (above, below) if side), known


def _name_of(word: str) -> str | None:
    return _CANONICAL.get(word) or (_CANONICAL_LOWER.get(word.lower()) if len(word) > 1 else None)


_SAME = {
    "degree celsius": "degree C",
    "celsius": "degree C",
    "degree fahrenheit": "degree F",
    "mi/h": "mph",
    "cc": "cm^3",
    "unit^2": "unit",
    "unit^3": "unit",
}


def units_conflict(gold: Quantity, given: Quantity) -> bool:
    """Tell whether both name a unit of measure or money, and different ones."""
    if gold.unit is None or given.unit is None or not (gold.known and given.known):
        return False
    one, other = sorted(_SAME.get(unit, unit) for unit in (gold.unit, given.unit))
    if one == "degree" and other in ("degree C", "degree F"):
        return False
    return one != other and (one, other) != ("lb", "pound sterling")
