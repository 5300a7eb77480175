"""Values parted from their units."""

from fractions import Fraction

import pytest

from unsqueeze.verify.sizes import measure, ratio_of_units
from unsqueeze.verify.units import Quantity, split_unit, units_conflict


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        (r"12 \text{ cm}^2", "12", "cm^2"),
        (r"12 \text{ square centimeters}", "12", "cm^2"),
        ("5 m/s", "5", "m/s"),
        (r"5\,\mathrm{m/s^2}", "5", "m/s^2"),
        (r"5 \text{m s}^{-2}", "5", "m/s^2"),
        (r"5 \frac{\text{m}}{\text{s}}", "5", "m/s"),
        ("5 meters per second", "5", "m/s"),
        ("5 N", "5", "N"),
        ("4cm", "4", "cm"),
        ("20 mph", "20", "mph"),
        ("15 apples", "15", "apples"),
        (r"2\sqrt{3} inches", r"2\sqrt{3}", "in"),
        ("$5.50", "5.50", "dollar"),
        (r"\$1,250", "1,250", "dollar"),
        (r"60^\circ", "60", "degree"),
        (r"37^\circ\text{C}", "37", "degree C"),
        ("2 hours", "2", "h"),
        (r"12\pi \text{ cm}", r"12\pi", "cm"),
        ("4m", "4m", None),
        ("5 x", "5 x", None),
        (r"3\pi", r"3\pi", None),
        ("5k + 3 t", "5k + 3 t", None),
        ("3 or more", "3 or more", None),
        ("10 red and 5 blue", "10 red and 5 blue", None),
        (r"3\sin x", r"3\sin x", None),
        (r"\text{cm}", r"\text{cm}", None),
        ("5%", "5%", None),
        ("", "", None),
    ],
)
def test_units_of_gold_answers(text: str, value: str, unit: str | None) -> None:
    read = split_unit(text, spaced=True)
    assert (read.value, read.unit) == (value, unit)


@pytest.mark.parametrize("text", ["5 m", "5 N", "5 m/s", "5m", "5 km"])
def test_short_units_in_answers_may_be_symbols(text: str) -> None:
    assert split_unit(text) == Quantity(text)


@pytest.mark.parametrize(
    ("gold", "given", "conflict"),
    [
        (r"12 \text{ cm}", r"12 \text{ m}", True),
        (r"12 \text{ cm}", r"12 \text{ cm}^2", True),
        (r"12 \text{ cm}", "12", False),
        (r"12 \text{ cm}", "12 centimeters", False),
        ("60 miles per hour", "60 mph", False),
        (r"20^\circ\text{C}", r"20^\circ", False),
        (r"20^\circ\text{C}", r"20^\circ\text{F}", True),
        ("12 apples", "12 pieces", False),
        ("6 hours", "6 minutes", True),
    ],
)
def test_other_units_of_measure_are_other_answers(gold: str, given: str, conflict: bool) -> None:
    assert units_conflict(split_unit(gold, spaced=True), split_unit(given, spaced=True)) == conflict


@pytest.mark.parametrize(
    ("given", "gold", "ratio"),
    [
        ("m", "cm", Fraction(100)),
        ("m^2", "cm^2", Fraction(10_000)),
        ("m/s", "km/h", Fraction(36, 10)),
        ("mph", "ft/s", Fraction(5280, 3600)),
        ("in", "cm", Fraction(254, 100)),
        ("cent", "dollar", Fraction(1, 100)),
        ("cm", "cm^2", None),
        ("kg", "lb", None),
        ("degree C", "degree F", None),
        ("apples", "m", None),
    ],
)
def test_ratios_of_units(given: str, gold: str, ratio: Fraction | None) -> None:
    assert ratio_of_units(given, gold) == ratio


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2 hours 30 minutes", ("time", Fraction(9000))),
        ("2.5 h", ("time", Fraction(9000))),
        ("5 feet and 10 inches", ("length", Fraction(70 * 254, 10_000))),
        ("5 feet 10 minutes", None),
        ("2 hours or 30 minutes", None),
        ("5 marbles", None),
        ("", None),
    ],
)
def test_measures_in_several_units(text: str, size: tuple[str, Fraction] | None) -> None:
    assert measure(text) == size
