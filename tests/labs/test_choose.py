"""The choice of a learning rate: by hand."""

import pytest

from unsqueeze.labs.choose import Choice, beyond, choose, dominated_area
from unsqueeze.labs.grid import Cell, grid_of
from unsqueeze.labs.suite import check_suite
from unsqueeze.labs.views.learning_rates import learning_rates

ARMS: dict[str, object] = {"grpo": {"irl": None}, "sps": {}}


def test_area_by_hand() -> None:
    # Rectangles 0.5 × 0.8 and 0.4 × 0.9: the second adds 0.4 × 0.1. (0.3, 0.7) is dominated.
    assert dominated_area([(0.5, 0.8), (0.4, 0.9), (0.3, 0.7)]) == pytest.approx(0.5 * 0.8 + 0.4 * 0.1)
    assert dominated_area([]) == 0.0


def test_a_point_more_never_takes_area_away() -> None:
    points = [(0.5, 0.8), (0.4, 0.9), (0.6, 0.1), (0.5, 0.8)]
    areas = [dominated_area(points[:count]) for count in range(5)]
    assert areas == sorted(areas)


def test_each_criterion_chooses_what_has_most_of_it() -> None:
    paths = {0.5: [[(0.4, 0.9)]], 1.0: [[(0.45, 0.85)]], 2.0: [[(0.5, 0.7)]]}
    factors = {by: choice.factor for by in ("area", "avg", "pass_at_n") if (choice := choose(paths, by))}  # type: ignore[arg-type]
    assert factors == {"area": 1.0, "avg": 2.0, "pass_at_n": 0.5}  # areas 0.36, 0.3825, 0.35


def test_scores_are_means_over_seeds_and_equals_go_to_the_factor_nearest_to_one() -> None:
    choice = choose({2.0: [[(0.5, 1.0)], [(0.3, 1.0)]], 1.0: [[(0.4, 1.0)], [(0.4, 1.0)]]}, "avg")
    assert choice is not None
    assert choice.scores == {2.0: pytest.approx(0.4), 1.0: pytest.approx(0.4)}
    assert choice.factor == 1.0


def test_a_factor_with_a_failed_run_is_no_candidate() -> None:
    choice = choose({1.0: [[(0.4, 0.9)], [(0.4, 0.9)]], 2.0: [[(0.9, 0.9)], []][:1]}, "avg")
    assert choice is not None
    assert choice.factor == 1.0
    assert choose({1.0: [], 2.0: []}, "avg") is None


@pytest.mark.parametrize(
    ("tried", "best", "following"),
    [
        ([0.5, 1.0, 2.0], 2.0, 4.0),
        ([2.0, 0.5, 1.0], 0.5, 0.25),
        ([1.0, 3.0], 3.0, 9.0),
        ([0.5, 1.0, 2.0], 1.0, None),
        ([0.5, 1.0, 2.0, 4.0], 2.0, None),
        ([1.0], 1.0, None),
    ],
)
def test_the_search_goes_on_beyond_an_end_alone(tried: list[float], best: float, following: float | None) -> None:
    assert beyond(tried, best) == following


def test_the_table_says_what_was_chosen_and_by_what() -> None:
    rates = {"factors": [1, 2], "seeds": [1]}
    arms: dict[str, object] = {"grpo": {"irl": None}}
    raw = {"name": "s", "recipe": "smoke", "seeds": [11], "set": {"data": {"num_validation": 4}}, "arms": arms}
    grid = grid_of(check_suite(raw | {"learning_rates": rates}, "s"))
    assert grid.suite.learning_rates is not None
    table = learning_rates(grid, grid.suite.learning_rates, {Cell("grpo"): Choice(2.0, {1.0: 0.25, 2.0: 0.5})})
    assert table.shown == [["grpo", "0.0001", "×2", "25.00", "50.00"]]
    assert "validation problems and seeds 1" in table.caption
    assert table.caption.endswith("At an end of what was searched, beyond which it may be better: grpo.")


def test_the_table_has_the_factors_beyond_those_of_the_suite() -> None:
    raw = {"name": "s", "recipe": "smoke", "seeds": [11], "set": {"data": {"num_validation": 4}}}
    grid = grid_of(check_suite(raw | {"learning_rates": {"factors": [1, 2], "seeds": [1]}, "arms": ARMS}, "s"))
    assert grid.suite.learning_rates is not None
    choices = {
        Cell("grpo"): Choice(2.0, {1.0: 0.25, 2.0: 0.5, 4.0: 0.125}),
        Cell("sps"): Choice(1.0, {0.5: 0.25, 1.0: 0.5, 2.0: 0.125}),
    }
    table = learning_rates(grid, grid.suite.learning_rates, choices)
    assert [column.heading for column in table.columns][3:] == [f"score at ×{factor:g}" for factor in (0.5, 1, 2, 4)]
    assert [row[3:] for row in table.shown] == [["–", "25.00", "50.00", "12.50"], ["25.00", "50.00", "12.50", "–"]]
    assert "At an end" not in table.caption
