"""``unsqueeze lab``: what it lists, prints and refuses. Whole labs are in ``tests/labs``."""

import csv
import io
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unsqueeze.cli.lab import duration
from unsqueeze.cli.main import app
from unsqueeze.errors import UserError
from unsqueeze.labs.suite import shipped_suites
from unsqueeze.store.records import read_record

RUN = CliRunner()


def test_without_a_suite_it_lists_those_that_ship() -> None:
    result = RUN.invoke(app, ["lab"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == shipped_suites()


@pytest.mark.parametrize("form", ["markdown", "csv", "latex"])
def test_a_suite_without_runs_prints_its_table(form: str, tmp_path: Path) -> None:
    result = RUN.invoke(app, ["lab", "figure1", "--out", str(tmp_path), "--format", form])
    assert result.exit_code == 0, result.output
    assert {"markdown": "| peaky |", "csv": "\npeaky,", "latex": "\npeaky & "}[form] in result.stdout
    if form == "csv":
        rows = {row[0]: row for row in csv.reader(io.StringIO(result.stdout)) if row}
        to_positive, to_mode = (float(rows["peaky"][place]) for place in (-2, -1))
        assert to_mode > 0.9
        assert to_positive < 0.1
    assert read_record(tmp_path / "figure1" / "lab.json")["status"] == "finished"
    (table,) = read_record(tmp_path / "figure1" / "results.json")["tables"]
    assert table["name"] == "squeezing"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tabel1"], "Did you mean 'table1'"),
        (["table1", "--format", "html"], "give one of markdown, csv, latex"),
        (["table1", "--seeds", "1;2"], "separated by commas"),
        (["table1", "--seeds", "-1"], "seeds"),
        (["table1", "--arms", "ppo"], "has no arm 'ppo'"),
        (["table1", "--set", "rl.stepz=1"], "rl.steps"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_written(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = RUN.invoke(app, ["lab", *arguments])
    assert isinstance(result.exception, UserError)
    assert told in str(result.exception)
    assert not any(tmp_path.iterdir())


def test_durations() -> None:
    assert [duration(each) for each in (0.4, 89, 90, 3540, 3600, 7500)] == [
        "0 s",
        "89 s",
        "2 min",
        "59 min",
        "1 h 00 min",
        "2 h 05 min",
    ]
