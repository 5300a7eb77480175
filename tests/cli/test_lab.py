"""``unsqueeze lab``: what it lists, prints and refuses. Whole labs are in ``tests/labs``."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from unsqueeze.cli.lab import TableOfRuns, duration, rows_of, summary_line
from unsqueeze.cli.main import app
from unsqueeze.config.load import check_recipe
from unsqueeze.errors import UserError
from unsqueeze.labs.grid import Cell, PlannedRun
from unsqueeze.labs.runner import Live, State
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


def lives() -> list[Live]:
    recipe = check_recipe({"name": "lab"}, "test")
    states: list[State] = ["finished", "running", "failed", "waiting", "waiting", "waiting"]
    found = [Live(PlannedRun(Cell(f"arm{i}"), 7, 1.0, "reported", recipe), state) for i, state in enumerate(states)]
    found[1].told = {"work": "phase 0: RL", "done": 3, "total": 9, "reward": 0.25, "entropy": 0.3, "greedy_logp": -0.2}
    found[1].seconds = 75.0
    found[2].error = "its weights are gone."
    return found


def test_the_live_table_has_what_is_at_work_first_and_fits_the_screen() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, height=9, force_terminal=False)
    with TableOfRuns(console):
        head = summary_line(lives(), 600.0)
        console.print(rows_of(lives(), head, console.height))
    text = out.getvalue()
    assert head == "1 finished, 1 running, 1 failed, 3 waiting, about 10 min left"
    lines = [line for line in text.splitlines() if "arm" in line]
    assert ["arm1" in lines[0], "arm2" in lines[1], "arm3" in lines[2]] == [True] * 3
    assert "phase 0: RL 3/9, reward 0.25, entropy 0.300, greedy log-prob -0.200" in lines[0]
    assert "75 s" in lines[0]
    assert "its weights are gone." in lines[1]
    assert "and 2 more" in text


def test_where_nothing_can_be_drawn_over_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    shown = TableOfRuns(Console(file=out, width=200))
    shown.show(lives(), None)
    assert out.getvalue() == ""
    monkeypatch.setattr("unsqueeze.cli.lab.PLAIN_EVERY_S", 0.0)
    shown.show(lives(), None)
    assert out.getvalue().startswith("  1 finished, 1 running, 1 failed, 3 waiting; arm1, seed 7: phase 0: RL 3/9")
