"""What SPSConfig and SPSTrainer refuse before anything is trained, each in one sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainers.chat_model import EMBEDDED
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.errors import UserError

pytestmark = pytest.mark.slow

SOFT_PROMPT = SimpleNamespace(
    peft_config={"default": SimpleNamespace(peft_type="PROMPT_TUNING")}, get_base_model=lambda: None
)
"""An adapter that is no part of the model's own layers."""


def trainer_like(**changes: Any) -> Any:
    from transformers import AutoModelForCausalLM

    args = SimpleNamespace(
        use_vllm=False,
        vllm_mode="colocate",
        fp16=False,
        restore_callback_states_from_checkpoint=False,
        steps_per_generation=1,
        gradient_accumulation_steps=1,
        sps_every_steps=1,
        sps_rank_by="behaviour",
        sps_replay_phases=1,
        sps_k=3,
        num_generations=4,
        sync_ref_model=False,
    )
    for name in set(changes) & set(vars(args)):
        setattr(args, name, changes.pop(name))
    whole = {
        "args": args,
        "is_deepspeed_enabled": False,
        "is_fsdp_enabled": False,
        "_is_vlm": False,
        "tools": [],
        "environment_factories": None,
        "rollout_func": None,
        "model": AutoModelForCausalLM.from_pretrained(EMBEDDED),
        "ref_model": None,
        "num_iterations": 1,
        "train_dataset": [],
    }
    return SimpleNamespace(**whole | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_deepspeed_enabled": True}, "with DeepSpeed;"),
        ({"is_fsdp_enabled": True}, "with FSDP;"),
        ({"_is_vlm": True}, "with models that read images;"),
        ({"tools": [print]}, "with tools and environments;"),
        ({"rollout_func": print}, "with a rollout_func;"),
        ({"use_vllm": True, "vllm_mode": "server"}, "with vllm_mode 'server';"),
        ({"fp16": True}, "with fp16;"),
        ({"model": torch.nn.Linear(2, 2)}, "with wrapped models;"),
        ({"model": SOFT_PROMPT}, "with adapters of the kind PROMPT_TUNING;"),
        ({"gradient_accumulation_steps": 2}, "steps_per_generation is 1 and gradient_accumulation_steps 2"),
        ({"train_dataset": iter([]), "sps_every_steps": None}, "give sps_every_steps"),
        ({"sps_k": 5}, "sps_k is 5 and num_generations 4; at most all 4 responses"),
        ({"sps_rank_by": "ratio"}, "sps_rank_by is ratio, which compares with the policy before training"),
    ],
)
def test_what_was_not_tried_is_refused(changes: dict[str, Any], message: str):
    from unsqueeze.integrations.trl import _refuse_untried

    _refuse_untried(trainer_like())
    with pytest.raises(UserError, match=message):
        _refuse_untried(trainer_like(**changes))


def test_weights_in_bfloat16_are_refused():
    from unsqueeze.integrations.trl import _refuse_untried

    trainer = trainer_like()
    trainer.model.bfloat16()
    with pytest.raises(UserError, match=r"the weights are torch\.bfloat16"):
        _refuse_untried(trainer)


def test_settings_are_checked_by_their_names(tmp_path: Path):
    from unsqueeze.integrations.hf_trainer import judging_reward
    from unsqueeze.integrations.trl import SPSConfig

    def config(**settings: Any) -> SPSConfig:
        return SPSConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)

    defaults = config().irl_settings()
    assert defaults == IrlSettings()
    with pytest.raises(UserError, match="sps_k is 0"):
        config(sps_k=0)
    with pytest.raises(UserError, match=r"sps_every_passes is 1 and sps_every_steps is 2"):
        config(sps_every_passes=1.0, sps_every_steps=2)
    with pytest.raises(UserError, match="sps_k is 3 but sps_replay_candidates is 2"):
        config(sps_replay_phases=None, sps_replay_candidates=2)
    with pytest.raises(UserError, match=r"2 reward functions \(right, short\)"):
        judging_reward(None, ["right", "short"], "sps_reward")
    assert judging_reward("short", ["right", "short"], "sps_reward") == 1
    with pytest.raises(UserError, match="it must be one of: right, short"):
        judging_reward("wrong", ["right", "short"], "sps_reward")


def test_estimators_are_checked_by_their_names(tmp_path: Path):
    from unsqueeze.integrations.trl import SPSConfig

    def config(**settings: Any) -> SPSConfig:
        return SPSConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)

    assert config().own_advantages() is None
    # As `trl grpo` reads it from a command line.
    dealt = config(sps_advantage="ucpo", sps_advantage_options='{"tau": 0.5}').own_advantages()
    assert dealt is not None
    assert dealt.estimator.keywords == {"tau": 0.5}
    assert dealt.surrogate.advantage_scale == "sample_std"
    plain = config(sps_advantage="group_relative", scale_rewards=False).own_advantages()
    assert plain is not None
    assert plain.surrogate.advantage_scale == "none"
    for settings, message in (
        ({"sps_advantage": "max_r"}, "sps_advantage is 'max_r'; known are differential_smoothing, focal,"),
        ({"sps_advantage": "max_rl", "sps_advantage_options": {"k": 2}}, "sps_advantage_options do not fit max_rl"),
        ({"sps_advantage": "ucpo", "sps_advantage_options": "tau"}, "sps_advantage_options is 'tau'; it must be"),
        ({"sps_advantage_options": {"k": 2}}, "sps_advantage_options are given and sps_advantage is not"),
        ({"sps_advantage": "max_rl", "scale_rewards": "batch"}, "scale_rewards is 'batch', and sps_advantage"),
    ):
        with pytest.raises(UserError, match=message):
            config(**settings)
