"""Tables as Markdown, CSV and LaTeX: what a reader of each makes of them is what was put in."""

import csv
import io
import re
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.tables import Column, Table, as_csv, as_latex, as_markdown

SHARE = Column("share, %", show=lambda share: f"{100 * share:.1f}")
BETWEEN = Column("95 %", show=lambda ends: f"{ends[0]:.2f} … {ends[1]:.2f}", parts=("low", "high"))
TABLE = Table(
    [Column("arm", left=True), SHARE, BETWEEN],
    [["grpo", 0.12345, (0.1, 0.25)], ["sps_a|b", nan, None]],
    title="two arms",
    caption="96 problems",
)


def test_markdown() -> None:
    assert as_markdown(TABLE) == (
        "**two arms**\n\n"
        "| arm | share, % | 95 % |\n"
        "| :--- | ---: | ---: |\n"
        "| grpo | 12.3 | 0.10 … 0.25 |\n"
        "| sps\\_a\\|b | – | – |\n\n"
        "96 problems\n"
    )


def test_csv_has_the_values_themselves_and_each_part_of_one() -> None:
    assert as_csv(TABLE) == 'arm,"share, %",95 % (low),95 % (high)\ngrpo,0.12345,0.1,0.25\nsps_a|b,,,\n'


def test_latex() -> None:
    assert as_latex(TABLE) == (
        "% needs \\usepackage{booktabs}\n% two arms\n% 96 problems\n"
        "\\begin{tabular}{lrr}\n\\toprule\narm & share, \\% & 95 \\% \\\\\n\\midrule\n"
        "grpo & 12.3 & 0.10 \\ldots{} 0.25 \\\\\nsps\\_a\\textbar{}b & -- & -- \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_is_a_formula_to_a_spreadsheet(text: str) -> None:
    ((_, cell),) = list(csv.reader(io.StringIO(as_csv(Table([Column("a"), Column("b")], [[1, text]])))))[1:]
    assert cell == f"'{text.strip()}"


def test_negative_numbers_are_no_formulas() -> None:
    assert as_csv(Table([Column("a")], [[-0.5]])) == "a\n-0.5\n"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=4))
def test_csv_reads_back_whatever_the_texts_are(rows: list[list[str]]) -> None:
    text = as_csv(Table([Column("a"), Column("b")], rows))
    assert len(text.splitlines()) == 1 + len(rows)
    read = list(csv.reader(io.StringIO(text)))[1:]
    lines = [[re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", cell).strip() for cell in row] for row in rows]
    assert read == [[f"'{cell}" if cell[:1] and cell[:1] in "=+-@" else cell for cell in row] for row in lines]


@given(st.text())
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    table = Table([Column("a", left=True), Column("b")], [[text, 1]], title=text, caption=text)
    markdown = as_markdown(table).splitlines()
    row = next(line for line in markdown if line.endswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
    assert "<" not in as_markdown(table)
    latex = as_latex(table)
    body = latex.split("\\midrule\n")[1].split("\n\\bottomrule")[0]
    assert "\n" not in body
    assert len(re.findall(r"(?<!\\)&", body)) == 1
    assert not re.search(r"(?<!\\)[%#]", body)
    commands = set(re.findall(r"\\[a-z]+", body))
    assert commands <= {
        f"\\text{name}" for name in ("backslash", "asciicircum", "asciitilde", "less", "greater", "bar")
    } | {
        "\\ldots",
        "\\pm",
        "\\leq",
        "\\geq",
        "\\tau",
    }
