"""Tables as values, and as Markdown, CSV and LaTeX: one writer for every command and report.

A value stands in a table as it is (a number, a text, a mean with its interval); how a person reads it is its column's
to say. CSV has the values themselves, with all their digits.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "–"
"""What stands for None and NaN where a person reads."""

SHOWN_KS = (8, 32, 128)
"""The ks of Pass@k that tell the story where there are many."""


def shown_ks(most: int) -> list[int]:
    """Return the ks of a table whose evaluations have ``most`` samples a problem: a few, and all of them."""
    return sorted({k for k in SHOWN_KS if k < most} | {most})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, how a value of it is written, and on which side it is set.

    ``parts`` are the names of the numbers that each value holds, where it is a sequence of them: in CSV every one has a
    column of its own, ``heading (part)``, or the heading alone where the part is the empty text.
    """

    heading: str
    show: Callable[[Any], str] = str
    left: bool = False
    parts: tuple[str, ...] = ()

    def shown(self, value: Any) -> str:
        """Write a value for a person; a dash where there is none."""
        return UNKNOWN if _is_unknown(value) else self.show(value)

    @property
    def names(self) -> list[str]:
        """The headings of CSV."""
        if not self.parts:
            return [self.heading]
        return [f"{self.heading} ({part})" if part else self.heading for part in self.parts]

    def cells(self, value: Any) -> list[Any]:
        """The values of CSV."""
        if not self.parts:
            return [value]
        return [None] * len(self.parts) if value is None else list(value)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, rows of one value a column, and what stands above and below them."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    caption: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), "a row has one value a column"

    @property
    def shown(self) -> list[list[str]]:
        """The rows as a person reads them."""
        return [[column.shown(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]


def as_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, its title before it and its caption after, every text escaped."""
    lines = [
        _markdown_row([column.heading for column in table.columns]),
        _markdown_row([":---" if column.left else "---:" for column in table.columns], escaped=True),
        *map(_markdown_row, table.shown),
    ]
    above = [f"**{_in_markdown(table.title)}**", ""] if table.title else []
    below = ["", _in_markdown(table.caption)] if table.caption else []
    return "\n".join([*above, *lines, *below]) + "\n"


def as_csv(table: Table) -> str:
    """Return the table as CSV (RFC 4180, but lines end in a line feed): a heading, then the values with all digits.

    What is unknown is empty, and a text is one line. A text that a spreadsheet would take for a formula (it begins with
    =, +, - or @) gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_in_csv(name) for column in table.columns for name in column.names])
    for row in table.rows:
        cells = [cell for column, value in zip(table.columns, row, strict=True) for cell in column.cells(value)]
        writer.writerow(map(_in_csv, cells))
    return out.getvalue()


def as_latex(table: Table) -> str:
    """Return a ``tabular`` with the rules of booktabs, every text escaped; title and caption stand in comments."""
    sides = "".join("l" if column.left else "r" for column in table.columns)
    told = [f"% {_one_line(text)}" for text in (table.title, table.caption) if text]
    lines = [
        "% needs \\usepackage{booktabs}",
        *told,
        f"\\begin{{tabular}}{{{sides}}}",
        "\\toprule",
        _latex_row([column.heading for column in table.columns]),
        "\\midrule",
        *map(_latex_row, table.shown),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Table], str]] = {"markdown": as_markdown, "csv": as_csv, "latex": as_latex}
"""The writer of every form by its name."""


def _is_unknown(value: Any) -> bool:
    """Tell whether there is no value: None, NaN, or nothing but these."""
    if isinstance(value, tuple | list):
        return all(map(_is_unknown, value))
    return value is None or (isinstance(value, float) and math.isnan(value))


def _one_line(text: str) -> str:
    """Return the text in one line: line breaks and other control characters become a space."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()


def _markdown_row(cells: Sequence[str], *, escaped: bool = False) -> str:
    return "| " + " | ".join(cells if escaped else map(_in_markdown, cells)) + " |"


def _in_markdown(text: str) -> str:
    """Escape what Markdown or HTML would read, the bar between cells included."""
    return re.sub(r"([\\`*_{}\[\]#|~$!])", r"\\\1", _one_line(text)).translate(
        {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
    )


def _in_csv(value: Any) -> Any:
    if _is_unknown(value):
        return ""
    if not isinstance(value, str):
        return value
    line = _one_line(value)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


_IN_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be the option of the line break before
    "]": "{]}",
    "*": "{*}",
    "–": "--",
    "…": r"\ldots{}",
    "−": "$-$",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "τ": r"$\tau$",
}


def _latex_row(cells: Sequence[str]) -> str:
    escaped = ("".join(_IN_LATEX.get(each, each) for each in _one_line(cell)) for cell in cells)
    return " & ".join(escaped) + r" \\"
