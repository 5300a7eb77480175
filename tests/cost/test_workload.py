"""What a recipe asks for, against numbers derived by hand."""

import pytest

from small_runs import small_recipe
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.cost.disk import estimate_disk
from unsqueeze.cost.estimate import assumed_response
from unsqueeze.cost.units import in_bytes, in_time
from unsqueeze.cost.workload import Lengths, count_workload, marks
from unsqueeze.tasks.task import task_named

LENGTHS = Lengths(longest_prompt=100, mean_prompt=50, longest_response=1000, mean_response=400)


def test_the_quickstart_counted():
    recipe = load_recipe("quickstart")
    work = count_workload(arms_of(recipe, "quickstart")["sps"], num_train=800, num_test=96)
    # A pass is 800 / 16 = 50 steps: ten whole ones in 525 steps, each followed by IRL, and 25 steps that end the run.
    assert (work.rl_phases, work.irl_phases) == (11, 10)
    assert work.rollouts == 525 * 128
    assert work.irl_updates == 40
    assert work.demonstrations_per_update == 512  # of 50 · 16 · 3 = 2,400
    assert work.evaluations == 2
    assert work.evaluation_samples == 2 * 96 * 128
    assert work.checkpoints == 6  # 100, 200, …, 500, 525


def expected(name: str) -> float | None:
    """The tokens that the task of a recipe expects of a response."""
    data = load_recipe(name).data
    found = task_named(data.kind).expected(data)
    return None if found is None else found.response


def test_the_assumed_length_of_responses():
    # 14 * 3 = 42 , 42 + 6 = 48 , 48 - 2 = 48 and the end: three steps of five tokens, each with one after it.
    assert assumed_response(load_recipe("smoke"), expected("smoke")) == 18
    assert assumed_response(load_recipe("smoke", ["rollout.max_tokens=12"]), expected("smoke")) == 12
    assert assumed_response(load_recipe("paper/1.5b-3k-sps-grpo"), expected("paper/1.5b-3k-sps-grpo")) == 3072 / 2


def test_the_papers_recipe_counted():
    work = count_workload(load_recipe("paper/1.5b-3k-sps-grpo"), num_train=3000, num_test=150)
    # 3,000 / 16 = 187.5 steps a pass: passes are complete with steps 188, 375 and 563 of 700.
    assert (work.rl_phases, work.irl_phases) == (4, 3)
    assert work.irl_updates == 12
    assert (work.evaluations, work.checkpoints) == (8, 7)
    assert work.rollouts == 89_600


def test_generations_of_several_steps_end_with_their_phase():
    recipe = small_recipe(rl={"steps": 9, "steps_per_generation": 4}, irl={"every_steps": 5})
    # Phases of 5 and 4 steps: generations of 4 + 1 and of 4.
    assert count_workload(recipe, num_train=12, num_test=4).generations == 3


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(5, None, {5}), (5, 1, {1, 2, 3, 4, 5}), (5, 2, {2, 4, 5}), (6, 2, {2, 4, 6}), (3, 7, {3})],
)
def test_marks_are_multiples_and_the_last(steps: int, every: int | None, expected: set[int]):
    assert marks(steps, every) == expected


def test_what_validation_and_retention_add():
    # Checkpoints after steps 3, 5 (the end), and where phases end: 2, 4, 5. Kept: the last, phase ends, the best.
    checkpoint = {"every_steps": 3, "keep_last": 1, "keep_phase_ends": True}
    recipe = small_recipe(checkpoint=checkpoint, evaluation={"validation_n": 2})
    work = count_workload(recipe, num_train=12, num_test=4, num_validation=6)
    assert (work.checkpoints, work.checkpoints_kept) == (4, 4)
    assert work.validations == 4
    assert work.evaluation_samples == 2 * 4 * 4 + 4 * 6 * 2
    plain = small_recipe(checkpoint=checkpoint | {"keep_phase_ends": False})
    work = count_workload(plain, num_train=12, num_test=4)
    assert (work.checkpoints, work.checkpoints_kept, work.validations) == (2, 1, 0)


def test_a_checkpoint_is_the_export_the_weights_the_moments_and_the_start_of_the_phase():
    recipe = small_recipe(checkpoint={"dtype": "bfloat16", "every_steps": 1})
    work = count_workload(recipe, num_train=12, num_test=4)
    disk = estimate_disk(recipe, work, LENGTHS, num_parameters=1000, num_trainable=100)
    assert disk.checkpoint == 2 * 1000 + (4 + 8 + 4) * 100
    assert disk.checkpoints == 5 * disk.checkpoint
    kept = small_recipe(checkpoint={"every_steps": 1, "keep_last": 2}, irl={"optimizer_state": "persistent"})
    work = count_workload(kept, num_train=12, num_test=4)
    disk = estimate_disk(kept, work, LENGTHS, num_parameters=1000, num_trainable=1000)
    assert disk.checkpoint == 4 * 1000 + (4 + 16 + 4) * 1000
    assert disk.checkpoints == 3 * disk.checkpoint  # two, and a third before the oldest goes


def test_rollouts_and_samples_weigh_what_their_tokens_do():
    recipe = small_recipe()
    work = count_workload(recipe, num_train=12, num_test=4)
    disk = estimate_disk(recipe, work, LENGTHS, num_parameters=1, num_trainable=1)
    # 5 steps of 16 rollouts: 400 tokens at 11 bytes, 50 of the prompt at 1, and 40 a row; a file a step at 6,000.
    assert disk.rollouts == 5 * 16 * (4400 + 50 + 40) + 5 * 6000
    # Two evaluations of 4 · 4 samples: 400 tokens at 2 bytes and 40 a row; a file each.
    assert disk.evaluations == 2 * 16 * (800 + 40) + 2 * 6000


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5.44e9, "5.4 GB"), (27.8e9, "28 GB")]
)
def test_sizes_as_a_person_reads_them(size: float, text: str):
    assert in_bytes(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.5, "0.5 s"), (59, "59 s"), (90, "1.5 min"), (50_400, "14 h")])
def test_times_as_a_person_reads_them(seconds: float, text: str):
    assert in_time(seconds) == text
