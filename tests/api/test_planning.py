"""`uq.plan`: what `unsqueeze plan` prints, as values."""

import json

import pytest

import unsqueeze as uq
from unsqueeze.errors import UserError


def test_a_plan_is_what_the_command_prints(command):
    plans = uq.plan(
        "paper/1.5b-3k-sps-grpo",
        gpus=2,
        memory=40,
        mean_tokens=600,
        overrides=["rl.steps=190", "parallel.strategy=fsdp"],
    )
    _, out, _ = command(
        "plan", "paper/1.5b-3k-sps-grpo", "--gpus", "2", "--memory", "40", "--mean-tokens", "600",
        "--set", "rl.steps=190", "--set", "parallel.strategy=fsdp", "--json",
    )  # fmt: skip
    ((name, plan),) = plans.items()
    assert json.loads(out) == json.loads(json.dumps({"arm": name, **plan.to_json_object()}))
    assert plan.layout.sharded
    assert plan.memory_limit == 40_000_000_000
    assert plan.estimate.workload.rl_steps == 190
    assert plan.estimate.lengths.mean_response == 600
    assert plan.fits == (plan.estimate.memory.peak <= plan.memory_limit)


def test_what_would_make_it_fit_is_only_said_where_it_does_not():
    (tight,) = uq.plan("paper/1.5b-3k-sps-grpo", memory=30).values()
    (wide,) = uq.plan("paper/1.5b-3k-sps-grpo", memory=3000).values()
    assert not tight.fits
    assert tight.to_fit
    assert wide.fits
    assert wide.to_fit == []


def test_every_arm_has_a_plan_and_a_recipe_may_be_given_in_any_form():
    named = uq.plan("quickstart", device="cpu")
    given = uq.plan(uq.load_recipe("quickstart"), device="cpu")
    assert list(named) == ["grpo", "sps"]
    assert named == given
    assert named["grpo"].estimate.workload.irl_phases == 0
    assert named["sps"].estimate.workload.irl_phases > 0
    plain = {"name": "mine", "rl": {"steps": 3, "prompts_per_step": 4}, "data": {"kind": "countdown"}}
    assert uq.plan(plain, device="cpu")["mine"].estimate.workload.rl_steps == 3
    assert uq.plan(plain, device="cpu", overrides=["rl.steps=4"])["mine"].estimate.workload.rl_steps == 4
    assert plain["rl"]["steps"] == 3  # what the caller holds is left as it is


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"device": "abacus"}, ["device is 'abacus'", "h100"]),
        ({"overrides": ["rollout.max_tokens=128"]}, ["rollout.max_tokens is 128", "context is 128"]),
        ({"overrides": ["model.path=some/model"]}, ["model.path is 'some/model'", "config"]),
        ({"overrides": ["rl.steps"]}, ["setting 'rl.steps'", "section.key=value"]),
    ],
)
def test_a_mistake_is_one_sentence(given: dict, words: list[str]):
    with pytest.raises(UserError) as refused:
        uq.plan("smoke", **given)
    for word in words:
        assert word in str(refused.value)
