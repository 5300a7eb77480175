"""The estimate of a suite's time: counted by hand."""

import pytest

from unsqueeze.config.load import check_recipe
from unsqueeze.labs.grid import Cell, PlannedPoint, PlannedRun
from unsqueeze.labs.timing import RESAMPLED, Pace, planned_seconds, wall_seconds

PACE = Pace(start_s=5.0, generated_s=0.01, updated_s=0.02, evaluated_s=0.001, rest_s=0.1)
SIZES = {"train": 40, "test": 10}


def planned(seed: int = 1, **sections: object) -> PlannedRun:
    plain = {"rl": {"steps": 10, "prompts_per_step": 4, "group_size": 4}, "evaluation": {"n": 8}}
    recipe = check_recipe({"name": "lab", "seed": seed, "data": {"num_test": 10}, **plain, **sections}, "test")
    return PlannedRun(Cell("arm"), seed, 1.0, "reported", recipe)


def seconds(*runs: PlannedRun | PlannedPoint) -> list[float]:
    return list(planned_seconds(runs, PACE, SIZES).values())


def test_the_parts_of_a_run_add_up() -> None:
    # 5 to start, 10 steps of 16 rows at 0.03 and 0.1 each, two evaluations of 80 samples.
    assert seconds(planned()) == [pytest.approx(5 + 10 * 16 * 0.03 + 10 * 0.1 + 2 * 80 * 0.001)]


def test_irl_validation_and_evaluations_in_between_are_counted() -> None:
    run = planned(
        irl={"every_steps": 5, "steps": 4, "batch_size": 8},
        data={"num_test": 10, "num_validation": 5, "num_train": 40},
        evaluation={"n": 8, "every_steps": 4, "validation_n": 2},
        checkpoint={"every_steps": 5},
    )
    irl = 2 * 4 * 8 * 0.02
    evaluated = (1 + 3) * 80 + 2 * 5 * 2  # before, after 4, 8 and 10; two checkpoints are validated
    assert seconds(run) == [pytest.approx(5 + 10 * 16 * 0.03 + irl + evaluated * 0.001 + 1)]


def test_dynamic_sampling_generates_more() -> None:
    rl = {"steps": 10, "prompts_per_step": 4, "group_size": 4}
    plain, dapo = planned(rl=rl), planned(rl=rl | {"dynamic_sampling": {"max_resample_times": 3}})
    assert seconds(dapo)[0] - seconds(plain)[0] == pytest.approx(10 * 16 * 0.01 * (RESAMPLED - 1))


def test_what_is_equal_is_counted_once() -> None:
    first, second = planned(), planned(rl={"steps": 10, "prompts_per_step": 4, "group_size": 4, "clip_high": 0.3})
    one, other = seconds(first, second)
    assert one - other == pytest.approx(80 * 0.001)  # the evaluation before training
    assert len(seconds(first, planned())) == 1


def test_a_free_point_is_an_evaluation() -> None:
    assert seconds(PlannedPoint(Cell("mean"), planned(), share=0.5, last=1, temperature=0.7)) == [
        pytest.approx(5 + 80 * 0.001)
    ]


def test_runs_go_to_whoever_is_free_first() -> None:
    assert wall_seconds([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert wall_seconds([3.0, 1.0, 1.0, 1.0], 1) == 6.0
    assert wall_seconds([], 2) == 0.0
