"""A figure as a value: what is drawn, in the units it is shown in. The page and ``draw`` both draw these."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["line", "points", "path", "band", "bars"]
"""A line, points with intervals, points joined in the order of training, an area between two lines, bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One thing that is drawn. ``color`` is the number of a colour (``palette``), −1 that of the base.

    ``low`` and ``high`` are the ends of intervals of y, ``x_low`` and ``x_high`` those of x. ``text`` says at each
    point what a person reads there, ``keys`` to what of the page it leads.
    """

    name: str
    kind: Kind
    color: int
    x: Sequence[Any]
    y: Sequence[float | None] = ()
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    x_low: Sequence[float | None] = ()
    x_high: Sequence[float | None] = ()
    text: Sequence[str] = ()
    keys: Sequence[str] = ()
    dashed: bool = False
    in_legend: bool = True
    label: str = ""
    """Written beside the last point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    title: str
    log2: bool = False
    percent: bool = False
    ticks: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the x axis with a shade of its own, such as an IRL phase; or a line, where it begins and ends at one
    place.
    """

    start: float
    end: float
    label: str
    color: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture by its name. ``says`` is in words what there is to see."""

    name: str
    title: str
    says: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    spans: Sequence[Span] = ()

    def to_json_object(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The same picture for every value of something, one of which is shown at first."""

    name: str
    of: str
    values: Sequence[str]
    figures: Sequence[Figure]
    shown: int = 0
    notes: Sequence[str] = field(default_factory=tuple)

    def to_json_object(self) -> dict[str, Any]:
        return asdict(self)


COLORS_LIGHT = ("#C44601", "#0060B0", "#00785A", "#9A3B8C", "#8A6100", "#3C7FA8", "#5B5B5B")
COLORS_DARK = ("#FF8A4C", "#5AB0FF", "#35C79E", "#E08AD0", "#E5B33A", "#8CCBEF", "#BFBFBF")
"""Colours that the colour-blind tell apart (after Okabe and Ito), dark enough for white paper and light enough for a
dark screen: 4.5 to 1 against the background, at least. Markers and dashes differ too.
"""
BASE_LIGHT, BASE_DARK = "#5A6068", "#AEB6C0"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def color_of(number: int, *, dark: bool = False) -> str:
    """Return the colour of a number; of more than there are, they begin again."""
    if number < 0:
        return BASE_DARK if dark else BASE_LIGHT
    colors = COLORS_DARK if dark else COLORS_LIGHT
    return colors[number % len(colors)]
