"""Tables in each format."""

import csv
import io

from unsqueeze.labs.tables import Table, written

TABLE = Table("t", "Shares in %.", ["", "Pass@8"], [["a_b", "1.0 [0.5, 2.0]"], ["x − y", "−3"]])


def test_markdown() -> None:
    assert written(TABLE, "markdown") == (
        "Shares in %.\n\n|  | Pass@8 |\n| --- | ---: |\n| a_b | 1.0 [0.5, 2.0] |\n| x − y | −3 |\n"
    )


def test_csv_reads_back() -> None:
    text = written(TABLE, "csv")
    assert text.startswith("# Shares in %.\n")
    assert list(csv.reader(io.StringIO(text)))[1:] == [list(TABLE.headings), *map(list, TABLE.rows)]


def test_latex_escapes_what_it_must() -> None:
    text = written(TABLE, "latex")
    assert r"\caption{Shares in \%.}" in text
    assert r"a\_b & 1.0 [0.5, 2.0] \\" in text
    assert r"x $-$ y & $-$3 \\" in text
