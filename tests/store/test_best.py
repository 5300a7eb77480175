"""The best checkpoint: chosen on validation problems, recorded nowhere but in what is stored, and never removed."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lives import differences, live, tiny_recipe
from small_runs import evaluation_record
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.config.run_settings import CheckpointSettings
from unsqueeze.errors import RunError, UserError
from unsqueeze.evaluation.settings import checkpoint_of
from unsqueeze.progress import Interrupted, StopRequest
from unsqueeze.store.best import Best, best_checkpoint
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.countdown import (
    CountdownDifficulty,
    countdown_problems,
    countdown_validation_problems,
    is_held_out,
    parse_prompt,
)
from unsqueeze.tasks.task import Data, task_named
from unsqueeze.training.checkpoint import is_due

pytestmark = pytest.mark.usefixtures("judged_by_hash")

RECIPE = tiny_recipe(
    data={"num_validation": 3},
    evaluation={"validation_n": 2},
    checkpoint={"every_steps": 1, "keep_last": 1, "keep_phase_ends": True},
)
"""Phases end after steps 3 (RL and IRL) and 4."""


def load(settings: DataSettings) -> Data:
    return task_named(settings.kind).load(settings)


def stored(path: Path, results: dict[int, tuple[float | None, float | None]]) -> RunDirectory:
    """A run with a checkpoint after each step, and (Avg@4, Pass@4) on five validation problems."""
    run = RunDirectory.create(path, {})
    for step, (avg, pass_at_4) in results.items():
        run.checkpoints.save(step, lambda folder: (folder / "weights").touch())
        run.validation.finish(step, evaluation_record(5, avg, {1: avg, 4: pass_at_4}))
    return run


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ({}, None),
        ({10: (0.5, 0.6), 20: (0.6, 0.6), 30: (0.55, 0.9)}, 20),  # by Avg@n first
        ({10: (0.5, 0.6), 20: (0.5, 0.7), 30: (0.5, 0.65)}, 20),  # then Pass@n
        ({10: (0.4, 0.6), 20: (0.5, 0.7), 30: (0.5, 0.7)}, 20),  # then the earlier step
        ({10: (0.0, None), 20: (None, None), 30: (0.0, 0.0)}, 30),  # what is not known is worst
    ],
)
def test_avg_then_pass_then_the_earlier_step(tmp_path: Path, results: dict, best: int | None):
    chosen = best_checkpoint(stored(tmp_path / "run", results))
    assert (chosen and chosen.step) == best


def test_a_checkpoint_that_is_gone_or_was_not_validated_is_no_candidate(tmp_path: Path):
    run = stored(tmp_path / "run", {1: (0.1, 0.1), 2: (0.9, 0.9)})
    shutil.rmtree(run.checkpoints.path(2))
    run.checkpoints.save(3, lambda folder: (folder / "weights").touch())
    assert best_checkpoint(run) == Best(step=1, num_problems=5, n=4, avg=0.1, pass_at_n=0.1)


def test_a_damaged_validation_is_named(tmp_path: Path):
    run = stored(tmp_path / "run", {1: (0.1, 0.1), 2: (0.9, 0.9)})
    run.validation.summary_path(2).write_text("{")
    with pytest.raises(RunError, match=r"step-000002.json cannot be read.*move that file out"):
        best_checkpoint(run)
    run.validation.summary_path(2).write_text("{}")
    with pytest.raises(RunError, match=r"validation holds an evaluation that cannot be read.*move that file out"):
        best_checkpoint(run)


@given(seed=st.integers(0, 1000), num_train=st.integers(1, 30), num=st.integers(1, 20))
def test_validation_problems_are_neither_trained_nor_tested_on(seed: int, num_train: int, num: int):
    """Of whatever seed: a test problem is on the other side of a fixed split."""
    difficulty = CountdownDifficulty()
    train, _ = countdown_problems(num_train, 1, seed, difficulty)
    validation = countdown_validation_problems(num, seed, difficulty, train)
    assert len({problem.id for problem in validation}) == num
    assert not {problem.id for problem in validation} & {problem.id for problem in train}
    assert not any(is_held_out(*parse_prompt(problem.prompt)) for problem in validation)
    assert validation == countdown_validation_problems(num + 1, seed, difficulty, train)[:num]


def test_asking_for_validation_changes_no_other_countdown_problem():
    without = load(DataSettings(num_train=30, num_test=9))
    data = load(DataSettings(num_train=30, num_test=9, num_validation=7))
    assert (data.train, data.test) == (without.train, without.test)
    assert (len(without.validation), len(data.validation)) == (0, 7)


def jsonl(path: Path, numbers: range, repeat: int = 1) -> str:
    lines = [json.dumps({"problem": f"What is {i} + {i}?", "answer": str(2 * i)}) for i in numbers] * repeat
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def texts(problems) -> set[str]:
    return {problem.prompt for problem in problems}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """40 training problems, each there twice, and 5 to test on."""
    return {
        "kind": "jsonl",
        "train_path": jsonl(tmp_path / "train.jsonl", range(40), repeat=2),
        "test_path": jsonl(tmp_path / "test.jsonl", range(100, 105)),
    }


@pytest.mark.parametrize("num_train", [20, None])
def test_validation_problems_are_set_apart_from_a_training_file(files: dict, num_train: int | None):
    without = load(DataSettings(**files, num_train=num_train, num_test=None))
    data = load(DataSettings(**files, num_train=num_train, num_test=None, num_validation=10))
    assert len(texts(data.validation)) == len(data.validation) == 10
    assert not texts(data.validation) & texts(data.train)
    assert data.test == without.test
    if num_train is None:  # the file is shared out: both copies of a validation problem leave training
        assert texts(data.train) | texts(data.validation) == texts(without.train)
        assert len(data.train) == 60
    else:
        assert data.train == without.train
    again = load(DataSettings(**files, num_train=num_train, num_test=None, num_validation=10))
    assert data == again
    other = load(DataSettings(**files, num_train=num_train, num_test=None, num_validation=10, seed=1))
    assert texts(other.validation) != texts(data.validation)


def test_more_validation_problems_than_are_left(files: dict):
    with pytest.raises(UserError, match=r"num_validation is 41, but .*train.jsonl holds only 40 .* lower it"):
        load(DataSettings(**files, num_train=None, num_test=None, num_validation=41))


def test_a_validation_file(files: dict, tmp_path: Path):
    whole = jsonl(tmp_path / "validation.jsonl", range(200, 208))
    settings = dict(files, num_train=None, num_test=None)
    data = load(DataSettings(**settings, validation_path=whole))
    assert len(data.validation) == 8
    assert len(load(DataSettings(**settings, validation_path=whole, num_validation=3)).validation) == 3
    for numbers, other in ((range(39, 43), "train_path"), (range(104, 108), "test_path")):
        shared = jsonl(tmp_path / "shared.jsonl", numbers)
        with pytest.raises(UserError, match=rf"1 problem stands in both .*{other}") as caught:
            load(DataSettings(**settings, validation_path=shared))
        assert "data.validation_path" in str(caught.value)


def test_a_validation_file_is_no_file_of_countdown():
    with pytest.raises(UserError, match=r"give data\.num_validation instead"):
        load(DataSettings(validation_path="some.jsonl", num_validation=3))


@pytest.mark.parametrize(
    ("settings", "step", "last", "phase_end", "due"),
    [
        ({"every_steps": 5}, 10, False, False, True),
        ({"every_steps": 5}, 11, False, True, False),
        ({"every_steps": 5, "keep_phase_ends": True}, 11, False, True, True),
        ({"every_steps": None}, 11, False, True, False),
        ({"every_steps": None}, 11, True, True, True),
    ],
)
def test_when_a_checkpoint_is_due(settings: dict, step: int, last: bool, phase_end: bool, due: bool):
    assert is_due(CheckpointSettings(**settings), step, last=last, phase_end=phase_end) == due


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    live(RECIPE, path)
    return path


def test_the_best_and_phase_ends_stay(whole: Path):
    """The last one, both phase ends and the best are left; the journal and the command line name the best."""
    run = RunDirectory.open(whole)
    assert run.validation.steps() == [1, 2, 3, 4]
    assert run.validation.summary(2).n_problems == 3
    assert run.evals.steps() == [0, 4]
    best = best_checkpoint(run)
    assert best is not None
    assert run.checkpoints.steps() == sorted({best.step, 3, 4})
    summaries = {step: run.validation.summary(step) for step in run.validation.steps()}
    assert best.avg == max(summary.avg.mean for summary in summaries.values())
    last = run.journal.last("finished")
    assert last is not None
    assert last["best"]["step"] == best.step
    assert checkpoint_of(str(whole / "checkpoints" / "best")) == str(run.checkpoints.path(best.step) / "policy")


def test_a_stop_loses_no_best_checkpoint(whole: Path, tmp_path: Path):
    """Stopped after the second checkpoint and resumed: every bit, and the same best one."""
    path = tmp_path / "run"

    class Stop(StopRequest):
        def check(self) -> None:
            if (path / "checkpoints" / "step-000002").exists():
                raise Interrupted

    with pytest.raises(Interrupted):
        live(RECIPE, path, Stop())
    live(RECIPE, path)
    assert differences(whole, path) == []


def test_validation_changes_no_bit_of_training(whole: Path, tmp_path: Path):
    path = tmp_path / "plain"
    live(tiny_recipe(), path)
    ours, theirs = (RunDirectory.open(run).checkpoints.path(4) / "state" for run in (whole, path))
    assert (ours / "weights.safetensors").read_bytes() == (theirs / "weights.safetensors").read_bytes()
    assert best_checkpoint(RunDirectory.open(path)) is None
    with pytest.raises(UserError, match="test problems must not choose"):
        checkpoint_of(str(path / "checkpoints" / "best"))
