"""``swift rlhf --rlhf_type grpo …`` (ms-swift 4.6), whose own defaults are temperature 0.9, cosine and decay 0.1."""

import json
import shlex

from unsqueeze.config.irl_settings import IN_TRAINERS, IrlSettings
from unsqueeze.config.recipe import Recipe
from unsqueeze.interop.trainer_commands.command import Command, Layout, left_out_everywhere, sps_lines
from unsqueeze.interop.trainer_commands.hf_trainer import common, uses_vllm


def command(recipe: Recipe, layout: Layout) -> Command:
    """Return the command. UserError for what it cannot do."""
    made = Command(["swift", "rlhf"], left_out=left_out_everywhere(recipe))
    settings = common(recipe, layout)
    rl, rollout, lora = recipe.rl, recipe.rollout, recipe.model.lora
    rewards = ["accuracy"] + (["soft_overlong"] if rl.overlong is not None else [])
    made.put(rlhf_type="grpo", model=recipe.model.path, dataset=recipe.data.train_path or "train.jsonl")
    made.put(torch_dtype="float32", split_dataset_ratio=0, reward_funcs=rewards)
    made.put(**{name: value for name, value in settings.items() if name != "eval_strategy"})
    made.put(fp16=False, warmup_ratio=0, top_k=rollout.top_k or -1, output_dir=recipe.name, add_version=False)
    made.put(use_vllm=uses_vllm(recipe))
    if uses_vllm(recipe):
        made.put(vllm_mode="colocate", vllm_gpu_memory_utilization=rollout.vllm.gpu_memory_utilization)
        made.put(sleep_level=1 if rollout.vllm.sleep else 0)
        correction = rl.sampler_correction or "token"
        if correction != "none":
            made.put(rollout_importance_sampling_mode=f"{correction}_truncate")
            made.put(rollout_importance_sampling_threshold=rl.sampler_cap)
    if rl.overlong is not None:
        made.put(soft_cache_length=rl.overlong.soft_cache_length)
    if rl.dynamic_sampling is not None:
        made.put(dynamic_sample=True, max_resample_times=rl.dynamic_sampling.max_resample_times)
        if rl.dynamic_sampling.rule == "keep":
            made.left_out.append(
                "Not carried over: rl.dynamic_sampling.rule keep; ms-swift throws informative groups away."
            )
    if rl.surrogate.entropy_coefficient:
        made.left_out.append(f"Not carried over: an entropy bonus of {rl.surrogate.entropy_coefficient:g}.")
    if lora is None:
        made.put(tuner_type="full")
    else:
        made.put(tuner_type="lora", lora_rank=lora.rank, lora_alpha=lora.alpha, lora_dropout=0)
        made.put(target_modules=["all-linear"] if lora.target_modules == "all-linear" else list(lora.target_modules))
    again = f"go on with --resume_from_checkpoint {recipe.name}/checkpoint-N-irl"
    made.left_out += [f"Run with NPROC_PER_NODE={layout.devices}; the data are lines of messages and solution."]
    made.left_out += [line.removeprefix("# ") for line in _phase(recipe, again)]
    if recipe.irl is not None:
        made.left_out.append(_inside(recipe.irl, several_rewards=len(rewards) > 1))
    return made


def _inside(irl: IrlSettings, *, several_rewards: bool) -> str:
    """How the phases of the recipe run inside ms-swift, or which of its settings the plugin does not know."""
    defaults = {name: field.default for name, field in IrlSettings.model_fields.items()}
    differing = {name: value for name, value in irl if value != defaults[name]}
    unknown = [name for name in differing if name not in IN_TRAINERS]
    if unknown:
        return f"The plugin for SPS inside the run does not know irl.{unknown[0]}."
    if irl.rank_by == "ratio":
        return "The plugin for SPS inside the run does not know irl.rank_by ratio."
    plain = {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in differing.items()
    }
    plain |= {"reward": "MathAccuracy"} if several_rewards else {}  # the class of `accuracy`
    settings = shlex.quote(" ".join(f"{name}={value}" for name, value in plain.items()))
    return (
        f"Or SPS inside the run: export UNSQUEEZE_SPS={settings}, and add "
        f'--external_plugins "$(unsqueeze plugin swift)" --callbacks sps.'
    )


def _phase(recipe: Recipe, again: str) -> list[str]:
    return sps_lines(recipe, source=recipe.name, checkpoint=f"{recipe.name}/checkpoint-N", go_on=again, into=True)
