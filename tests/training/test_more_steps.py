"""A run that is given more RL steps goes on as if it had been given them at first, or is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lives import Told, differences, live, tiny_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.progress import StopRequest
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.arms import train_arm
from unsqueeze.training.same_run import check_same_run, with_steps

pytestmark = pytest.mark.usefixtures("judged_by_hash")

EVERYTHING = {"every_steps": 1, "gauges_every_steps": 1}
"""Measured after every step, so that there is nothing more to measure at an end in between."""


def recipe_of(sections: dict[str, Any]) -> Recipe:
    sections = dict(sections)
    irl = sections.pop("irl", {})
    recipe = tiny_recipe(**sections, irl=irl or {})
    return recipe.model_copy(update={"irl": None}) if irl is None else recipe


@pytest.mark.parametrize(
    "sections",
    [
        {},  # RL 1-3, IRL, and of the second RL phase step 4: it goes on to step 6
        {"irl": {"every_steps": 2}},  # the end is that of an IRL phase
        {"irl": None, "rl": {"reference": "iteration", "kl_coefficient": 0.1}},  # one RL phase, and pulled to its start
        {"irl": {"every_steps": 4}, "rl": {"steps_per_generation": 2}},  # 4 = 2 generations of 2
    ],
    ids=["in a phase", "after IRL", "without IRL", "generations of two steps"],
)
def test_a_run_that_grows_is_the_longer_run(tmp_path: Path, sections: dict[str, Any]):
    """4 steps, then 8, against 8 from the start: every file, bit for bit."""
    short = recipe_of(sections | {"evaluation": EVERYTHING})
    live(with_steps(short, 8), tmp_path / "whole")
    live(short, tmp_path / "grown")
    live(with_steps(short, 8), tmp_path / "grown")
    assert differences(tmp_path / "whole", tmp_path / "grown") == []


def test_what_was_measured_at_the_old_end_stays(tmp_path: Path):
    """The journal says what was asked for, run.json what the run was started with, and the tables read the new end."""
    path = tmp_path / "run"
    live(tiny_recipe(), path)
    before = RunDirectory.open(path)
    end, samples = before.evals.record(4), before.evals.samples(4)
    result = train_arm("tiny", with_steps(tiny_recipe(), 6), path, Told(), StopRequest())
    run = RunDirectory.open(path)
    assert (run.evals.record(4), run.evals.samples(4)) == (end, samples)
    assert run.evals.steps() == [0, 4, 6]
    assert run.info["recipe"]["rl"]["steps"] == 4
    events = run.journal.read()
    assert [event["changed"] for event in events if event["event"] == "resumed"] == [{"rl.steps": 6}]
    assert [event["steps"] for event in events if event["event"] == "finished"] == [4, 6]
    assert result.after == run.evals.summary(6)
    # The phase of steps 4 to 6 counts once, as it is now; IRL follows it.
    assert [(report.kind, report.first_step, report.last_step) for report in result.reports] == [
        ("rl", 1, 3), ("irl", 1, 3), ("rl", 4, 6), ("irl", 4, 6),
    ]  # fmt: skip


def test_one_killed_before_its_new_end_goes_on(tmp_path: Path):
    """The journal has a 'finished' and the evaluation of step 8 is there, but its checkpoint is not."""
    whole, path = tmp_path / "whole", tmp_path / "run"
    recipe = tiny_recipe(evaluation=EVERYTHING)
    live(with_steps(recipe, 8), whole)
    live(recipe, path)
    live(with_steps(recipe, 8), path)
    lines = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (path / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    shutil.rmtree(path / "checkpoints" / "step-000008")
    live(with_steps(recipe, 8), path)
    assert differences(whole, path) == []


def test_steps_only_grow(tmp_path: Path):
    path = tmp_path / "run"
    live(tiny_recipe(), path)
    data = RunDirectory.open(path).info["data"]
    with pytest.raises(UserError, match=r"goes to rl\.steps 4 already, and 3 is given now; .* may only grow"):
        check_same_run(RunDirectory.open(path), with_steps(tiny_recipe(), 3), data)
    live(with_steps(tiny_recipe(), 6), path)
    with pytest.raises(UserError, match=r"goes to rl\.steps 6 already, and 4 is given now.*rl\.steps=6 or more"):
        check_same_run(RunDirectory.open(path), tiny_recipe(), data)
    check_same_run(RunDirectory.open(path), with_steps(tiny_recipe(), 6), data)


def test_a_generation_that_the_end_cut_short_is_refused(tmp_path: Path):
    """Steps 1 to 3 of a phase in generations of two: the one for step 3 alone would have served step 4, too."""
    path = tmp_path / "run"
    recipe = with_steps(tiny_recipe(rl={"steps_per_generation": 2}, irl={"every_steps": 3}), 5)
    live(recipe, path)  # phases of steps 1-3 and 4-5; of each the generations are 1-2, 3 and 4-5
    data = RunDirectory.open(path).info["data"]
    check_same_run(RunDirectory.open(path), with_steps(recipe, 6), data)
    other = tmp_path / "other"
    recipe = with_steps(recipe, 4)
    live(recipe, other)  # and here 4 alone
    with pytest.raises(UserError, match=r"from rl\.steps 4 to 6: .* made for step 4 alone, .* serves steps 4 to 5"):
        check_same_run(RunDirectory.open(other), with_steps(recipe, 6), data)
