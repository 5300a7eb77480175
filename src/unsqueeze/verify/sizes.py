"""Sizes of units of one kind, so that ``0.12 m`` is found equal to ``12 cm`` and ``120 minutes`` to ``2 hours``.

Only units that are exact multiples of each other: no temperatures, no currencies but a dollar's cents, no months.
"""

import re
from fractions import Fraction

from unsqueeze.verify.units import PREFIXED, canonical_unit

_SIZES: dict[str, tuple[str, Fraction]] = {}
for _kind, _units in {
    "length": "nm 1/1000000000 mm 1/1000 cm 1/100 m 1 km 1000 in 127/5000 ft 381/1250 yd 1143/1250 mi 201168/125",
    "time": "ms 1/1000 s 1 min 60 h 3600 day 86400 week 604800",
    "mass": "mg 1/1000 g 1 kg 1000 ton 1000000",
    "weight": "oz 1 lb 16",
    "volume": "ml 1/1000 l 1",
    "measures": "cup 1 pint 2 quart 4 gal 16",
    "money": "cent 1 dollar 100",
    "energy": "J 1 kJ 1000 Wh 3600",
    "power": "W 1 kW 1000",
    "pressure": "Pa 1 kPa 1000",
    "frequency": "Hz 1",
    "voltage": "V 1",
    "current": "A 1",
    "charge": "C 1",
    "capacitance": "F 1",
    "force": "N 1",
    "particle energy": "eV 1",
    "amount": "mol 1",
}.items():
    _words = _units.split()
    for _name, _size in zip(_words[::2], _words[1::2], strict=True):
        _SIZES[_name] = (_kind, Fraction(_size))
for _name, (_base, _times) in PREFIXED.items():
    _SIZES[_name] = (_SIZES[_base][0], _SIZES[_base][1] * _times)
_WHOLE = {"mph": "mi/h", "hectare": "hectometre^2", "cc": "cm^3"}
_SIZES["hectometre"] = ("length", Fraction(100))
_PARTS = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*([A-Za-z]+)\.?\s*(?:,|and(?=\s))?\s*")
_FACTOR = re.compile(r"(?P<name>.+?)(?:\^(?P<power>\d))?")


def ratio_of_units(given: str, gold: str) -> Fraction | None:
    """Return how many of the gold answer's unit one of the given unit is. None where they are not of one kind."""
    sizes = [_size_of(unit) for unit in (given, gold)]
    if sizes[0] is None or sizes[1] is None or sizes[0][0] != sizes[1][0]:
        return None
    return sizes[0][1] / sizes[1][1]


def measure(text: str) -> tuple[str, Fraction] | None:
    """The kind and size of ``5 feet 10 inches``, ``2.5 hours``. None where it is not made of such parts alone."""
    place, size, kinds = 0, Fraction(0), set()
    while place < len(text):
        part = _PARTS.match(text, place)
        unit = canonical_unit(part[2]) if part else None
        if part is None or unit is None or unit[0] not in _SIZES:
            return None
        kind, one = _SIZES[unit[0]]
        size, place = size + Fraction(part[1]) * one, part.end()
        kinds.add(kind)
    return (kinds.pop(), size) if len(kinds) == 1 else None


def _size_of(unit: str) -> tuple[dict[str, int], Fraction] | None:
    """The kinds of a unit with their powers, and its size in the smallest terms."""
    kinds: dict[str, int] = {}
    size = Fraction(1)
    above, _, below = _WHOLE.get(unit, unit).partition("/")
    for side, sign in ((above, 1), (below, -1)):
        for word in side.split():
            factor = _FACTOR.fullmatch(word)
            if factor is None or factor["name"] not in _SIZES:
                return None
            kind, one = _SIZES[factor["name"]]
            power = sign * int(factor["power"] or 1)
            kinds[kind] = kinds.get(kind, 0) + power
            size *= one**power
    return kinds, size
