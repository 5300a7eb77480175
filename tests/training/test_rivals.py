"""Methods that rival SPS, each through the real loop with IRL phases, and the bits of those that were stopped."""

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from lives import differences, live, live_twice, tiny_recipe
from small_runs import prepare, small_recipe
from unsqueeze.algos.advantages.differential_smoothing import differential_smoothing
from unsqueeze.config.load import arms_of, check_recipe
from unsqueeze.errors import UserError
from unsqueeze.extensions import ADVANTAGES
from unsqueeze.seeds import prompt_seeds
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.estimating import estimator_of
from unsqueeze.training.rehearsal import rehearse
from unsqueeze.training.setup import load_parts

pytestmark = pytest.mark.usefixtures("judged_by_hash")

ESTIMATORS: dict[str, dict[str, Any]] = {
    "max_rl": {"advantage": "max_rl"},
    "pass_at_k": {"advantage": "pass_at_k", "advantage_options": {"k": 2}},
    "pkpo": {"advantage": "pkpo", "advantage_options": {"k": 2}},
    "w_reinforce": {"advantage": "w_reinforce"},
    "nsr": {"advantage": "w_reinforce", "advantage_options": {"right_weight": 0.0}},
    "focal": {"advantage": "focal"},
    "focal_nsr": {
        "advantage": "focal",
        "advantage_options": {"gamma": 0.5, "of": "w_reinforce", "of_options": {"right_weight": 0.0}},
    },
    "differential_smoothing": {"advantage": "differential_smoothing"},
    "ucpo": {"advantage": "ucpo", "advantage_options": {"likelihood": "sum"}},
    "unlikeliness": {"advantage": "unlikeliness"},
}


def metrics_of(path: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in RunDirectory.open(path).metrics.read() if record["kind"] == kind]


@pytest.mark.parametrize("rl", ESTIMATORS.values(), ids=ESTIMATORS)
def test_every_estimator_trains_and_sps_composes(tmp_path: Path, rl: dict[str, Any]) -> None:
    live(tiny_recipe(rl=rl), tmp_path)
    steps = metrics_of(tmp_path, "rl")
    assert len(steps) == 4
    assert all(record["updated"] == (record["informative_groups"] > 0) for record in steps)
    assert any(record["updated"] and record["grad_norm"] > 0 for record in steps)
    assert [record["num_demonstrations"] > 0 for record in metrics_of(tmp_path, "irl")] == [True]
    assert {record.get("num_groups_below_k") for record in steps} == (
        {0} if rl["advantage"] in ("pass_at_k", "pkpo") else {None}
    )


def test_where_every_group_trains_dynamic_sampling_draws_nothing_more(tmp_path: Path) -> None:
    for name, resampled in (("w_reinforce", False), ("max_rl", True)):
        live(tiny_recipe(rl={"advantage": name, "dynamic_sampling": {"max_resample_times": 1}}), tmp_path / name)
        steps = metrics_of(tmp_path / name, "rl")
        assert any(record["num_resamples"] for record in steps) == resampled
        assert {record["informative_groups"] for record in steps if record["num_groups"]} == {1.0}


@pytest.mark.parametrize(
    ("rl", "message"),
    [
        ({"advantage": "pass_at_k", "advantage_options": {"k": 9}}, "k is 9; .* to the size of a group, 4"),
        (
            {"advantage": "ucpo", "overlong": {"soft_cache_length": 4}},
            "of 0 and 1 alone; set rl.overlong to null",
        ),
        ({"advantage": "focal", "advantage_options": {"of": "nobody"}}, r"rl\.advantage_options\.of is 'nobody'"),
        ({"advantage": "unlikeliness", "advantage_options": {"b": 1}}, "its options are: beta"),
    ],
)
def test_what_does_not_fit_is_said_before_training(rl: dict[str, Any], message: str) -> None:
    recipe = tiny_recipe(rl=rl)
    with pytest.raises(UserError, match=message):
        rehearse(recipe, load_parts(recipe))


def test_the_entropy_bonus_follows_the_entropy_also_over_a_stop(tmp_path: Path) -> None:
    """A random model's answers have more than 3 nats a token: at first the target is above them, then below."""
    adaptive = {"target": 100.0, "delta": 0.01, "largest": 0.025}
    recipe = tiny_recipe(rl={"adaptive_entropy": adaptive}, checkpoint={"every_steps": 1})
    live(recipe, tmp_path / "whole")
    live_twice(recipe, tmp_path / "stopped", 2)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []
    steps = metrics_of(tmp_path / "whole", "rl")
    assert [record["entropy_coefficient"] for record in steps] == pytest.approx([0.0, 0.01, 0.02, 0.025])
    below = tiny_recipe(rl={"adaptive_entropy": adaptive | {"target": 0.1}, "entropy_coefficient": 0.02})
    live(below, tmp_path / "below")
    assert [record["entropy_coefficient"] for record in metrics_of(tmp_path / "below", "rl")] == [0.0] * 4


