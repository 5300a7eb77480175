"""`uq.open_run`: a run on disk as tables, in the numbers that the store wrote."""

from pathlib import Path

import numpy as np
import pytest

import unsqueeze as uq
from small_runs import run_to_end, small_recipe
from unsqueeze.errors import UserError

RECIPE = small_recipe(
    rl={"steps": 3, "group_size": 4},
    rollout={"max_tokens": 8},
    data={"num_validation": 2},
    evaluation={"validation_n": 2},
    checkpoint={"every_steps": 2},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A small run, as it was in the process that made it."""
    return run_to_end(RECIPE, tmp_path_factory.mktemp("runs") / "sps")


@pytest.fixture(scope="module")
def run(made):
    """The same run, opened."""
    return uq.open_run(made[0].directory.path)


def test_what_it_was_asked_and_what_happened(run, made):
    assert run.recipe == RECIPE
    assert run.info["data"]["num_train"] == 12
    assert run.reports == made[1]
    assert [event["event"] for event in run.events].count("phase_finished") == 3
    assert run.checkpoints == {step: run.path / "checkpoints" / f"step-00000{step}" / "policy" for step in (2, 3)}
    assert run.best.step in (2, 3)


def test_metrics_are_a_row_a_step(run, made):
    table = run.metrics
    assert table["kind"].to_pylist() == ["rl", "rl", "irl", "irl", "rl"]
    assert table["loss"].to_pylist() == [record["loss"] for record in made[0].directory.metrics.read()]
    # What an RL step has and an IRL update has not is null there.
    assert [value is None for value in table["reward"].to_pylist()] == [False, False, True, True, False]
    assert table["irl_update"].to_pylist() == [None, None, 1, 2, None]


def test_rollouts_are_a_row_each_of_the_steps_asked_for(run, made):
    assert run.rollout_steps == [1, 2, 3]
    assert run.rollouts().num_rows == 3 * 4 * 4
    table = run.rollouts([2])
    stored = [rollout for group in made[0].directory.rollouts.read(2) for rollout in group.rollouts]
    assert table["text"].to_pylist() == [rollout.completion.text for rollout in stored]
    for row, rollout in zip(table["logp_raw"].to_pylist(), stored, strict=True):
        assert np.array_equal(np.array(row, np.float32), rollout.completion.logp_raw)


def test_demonstrations_carry_their_phase(run, made):
    table = run.demonstrations()
    stored = made[0].directory.demos.read(1)
    assert table["phase"].to_pylist() == [1] * len(stored)
    assert table["mean_logp"].to_pylist() == [demo.mean_logp for demo in stored]


def test_evaluations_are_summaries_and_their_samples_tables(run, made):
    assert list(run.evaluations) == [0, 3]
    assert list(run.validations) == [2, 3]
    assert run.evaluations[3] == made[0].directory.evals.summary(3)
    samples = run.samples(3)
    assert samples.num_rows == 4 * 4
    correct = [value for value in samples["correct"].to_pylist() if value is not None]
    assert np.mean(correct) == pytest.approx(run.evaluations[3].avg.mean)
    with pytest.raises(UserError, match=r"no evaluation after step 1; it has \[0, 3\]"):
        run.samples(1)


def test_reading_writes_nothing_and_locks_nothing(run):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    again = uq.open_run(run.path)
    _ = (again.metrics, again.rollouts(), again.evaluations, again.best, again.demonstrations())
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_arms_are_named(run, tmp_path: Path):
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "sps").symlink_to(run.path)
    with pytest.raises(UserError, match=r"both holds arms, not a run: name one of .*both/sps"):
        uq.open_run(tmp_path / "both")
    arms = uq.open_arms(tmp_path / "both")
    assert list(arms) == ["sps"]
    assert arms["sps"].metrics.num_rows == 5
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"no run directory"):
            uq.open_run(folder)
        with pytest.raises(UserError, match="holds no arms"):
            uq.open_arms(folder)
