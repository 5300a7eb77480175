"""What TRL's and ms-swift's command lines share: the arguments of transformers' Trainer and the words of GRPO."""

from typing import Any

from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.interop.trainer_commands.command import Layout, phase_steps

LOSS_TYPES = {"sequence_mean": "grpo", "token_mean": "dapo", "constant": "dr_grpo"}
"""Our aggregation by the trainers' loss types; ``dapo`` counts the tokens of all devices."""

SCALES = {"sample_std": "group", "none": "none"}


def common(recipe: Recipe, layout: Layout) -> dict[str, Any]:
    """Return the settings that both trainers call alike. UserError for what neither can do."""
    rl, surrogate, rollout = recipe.rl, recipe.rl.surrogate, recipe.rollout
    if surrogate.advantage_scale not in SCALES:
        raise UserError(
            f"rl.advantage_scale is {surrogate.advantage_scale!r}, and these trainers divide by the sample standard "
            f"deviation or by nothing; set it to sample_std or none."
        )
    if rollout.stop or rollout.end_tokens:
        raise UserError(
            "rollout.stop or rollout.end_tokens is set, and the command line has nothing like it; take both away "
            "(--set rollout.stop=[] --set rollout.end_tokens=[])."
        )
    accumulated = layout.accumulated(recipe)
    return {
        "per_device_train_batch_size": layout.per_device,
        "gradient_accumulation_steps": accumulated,
        "steps_per_generation": accumulated * rl.steps_per_generation,
        "num_iterations": 1,
        "num_generations": rl.group_size,
        "max_steps": rl.steps,
        "learning_rate": rl.learning_rate,
        "lr_scheduler_type": "constant",
        "adam_beta1": rl.betas[0],
        "adam_beta2": rl.betas[1],
        "adam_epsilon": rl.epsilon,
        "weight_decay": rl.weight_decay,
        "max_grad_norm": rl.max_grad_norm,
        "loss_type": LOSS_TYPES[surrogate.aggregation],
        "importance_sampling_level": surrogate.ratio,
        "scale_rewards": SCALES[surrogate.advantage_scale],
        "epsilon": surrogate.clip_low,
        "epsilon_high": surrogate.clip_high,
        "beta": surrogate.kl_coefficient,
        "temperature": rollout.temperature,
        "top_p": rollout.top_p,
        "max_completion_length": rollout.max_tokens,
        "gradient_checkpointing": recipe.model.gradient_checkpointing,
        "bf16": recipe.model.compute_dtype == "bfloat16",
        "seed": recipe.seed,
        "log_completions": True,
        "logging_steps": rl.steps_per_generation,
        "save_steps": phase_steps(recipe) or recipe.checkpoint.every_steps or rl.steps,
        "eval_strategy": "no",
    }


def uses_vllm(recipe: Recipe) -> bool:
    return recipe.rollout.engine in ("vllm", "vllm_server")
