"""Tables of made-up runs, whose values are known by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unsqueeze.config.load import check_recipe
from unsqueeze.labs.gather import Gathered, Results, gathered_by_cell
from unsqueeze.labs.grid import Cell, PlannedRun
from unsqueeze.labs.views import VIEWS
from unsqueeze.metrics.summary import summarise_tally
from unsqueeze.metrics.tally import Tally

N = 4
STEPS = 2


def tally(*correct: int) -> Tally:
    count = len(correct)
    return Tally(
        problem_ids=tuple(f"p{place}" for place in range(count)),
        benchmarks=("b",) * count,
        num_samples_P=np.full(count, N),
        num_correct_P=np.array(correct),
        num_open_P=np.zeros(count, dtype=np.int64),
    )


def run(arm: str, seed: int, base: tuple[int, ...], end: tuple[int, ...]) -> Gathered:
    recipe = check_recipe({"name": "lab", "seed": seed, "rl": {"steps": STEPS}}, "test")
    tallies = {0: tally(*base), STEPS: tally(*end)}
    return Gathered(
        run=PlannedRun(Cell(arm), seed, 1.0, "reported", recipe),
        path=Path(arm),
        tallies=tallies,
        summaries={step: summarise_tally(each, [1, 2, N], seed=0) for step, each in tallies.items()},
        samples={},
        seconds=60.0 * seed,
    )


BASE = (2, 2, 1, 1)


TALLIES = {0: tally(0, 0, 0, 0), STEPS: tally(8, 8, 4, 3)}


@pytest.fixture
def found() -> Results:
    runs = [
        run("grpo", 1, BASE, (4, 4, 0, 0)),
        run("grpo", 2, BASE, (4, 4, 0, 4)),
        run("sps", 1, BASE, (3, 3, 1, 1)),
        run("sps", 2, BASE, (3, 3, 1, 1)),
    ]
    cells = [Cell("grpo"), Cell("sps")]
    return Results(gathered_by_cell(runs, cells), control="grpo", subject="sps")


def cells(table: Any) -> dict[str, list[Any]]:
    return {row[0]: row[1:] for row in table.rows}


def test_results_are_means_over_seeds_with_the_range(found: Results) -> None:
    rows = cells(VIEWS["results"](found))
    assert rows["base"][0] == pytest.approx((6 / 16,) * 3)
    assert rows["grpo"][0] == pytest.approx((0.625, 0.5, 0.75))
    assert rows["grpo"][1] == pytest.approx((0.625, 0.5, 0.75))  # Pass@4: 2 of 4 problems, 3 of 4
    assert rows["sps"][1] == pytest.approx((1.0, 1.0, 1.0))
    assert rows["sps"][-2:] == [pytest.approx((1.5, 1.0, 2.0)), 2]


def test_differences_are_paired_by_seed(found: Results) -> None:
    row = cells(VIEWS["differences"](found))["sps − grpo"]
    assert row[0][0] == pytest.approx(8 / 16 - 0.625)
    assert row[1][0] == pytest.approx(1 - 0.625)
    assert row[-3:] == [3, 0, 2]  # two problems at the first seed, one at the second


def test_a_seed_that_one_side_lacks_is_not_compared(found: Results) -> None:
    alone = {cell: runs if cell.arm == "grpo" else runs[:1] for cell, runs in found.cells.items()}
    row = cells(VIEWS["differences"](Results(alone, control="grpo")))["sps − grpo"]
    assert row[-3:] == [2, 0, 1]
    assert row[1][0] == pytest.approx(1 - 0.5)


def test_the_plane_by_hand(found: Results) -> None:
    rows = cells(VIEWS["plane"](found))
    # Means over seeds: base (6/16, 1), GRPO ends at (10/16, 10/16), SPS at (8/16, 1).
    areas = {"grpo": 10 / 16 * 10 / 16 + 6 / 16 * (1 - 10 / 16), "sps": 8 / 16}
    for arm, area in areas.items():
        assert rows[arm][2][0] == pytest.approx(area)
    assert rows["sps"][3][0] == pytest.approx(areas["sps"] - areas["grpo"])
    # GRPO's hull at Avg 8/16 lies half-way between its two points.
    assert rows["sps"][4][0] == pytest.approx(1 - (1 + 10 / 16) / 2)
    assert rows["sps"][5] == "inside"
    assert rows["grpo"][3:6] == [None, None, None]


def test_duels_hold_the_subject_against_each_other_arm(found: Results) -> None:
    rows = cells(VIEWS["duels"](found))
    assert list(rows) == ["grpo"]
    assert rows["grpo"][1][0] == pytest.approx(1 - (1 + 10 / 16) / 2)
    assert rows["grpo"][3] is None


def test_histogram_counts_problems(found: Results) -> None:
    table = VIEWS["histogram"](found)
    assert [column.heading for column in table.columns][1:7] == [
        "0 %",
        "0–25 %",
        "25–50 %",
        "50–75 %",
        "75–100 %",
        "100 %",
    ]
    rows = cells(table)
    assert [each[0] for each in rows["base"][:6]] == [0, 2, 2, 0, 0, 0]
    assert [each[0] for each in rows["grpo"][:6]] == [1.5, 0, 0, 0, 0, 2.5]
    assert rows["grpo"][0] == (1.5, 1.0, 2.0)


def test_turnover_against_the_base_by_hand(found: Results) -> None:
    rows = cells(VIEWS["turnover"](found))
    # k = 2. Of the two problems with 1 of 4, the base solves each with chance C(3,1)/C(4,2) = 1/2 with two samples.
    # GRPO lost both at the first seed and one at the second; the others it always solves.
    assert rows["grpo"][0][0] == pytest.approx((2 + 1) / 2 * 0.5 / 4)
    assert rows["grpo"][3] == pytest.approx(1.0)


def test_reliability_is_taken_from_the_counts() -> None:
    runs = [
        Gathered(
            run=run("grpo", 1, (0,), (0,)).run,
            path=Path(),
            tallies={step: replace(each, num_samples_P=np.full(4, 8)) for step, each in TALLIES.items()},
            summaries=run("grpo", 1, BASE, BASE).summaries,
            samples={},
            seconds=1.0,
        )
    ]
    row = cells(VIEWS["reliability"](Results({Cell("grpo"): runs}, control="grpo")))["grpo"]
    assert row[3] == pytest.approx((0.5,) * 3)  # pass^8: two of four problems are always solved
    assert row[4] == pytest.approx((0.75,) * 3)  # half of eight answers or more: three of four


def test_steps_have_a_row_an_evaluation(found: Results) -> None:
    table = VIEWS["steps"](found)
    assert [row[:2] for row in table.rows] == [["grpo", 0], ["grpo", STEPS], ["sps", 0], ["sps", STEPS]]


def test_every_table_can_be_made_of_nothing() -> None:
    for name, view in VIEWS.items():
        assert view(Results({}, control="")).rows or name != "squeezing"
