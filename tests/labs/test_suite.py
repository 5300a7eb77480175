"""Suites: what a file says, what is refused in one sentence, and which runs it comes to."""

from pathlib import Path
from typing import Any

import pytest

from unsqueeze.errors import UserError
from unsqueeze.labs.grid import Cell, grid_of
from unsqueeze.labs.suite import check_suite, load_suite, shipped_suites

MINE: dict[str, Any] = {
    "name": "mine",
    "recipe": "smoke",
    "seeds": [11, 12],
    "arms": {"grpo": {"irl": None}, "sps": {"irl": {"k": 3}}},
}


def refused(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        grid_of(check_suite(MINE | changes, "mine"))
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_suites())
def test_a_shipped_suite_is_whole(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.title
    grid = grid_of(suite)
    assert grid.reported(grid.as_given()) or suite.recipe is None


def test_the_views_of_table1_need_no_runs_of_their_own() -> None:
    grid = grid_of(load_suite("table1"))
    runs = {run.digest for run in grid.reported(grid.as_given())}
    for name in ("figure2", "figure5", "table4", "table5", "table6"):
        view = grid_of(load_suite(name))
        assert {run.digest for run in view.reported(view.as_given())} <= runs, name


@pytest.mark.parametrize("name", ["table1", "pools", "strength", "figure4"])
def test_runs_end_with_rl_and_not_with_irl(name: str) -> None:
    for recipe in grid_of(load_suite(name)).cells.values():
        assert recipe.phases(recipe.data.num_train or 0)[-1].kind == "rl"


def test_a_file_of_the_users_with_a_recipe_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.yaml").write_text("name: my\nrl: {steps: 3}\nirl: {every_steps: 1}\n", "utf-8")
    (tmp_path / "two-arms.yaml").write_text(
        "recipe: my.yaml\nseeds: [11, 12, 13]\narms:\n  grpo: {irl: null}\n  sps: {}\n", "utf-8"
    )
    monkeypatch.chdir("/")
    grid = grid_of(load_suite(str(tmp_path / "two-arms.yaml")))
    runs = grid.reported(grid.as_given())
    assert grid.suite.name == "two-arms"
    assert [(run.cell.arm, run.seed) for run in runs] == [(arm, s) for s in (11, 12, 13) for arm in ("grpo", "sps")]
    assert [run.recipe.rl.steps for run in runs] == [3] * 6
    assert [run.recipe.irl is None for run in runs] == [True, False] * 3
    assert [run.recipe.seed for run in runs] == [11, 11, 12, 12, 13, 13]


def test_some_arms_alone() -> None:
    suite = check_suite(MINE | {"control": "grpo"}, "mine")
    grid = grid_of(suite, only=["sps"])
    assert [cell.arm for cell in grid.cells] == ["sps"]
    assert grid.control == "sps"
    with pytest.raises(UserError, match="no arm 'dapo'; its arms are grpo, sps"):
        grid_of(suite, only=["dapo"])


def test_the_suite_on_the_page_works_as_it_stands(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "lab.md").read_text("utf-8")
    block = page.split("```yaml\n")[1].split("```")[0]
    assert block.startswith("# mine.yaml")
    assert len(block.splitlines()) <= 11
    (tmp_path / "mine.yaml").write_text(block, "utf-8")
    (tmp_path / "my-recipe.yaml").write_text("name: my-recipe\nrl: {steps: 60}\n", "utf-8")
    grid = grid_of(load_suite(str(tmp_path / "mine.yaml")))
    assert [cell.arm for cell in grid.cells] == ["grpo", "sps"]
    assert len(grid.search()) == 2 * 3 * 2
    assert {recipe.rl.steps for recipe in grid.cells.values()} == {60}


def test_arms_of_the_recipe_are_taken_where_a_suite_has_none() -> None:
    grid = grid_of(check_suite({"name": "q", "recipe": "quickstart", "seeds": [1]}, "q"))
    assert [cell.arm for cell in grid.cells] == ["grpo", "sps"]


def test_every_arm_is_run_in_every_variant() -> None:
    variants = {"small": {"data": {"num_train": 8}}, "large": {"data": {"num_train": 16}}}
    grid = grid_of(check_suite(MINE | {"variants": variants}, "mine"))
    assert {(cell.variant, cell.arm): recipe.data.num_train for cell, recipe in grid.cells.items()} == {
        ("small", "grpo"): 8,
        ("small", "sps"): 8,
        ("large", "grpo"): 16,
        ("large", "sps"): 16,
    }


def test_overrides_give_no_section_to_an_arm_without_it() -> None:
    grid = grid_of(check_suite(MINE, "mine"), ["irl.k=1", "rl.steps=4"])
    assert grid.cells[Cell("grpo")].irl is None
    sps = grid.cells[Cell("sps")].irl
    assert sps is not None
    assert sps.k == 1
    assert {recipe.rl.steps for recipe in grid.cells.values()} == {4}


def test_the_search_multiplies_the_learning_rate_of_each_arm_on_seeds_of_its_own() -> None:
    rates = {"factors": [0.5, 1, 2], "seeds": [1], "set": {"data": {"num_test": 2}}}
    arms = {"low": {"rl": {"learning_rate": 1e-5}}, "high": {"rl": {"learning_rate": 1e-3}}}
    changes = {"set": {"data": {"num_validation": 4}}, "learning_rates": rates, "arms": arms}
    grid = grid_of(check_suite(MINE | changes, "mine"))
    searched = grid.search()
    found = [(run.cell.arm, run.recipe.rl.learning_rate) for run in searched]
    rates_of = {"low": 1e-5, "high": 1e-3}
    assert found == [(arm, pytest.approx(rate * f)) for arm, rate in rates_of.items() for f in (0.5, 1, 2)]
    assert {run.recipe.data.num_test for run in searched} == {2}
    reported = grid.reported({Cell("low"): 2.0})
    assert [(run.cell.arm, run.seed, run.recipe.rl.learning_rate) for run in reported] == [
        ("low", 11, pytest.approx(2e-5)),
        ("low", 12, pytest.approx(2e-5)),
    ]
    assert {run.recipe.data.num_test for run in reported} == {8}


def test_the_search_goes_on_for_the_arms_whose_choice_is_at_an_end() -> None:
    rates = {"factors": [0.5, 1, 2], "seeds": [1, 2], "widen": 2}
    changes = {"set": {"data": {"num_validation": 4}}, "learning_rates": rates}
    grid = grid_of(check_suite(MINE | changes, "mine"))
    searched = grid.search()
    wider = grid.wider({Cell("grpo"): 2.0, Cell("sps"): 1.0}, searched)
    assert [(run.cell.arm, run.factor, run.seed) for run in wider] == [("grpo", 4.0, 1), ("grpo", 4.0, 2)]
    given = grid.cells[Cell("grpo")].rl.learning_rate
    assert [run.recipe.rl.learning_rate for run in wider] == pytest.approx([4 * given] * 2)
    # Once more beyond where that is better still; not where it was worse, or failed.
    assert [run.factor for run in grid.wider({Cell("grpo"): 4.0}, searched + wider)] == [8.0, 8.0]
    assert grid.wider({Cell("grpo"): 2.0}, searched + wider) == []


def test_runs_that_differ_in_a_name_alone_are_one_run() -> None:
    one = grid_of(check_suite(MINE, "mine"))
    other = grid_of(check_suite(MINE | {"name": "other", "arms": {"plain": {"irl": None}}}, "other"))
    first, second = one.reported(one.as_given())[0], other.reported(other.as_given())[0]
    assert first.digest == second.digest
    assert first.recipe == second.recipe  # so that either suite may go on with it
    seeds = {run.digest for run in one.reported(one.as_given())}
    assert len(seeds) == 4


def test_a_mean_over_more_checkpoints_than_runs_keep_is_refused() -> None:
    plain = {"name": "means", "seeds": [1], "set": {"rl": {"steps": 10}, "checkpoint": {"every_steps": 4}}}
    suite = plain | {"points": {"mean": {"of": "grpo", "last": 3}}}
    grid = grid_of(check_suite(suite, "s"))
    assert [point.last for point in grid.points(grid.reported(grid.as_given()))] == [3]
    for changes, there in ((["checkpoint.every_steps=5"], 2), (["checkpoint.keep_last=1"], 1)):
        with pytest.raises(UserError, match=rf"point 'mean' is the mean over the last 3 .* keep {there};"):
            grid_of(check_suite(suite, "s"), changes)


def test_arms_share_the_evaluation_before_training_and_seeds_do_not() -> None:
    grid = grid_of(check_suite(MINE, "mine"))
    begins = {(run.cell.arm, run.seed): run.begins for run in grid.reported(grid.as_given())}
    assert begins["grpo", 11] == begins["sps", 11]
    assert begins["grpo", 11] != begins["grpo", 12]


def test_refusals_say_what_to_do() -> None:
    assert "seed 12 is both" in refused(learning_rates={"seeds": [12]})
    assert "set data.num_validation" in refused(learning_rates={"seeds": [1]})
    rates = {"setting": "rl.speed", "seeds": [1]}
    assert "'rl.speed', which is no number" in refused(learning_rates=rates, set={"data": {"num_validation": 2}})
    assert "only once" in refused(seeds=[1, 1])
    assert "control is 'dapo', and the arms are grpo, sps" in refused(control="dapo")
    assert "arm 'sps'" in refused(arms={"sps": {"irl": {"k": 99}}})
    assert "did you mean" in refused(seed=[1]).lower()
    assert "it has no arms" in refused(arms=None)
    assert "seeds must name one or more" in refused(seeds=[])
    assert "recipe is null" in refused(recipe=None)
    with pytest.raises(UserError, match="neither a file nor a shipped suite"):
        load_suite("tabel1")


def test_a_setting_that_cannot_go_further_ends_the_search_of_its_arm() -> None:
    rates = {"setting": "irl.steps", "factors": [1, 2], "seeds": [1], "widen": 2}
    changes = {"set": {"data": {"num_validation": 4}}, "arms": {"sps": {"irl": {"steps": 1}}}, "learning_rates": rates}
    grid = grid_of(check_suite(MINE | changes, "mine"))
    assert grid.wider({Cell("sps"): 1.0}, grid.search()) == []  # half of a step is none
    doubled = grid.wider({Cell("sps"): 2.0}, grid.search())
    assert [run.recipe.irl and run.recipe.irl.steps for run in doubled] == [4]
