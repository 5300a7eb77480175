"""`export-recipe`: every constant from the recipe, what cannot be said is said, and what would change the loss refused.

The trainers' own parsers read these lines in tests/trainers.
"""

from typing import Any

import pytest

import unsqueeze as uq
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError


def recipe(name: str = "paper/7b-3k-sps-dapo", *changes: str) -> Recipe:
    return uq.load_recipe(name, changes)


def settings(to: str, *changes: str, name: str = "paper/7b-3k-sps-dapo", **layout: Any) -> dict[str, str]:
    return uq.export_recipe(recipe(name, *changes), to=to, **layout).settings


def test_a_step_of_the_paper_on_eight_devices():
    # 16 prompts of 8 rollouts: 128 a step. 8 devices of 8 at a time take 64, so 2 micro-batches; of 4 at a time, 4.
    for to in ("swift", "trl"):
        found = settings(to)
        assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == ("8", "2")
        assert settings(to, per_device=4)["gradient_accumulation_steps"] == "4"
        assert settings(to, devices=2)["gradient_accumulation_steps"] == "8"
        with pytest.raises(UserError, match=r"16 prompts of 8 rollouts are 128 a step, which 3 devices of 8"):
            settings(to, devices=3)


def test_several_steps_a_generation():
    # Ours are optimizer steps; TRL and ms-swift count micro-batches, verl prompts.
    change = "rl.steps_per_generation=4"
    for to in ("swift", "trl"):
        found = settings(to, change)
        assert (found["steps_per_generation"], found["logging_steps"]) == ("8", "4")
    found = settings("verl", change)
    assert found["data.train_batch_size"] == "64"
    assert found["actor_rollout_ref.actor.ppo_mini_batch_size"] == "16"
    assert found["trainer.total_training_steps"] == "175"  # 700 / 4


def test_dapo_and_gspo_by_the_names_of_each_trainer():
    dapo, gspo = settings("swift"), settings("swift", name="paper/7b-3k-gspo")
    assert (dapo["loss_type"], dapo["epsilon"], dapo["epsilon_high"]) == ("dapo", "0.2", "0.28")
    assert (dapo["dynamic_sample"], dapo["max_resample_times"], dapo["soft_cache_length"]) == ("true", "3", "2048")
    assert (gspo["importance_sampling_level"], gspo["epsilon"], gspo["epsilon_high"]) == (
        "sequence",
        "0.0003",
        "0.0004",
    )
    assert "dynamic_sample" not in gspo
    verl = settings("verl", name="paper/7b-3k-gspo")
    assert verl["actor_rollout_ref.actor.policy_loss.loss_mode"] == "gspo"
    assert settings("verl")["algorithm.filter_groups.enable"] == "true"


def test_what_a_trainer_cannot_say_stands_above_the_command():
    lines = uq.export_recipe(recipe(), to="trl").lines()
    comments = [line for line in lines.splitlines() if line.startswith("#")]
    assert any("rl.dynamic_sampling, which TRL has nothing like" in line for line in comments)
    assert any("get_soft_overlong_punishment(3072, 2048)" in line for line in comments)
    assert any("unsqueeze irl --into" in line and "--learning-rate 5e-10" in line for line in comments)
    # 3,000 problems, 16 a step: the first phase ends with step 188 (187.5), where a checkpoint is.
    assert any("SPS, after step 188" in line for line in comments)
    assert "--save_steps 188" in lines
    plain = uq.export_recipe(recipe("paper/7b-3k-grpo"), to="trl").lines()
    assert "unsqueeze irl" not in plain
    assert "--save_steps 100" in plain


@pytest.mark.parametrize("to", ["swift", "trl", "verl"])
def test_parts_of_ours_that_no_trainer_has_are_named(to: str):
    parts = ["rl.adaptive_entropy.target=0.2", "rl.dph={}", "rl.reset={}", "irl.hold={}", "irl.phase_schedule=linear"]
    said = uq.export_recipe(recipe("paper/7b-3k-sps-dapo", *parts, "irl.replay_phases=2"), to=to).lines()
    for name in ("rl.adaptive_entropy", "rl.dph", "rl.reset", "irl.hold", "irl.phase_schedule"):
        assert f"Not carried over: {name}" in said
    assert "Not carried over: irl.replay_phases 2." in said
    ranked = uq.export_recipe(recipe("paper/7b-3k-sps-dapo", "irl.rank_by=ratio"), to=to).lines()
    assert "Not carried over: irl.rank_by ratio" in ranked
    plain = uq.export_recipe(recipe(), to=to).lines()
    assert not any(f"Not carried over: irl.{name}" in plain for name in ("hold", "replay", "phase", "rank", "loss"))
    assert "rl.dph" not in plain


def test_phases_inside_ms_swift():
    from unsqueeze.integrations.swift import read_settings

    def settings_in(lines: str) -> str:
        (found,) = [line for line in lines.splitlines() if "export UNSQUEEZE_SPS=" in line]
        assert '--external_plugins "$(unsqueeze plugin swift)" --callbacks sps' in found
        return found.split("'")[1]

    asked = recipe("paper/7b-3k-sps-dapo", "irl.steps=9")
    given = read_settings(settings_in(uq.export_recipe(asked, to="swift").lines()))
    assert given.irl == asked.irl
    assert given.own.reward == "MathAccuracy"  # beside soft_overlong
    alone = read_settings(settings_in(uq.export_recipe(recipe("paper/7b-3k-sps-grpo"), to="swift").lines()))
    assert alone.own.reward is None
    kept = uq.export_recipe(recipe("paper/7b-3k-sps-grpo", "irl.optimizer_state=persistent"), to="swift").lines()
    assert "The plugin for SPS inside the run does not know irl.optimizer_state." in kept
    asked = recipe("paper/7b-3k-sps-grpo", "irl.rank_by=present", "irl.replay_phases=null")
    assert read_settings(settings_in(uq.export_recipe(asked, to="swift").lines())).irl == asked.irl
    ranked = uq.export_recipe(recipe("paper/7b-3k-sps-grpo", "irl.rank_by=ratio"), to="swift").lines()
    assert "The plugin for SPS inside the run does not know irl.rank_by ratio." in ranked
    assert "UNSQUEEZE_SPS" not in uq.export_recipe(recipe("paper/7b-3k-grpo"), to="swift").lines()


def test_adapters_and_the_own_engine():
    found = settings("swift", "model.lora.rank=8", "rollout.engine=hf")
    assert (found["tuner_type"], found["lora_rank"], found["use_vllm"]) == ("lora", "8", "false")
    assert "rollout_importance_sampling_mode" not in found
    assert settings("trl", "model.lora.rank=8")["lora_r"] == "8"


@pytest.mark.parametrize("to", ["swift", "trl", "verl"])
def test_what_would_change_the_loss_is_refused(to: str):
    with pytest.raises(UserError, match="population_std"):
        settings(to, "rl.advantage_scale=population_std")
    with pytest.raises(UserError, match=r"rollout.stop or rollout.end_tokens is set"):
        settings(to, "rollout.stop=[x]")


def test_the_command_prints_it(command):
    code, out, err = command("export-recipe", "paper/7b-3k-grpo", "--to", "swift", "--set", "rl.steps=9")
    assert code == 0, err
    assert "swift rlhf \\\n  --rlhf_type grpo" in out
    assert "--max_steps 9" in out
    code, _, err = command("export-recipe", "paper/7b-3k-grpo", "--to", "open")
    assert (code, "to is 'open'; it must be one of swift, trl, verl" in err) == (2, True)
