"""A run all of whose parts are the user's own, named in the recipe: trained, stored, and refused where one is wrong."""

import json
from pathlib import Path

import pytest

import own_parts
from small_runs import prepare, run_to_end, small_recipe, weights, without_timings
from unsqueeze.errors import UserError
from unsqueeze.training.rehearsal import rehearse
from unsqueeze.training.setup import load_parts

OWN = {
    "data": {"kind": "own_parts:Numbers", "num_train": 6, "num_test": 3},
    "rollout": {"engine": "own_parts:engine"},
    "rl": {"steps": 2, "loss": "own_parts:rl_loss", "advantage": "own_parts:centred"},
    "irl": {"every_steps": 2, "loss": "own_parts:irl_loss"},
}


def test_every_part_may_be_ones_own(tmp_path: Path) -> None:
    own_parts.CALLS.clear()
    recipe = small_recipe(**OWN)
    rehearse(recipe, load_parts(recipe))
    assert set(own_parts.CALLS) == {"verify", "advantages", "rl loss", "irl loss", "engine"}
    own_parts.CALLS.clear()
    run, _ = run_to_end(recipe, tmp_path / "run")
    assert set(own_parts.CALLS) == {"verify", "advantages", "rl loss", "irl loss", "engine"}
    info = json.loads((tmp_path / "run/run.json").read_text())
    assert info["data"]["num_train"] == 6
    assert set(info["data"]["sha256"]) == {"own_parts:Numbers train", "own_parts:Numbers test"}
    [group, *_] = run.directory.rollouts.read(1)
    assert group.problem.task == "own_parts:Numbers"


def test_ones_own_copies_of_what_ships_change_no_number(tmp_path: Path) -> None:
    shipped = small_recipe(data=OWN["data"], rl={"steps": 2, "algorithm": "dr_grpo"}, irl={"every_steps": 2})
    own = small_recipe(**{**OWN, "rl": OWN["rl"] | {"algorithm": "dr_grpo"}})
    runs = [run_to_end(recipe, tmp_path / name)[0] for name, recipe in (("shipped", shipped), ("own", own))]
    one, other = (without_timings(run.directory.metrics.read()) for run in runs)
    assert one == other
    assert all((weights(runs[0])[name] == value).all() for name, value in weights(runs[1]).items())


def test_an_option_reaches_the_estimator(tmp_path: Path) -> None:
    recipe = small_recipe(**{**OWN, "rl": OWN["rl"] | {"advantage_options": {"scale": 0.0}}})
    run, reference = prepare(recipe, tmp_path / "run")
    assert reference is None
    assert run.estimator.keywords == {"scale": 0.0}
    run.verifier.close()
    run.directory.close()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"rl": {"loss": "own_parts:no_loss"}}, "rl.loss own_parts:no_loss gave a float; a loss gives"),
        ({"rl": {"loss": "own_parts:loss_of_two"}}, "rl.loss own_parts:loss_of_two cannot be called as a loss is"),
        ({"irl": {"loss": "own_parts:no_loss"}}, "irl.loss own_parts:no_loss gave a float; a loss gives"),
        ({"irl": {"loss": "own_parts:nothing"}}, "irl.loss is 'own_parts:nothing', and own_parts has no nothing"),
        ({"rl": {"advantage": "own_parts:no_loss"}}, "no_loss gave a float; it must give algos.groups.Advantages"),
        (
            {"rl": {"advantage": "own_parts:counted", "overlong": {"soft_cache_length": 4}}},
            "estimator of advantages counted: it takes rewards of 0 and 1 alone; set rl.overlong to null",
        ),
        ({"rl": {"advantage_options": {"k": 2}}}, "rl.advantage_options do not fit group_relative"),
        ({"verify": {"verifier": "own_parts:nothing"}}, "verify.verifier is 'own_parts:nothing'"),
    ],
)
def test_a_part_that_does_not_fit_is_found_before_training(sections: dict, message: str) -> None:
    recipe = small_recipe(**sections)
    with pytest.raises(UserError, match=message):
        rehearse(recipe, load_parts(recipe))


def test_a_verifier_of_ones_own_need_not_take_the_tasks_gold_answer() -> None:
    # A maker of verifiers, and a function: neither finds Countdown's gold steps right, and neither is asked to.
    own_parts.CALLS.clear()
    for name in ("says", "holds_target"):
        recipe = small_recipe(verify={"verifier": f"own_parts:{name}"})
        rehearse(recipe, load_parts(recipe))
    assert own_parts.CALLS[0] == "maker, anywhere"
    assert "verify" in own_parts.CALLS
