"""Command lines of all paper recipes for one trainer, and what its own parser, in its environment, makes of them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import unsqueeze as uq
from unsqueeze.config.recipe import Recipe

SIZES = ("1.5b", "7b")
ALGORITHMS = ("grpo", "dapo", "gspo", "sps-grpo", "sps-dapo", "sps-gspo")


def paper_recipes() -> list[Recipe]:
    return [uq.load_recipe(f"paper/{size}-3k-{algorithm}") for size in SIZES for algorithm in ALGORITHMS]


def parsed(python: str, trainer: str, recipes: list[Recipe]) -> list[dict[str, Any]]:
    """What the parser sets for each recipe. AssertionError where it refuses one."""
    lines = [uq.export_recipe(recipe, to=trainer, per_device=4).arguments() for recipe in recipes]
    done = subprocess.run(
        [python, str(Path(__file__).with_name("parse_command.py")), trainer],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_hf_trainer(recipe: Recipe, found: dict[str, Any]) -> None:
    """Every constant of the recipe, as TRL and ms-swift call it."""
    rl, surrogate = recipe.rl, recipe.rl.surrogate
    rollouts = 8 * found["per_device_train_batch_size"] * found["gradient_accumulation_steps"]
    assert rollouts == rl.prompts_per_step * rl.group_size
    assert found["steps_per_generation"] == found["gradient_accumulation_steps"] * rl.steps_per_generation
    assert found["num_iterations"] == 1
    assert (found["num_generations"], found["max_steps"], found["seed"]) == (rl.group_size, rl.steps, recipe.seed)
    assert found["learning_rate"] == rl.learning_rate
    assert found["lr_scheduler_type"] == "constant"
    assert (found["adam_beta1"], found["adam_beta2"]) == rl.betas
    assert (found["adam_epsilon"], found["weight_decay"]) == (rl.epsilon, rl.weight_decay)
    assert found["max_grad_norm"] == rl.max_grad_norm
    assert (found["epsilon"], found["epsilon_high"]) == (surrogate.clip_low, surrogate.clip_high)
    assert found["beta"] == surrogate.kl_coefficient
    assert found["importance_sampling_level"] == surrogate.ratio
    assert found["scale_rewards"] == "group"
    loss = found["loss_type"] if isinstance(found["loss_type"], str) else found["loss_type"][0]
    assert loss == {"sequence_mean": "grpo", "token_mean": "dapo"}[surrogate.aggregation]
    assert (found["temperature"], found["top_p"]) == (recipe.rollout.temperature, recipe.rollout.top_p)
    assert found["max_completion_length"] == recipe.rollout.max_tokens
    assert found["gradient_checkpointing"] is recipe.model.gradient_checkpointing
    assert found["bf16"] is (recipe.model.compute_dtype == "bfloat16")
    assert found["log_completions"] is True
    assert found["logging_steps"] == rl.steps_per_generation