def test_without_a_bonus_that_is_ever_due_nothing_but_its_metric_is_there(tmp_path: Path) -> None:
    live(tiny_recipe(), tmp_path / "plain")
    live(tiny_recipe(rl={"adaptive_entropy": {"target": 0.1}}), tmp_path / "never")
    plain, never = (metrics_of(tmp_path / name, "rl") for name in ("plain", "never"))
    norms = [[record["grad_norm"] or 0.0 for record in steps] for steps in (never, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert [record["updated"] for record in never] == [record["updated"] for record in plain]


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["weights", "lora"])
def test_a_reset_gives_another_reference_and_survives_a_stop(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    rl = {"steps": 5, "kl_coefficient": 0.1, "reset": {"every_steps": 3}}
    recipe = tiny_recipe(rl=rl, irl={"every_steps": 5}, checkpoint={"every_steps": 1}, model={"lora": lora})
    live(recipe, tmp_path / "whole")
    for step in (3, 4):  # just before the reset, and after it
        live_twice(recipe, tmp_path / f"stopped-{step}", step)
        assert differences(tmp_path / "whole", tmp_path / f"stopped-{step}") == []
    steps = metrics_of(tmp_path / "whole", "rl")
    assert steps[2]["kl_ref"] > 1e-6
    assert steps[3]["kl_ref"] == pytest.approx(0, abs=1e-9)  # it is the policy itself
    assert steps[4]["kl_ref"] > 1e-6
    saved = {step: (checkpoint_of(tmp_path / "whole", step) / "reference.safetensors").exists() for step in (3, 4, 5)}
    assert saved == {3: False, 4: True, 5: True}
    [event] = [line for line in RunDirectory.open(tmp_path / "whole").journal.read() if line["event"] == "reset"]
    assert (event["step"], event["optimizer"]) == (4, True)


def checkpoint_of(path: Path, step: int) -> Path:
    return RunDirectory.open(path).checkpoints.path(step) / "state"


def test_a_reset_begins_the_optimizer_anew(tmp_path: Path) -> None:
    for name, optimizer in (("anew", True), ("kept", False)):
        rl = {"kl_coefficient": 0.1, "reset": {"every_steps": 2, "optimizer": optimizer}}
        live(tiny_recipe(rl=rl, irl={"every_steps": 4}, checkpoint={"every_steps": 1}), tmp_path / name)
    counts = {}
    for name in ("anew", "kept"):
        for step in (2, 3):
            moments = load_file(checkpoint_of(tmp_path / name, step) / "optimizer-rl.safetensors")
            counts[name, step] = {int(value) for key, value in moments.items() if key.endswith("/step")}
    assert counts == {("anew", 2): {2}, ("kept", 2): {2}, ("anew", 3): {1}, ("kept", 3): {3}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"rl": {"reset": {"every_steps": 2, "optimizer": False}}}, "so that there is nothing to reset"),
        ({"rl": {"reset": {"every_steps": 2}, "reference": "iteration"}}, "rl.reset is given and rl.reference is iter"),
        ({"rl": {"reset": {"every_steps": 2}}, "irl": {"rank_by": "ratio"}}, "irl.rank_by is ratio.* and rl.reset"),
        ({"rl": {"adaptive_entropy": {"target": 0.0}}}, "rl.adaptive_entropy.target"),
        ({"rl": {"adaptive_entropy": {"target": 1.0}, "entropy_coefficient": 2.0}}, "cannot be above the largest"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_recipe(**sections)


def test_the_recipes_of_the_page_are_recipes_and_name_every_estimator() -> None:
    page = (Path(__file__).parents[2] / "docs/algorithms.md").read_text()
    snippets = [yaml.safe_load(block.partition("```")[0]) for block in page.split("```yaml\n")[1:]]
    recipes = [
        recipe
        for snippet in snippets
        for recipe in arms_of(check_recipe({"name": "x", **snippet}, "docs/algorithms.md"), "x").values()
    ]
    assert len(recipes) >= 14
    named = {recipe.rl.surrogate.advantage for recipe in recipes}
    assert named == set(ADVANTAGES)
    for recipe in recipes:
        assert callable(estimator_of(recipe.rl))


EVERYTHING: dict[str, Any] = {
    "algorithm": "dapo",
    "dynamic_sampling": {"max_resample_times": 1},
    "steps_per_generation": 2,
    "advantage": "focal",
    "advantage_options": {"of": "differential_smoothing"},
    "covariance": {"rule": "clip_cov", "share": 0.1, "low": 0.0},
    "kl_coefficient": 0.01,
    "adaptive_entropy": {"target": 100.0},
    "dph": {"rollouts": 2, "rows": 4},
    "reset": {"every_steps": 3},
}
"""All of them in one recipe, which nobody should want, and none may get in the way of another."""


@pytest.mark.parametrize(
    "model", [{}, {"compute_dtype": "bfloat16"}, {"lora": {"rank": 2}}], ids=["fp32", "bf16", "lora"]
)
def test_all_of_them_at_once_with_sps_survive_a_stop(tmp_path: Path, model: dict[str, Any]) -> None:
    recipe = tiny_recipe(rl=EVERYTHING, irl={"every_steps": 4}, checkpoint={"every_steps": 1}, model=model)
    live(recipe, tmp_path / "whole")
    live_twice(recipe, tmp_path / "stopped", 3)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []
    steps = metrics_of(tmp_path / "whole", "rl")
    assert all(record["updated"] and math.isfinite(record["loss"]) for record in steps)
    assert any(record.get("num_held_back") for record in steps)
    assert metrics_of(tmp_path / "whole", "irl")


def test_the_default_of_differential_smoothing_suits_the_shipped_model(tmp_path: Path) -> None:
    """γ·|L| is a quarter where γ = 1/(4·mean |L|), L the log-prob of an answer, nats."""
    run, _ = prepare(small_recipe(), tmp_path)
    prompts = [run.prompt_tokens(problem) for problem in run.train_problems]
    run.engine.sync(run.policy)
    groups = run.engine.generate(prompts, 16, run.rollout_sampling, seeds=prompt_seeds(0, len(prompts)))
    nats = [-completion.logp_raw.sum() for group in groups for completion in group]
    defaults = inspect.signature(differential_smoothing).parameters
    for name in ("right_weight", "wrong_weight"):
        assert defaults[name].default == pytest.approx(len(nats) / (4 * sum(nats)), rel=0.2)
    run.verifier.close()
    run.directory.close()
