"""Tables as Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Format = Literal["markdown", "csv", "latex"]
FORMATS: tuple[Format, ...] = ("markdown", "csv", "latex")

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "×": r"$\times$",
    "½": r"$\frac{1}{2}$",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts: a name, a sentence of what it shows and in which units, headings, rows of as many cells."""

    name: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def written(table: Table, form: Format) -> str:
    """Return a table in a format, with its caption, ending with a line break."""
    return {"markdown": _markdown, "csv": _csv, "latex": _latex}[form](table)


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "| --- |" + " ---: |" * (len(table.headings) - 1)
    return "\n".join([table.caption, "", line(table.headings), rule, *map(line, table.rows)]) + "\n"


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    stream.write(f"# {table.caption}\n")
    writer.writerows([table.headings, *table.rows])
    return stream.getvalue()


def _latex(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(each, each) for each in cell) for cell in cells) + r" \\"

    columns = "l" + "r" * (len(table.headings) - 1)
    caption = "".join(_LATEX.get(each, each) for each in table.caption)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(table.headings),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
