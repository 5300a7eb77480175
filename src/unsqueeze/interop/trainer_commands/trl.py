"""``trl grpo …`` (TRL 1.16)."""

from unsqueeze.config.recipe import Recipe
from unsqueeze.interop.trainer_commands.command import Command, Layout, left_out_everywhere, sps_lines
from unsqueeze.interop.trainer_commands.hf_trainer import common, uses_vllm


def command(recipe: Recipe, layout: Layout) -> Command:
    """Return the command. UserError for what it cannot do."""
    made = Command(["trl", "grpo"], left_out=left_out_everywhere(recipe))
    rl, rollout, lora = recipe.rl, recipe.rollout, recipe.model.lora
    made.put(model_name_or_path=recipe.model.path, dataset_name=recipe.data.train_path or "DATASET")
    made.put(dtype="float32", reward_funcs=["accuracy_reward"], output_dir=recipe.name)
    made.put(**common(recipe, layout))
    made.put(warmup_steps=0, top_k=rollout.top_k, entropy_coef=rl.surrogate.entropy_coefficient)
    made.put(use_vllm=uses_vllm(recipe))
    if uses_vllm(recipe):
        made.put(vllm_mode="colocate", vllm_gpu_memory_utilization=rollout.vllm.gpu_memory_utilization)
        made.put(vllm_enable_sleep_mode=rollout.vllm.sleep)
        correction = rl.sampler_correction or "token"
        made.put(vllm_importance_sampling_correction=correction != "none")
        if correction != "none":
            made.put(
                vllm_importance_sampling_mode=f"{correction}_truncate", vllm_importance_sampling_cap=rl.sampler_cap
            )
    if lora is not None:
        made.put(use_peft=True, lora_r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0)
        made.put(
            lora_target_modules=lora.target_modules
            if isinstance(lora.target_modules, str)
            else list(lora.target_modules)
        )
    if rl.dynamic_sampling is not None:
        made.left_out.append("Not carried over: rl.dynamic_sampling, which TRL has nothing like.")
    if rl.overlong is not None:
        made.left_out.append(
            f"Not carried over: rl.overlong; write a reward with trl.rewards.get_soft_overlong_punishment("
            f"{rollout.max_tokens}, {rl.overlong.soft_cache_length})."
        )
    made.left_out.append(
        f"Run with accelerate launch on {layout.devices} devices; a folder of data needs a loading script."
    )
    made.left_out += [
        line.removeprefix("# ")
        for line in sps_lines(
            recipe,
            source=recipe.name,
            checkpoint=f"{recipe.name}/checkpoint-N",
            go_on=f"go on with --resume_from_checkpoint {recipe.name}/checkpoint-N-irl",
            into=True,
        )
    ]
    return made
