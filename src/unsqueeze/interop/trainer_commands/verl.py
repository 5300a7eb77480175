"""``python -m verl.trainer.main_ppo …`` (verl 0.9.1), by overrides of its configuration."""

from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.interop.trainer_commands.command import Command, Layout, left_out_everywhere, phase_steps, sps_lines

AGGREGATIONS = {
    "sequence_mean": "seq-mean-token-mean",
    "token_mean": "token-mean",
    "constant": "seq-mean-token-sum-norm",
}
NO_DUAL_CLIP = 1e6
"""verl clips the ratio of negative advantages once more, at clip_ratio_c; from here on never."""


def command(recipe: Recipe, layout: Layout) -> Command:
    """Return the command. UserError for what it cannot do."""
    rl, surrogate, rollout, model = recipe.rl, recipe.rl.surrogate, recipe.rollout, recipe.model
    if surrogate.advantage_scale == "population_std":
        raise UserError(
            "rl.advantage_scale is 'population_std', and verl divides by the sample standard deviation or by nothing; "
            "set it to sample_std or none."
        )
    if rollout.stop or rollout.end_tokens:
        raise UserError(
            "rollout.stop or rollout.end_tokens is set, and verl's configuration has nothing like it; take both away "
            "(--set rollout.stop=[] --set rollout.end_tokens=[])."
        )
    made = Command(["python", "-m", "verl.trainer.main_ppo"], left_out=left_out_everywhere(recipe), dashes=False)
    actor, sampler = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    made.put_dotted(
        {
            "actor_rollout_ref.model.path": model.path,
            "actor_rollout_ref.model.enable_gradient_checkpointing": model.gradient_checkpointing,
            "data.train_files": recipe.data.train_path or "train.parquet",
            "data.val_files": recipe.data.test_path or "test.parquet",
            "data.train_batch_size": rl.prompts_per_step * rl.steps_per_generation,
            "data.max_response_length": rollout.max_tokens,
            "data.seed": recipe.seed,
            "algorithm.adv_estimator": "grpo",
            "algorithm.norm_adv_by_std_in_grpo": surrogate.advantage_scale != "none",
            "algorithm.use_kl_in_reward": False,
            f"{actor}.ppo_mini_batch_size": rl.prompts_per_step,
            f"{actor}.ppo_micro_batch_size_per_gpu": layout.per_device,
            f"{actor}.ppo_epochs": 1,
            f"{actor}.optim.lr": rl.learning_rate,
            f"{actor}.optim.betas": f"[{rl.betas[0]!r},{rl.betas[1]!r}]",
            f"{actor}.optim.weight_decay": rl.weight_decay,
            f"{actor}.optim.clip_grad": rl.max_grad_norm,
            f"{actor}.optim.lr_scheduler_type": "constant",
            f"{actor}.optim.lr_warmup_steps": 0,
            f"{actor}.clip_ratio": surrogate.clip_low,
            f"{actor}.clip_ratio_low": surrogate.clip_low,
            f"{actor}.clip_ratio_high": surrogate.clip_high,
            f"{actor}.clip_ratio_c": NO_DUAL_CLIP,
            f"{actor}.policy_loss.loss_mode": "gspo" if surrogate.ratio == "sequence" else "vanilla",
            f"{actor}.loss_agg_mode": AGGREGATIONS[surrogate.aggregation],
            f"{actor}.entropy_coeff": surrogate.entropy_coefficient,
            f"{actor}.use_kl_loss": surrogate.kl_coefficient > 0,
            f"{actor}.kl_loss_coef": surrogate.kl_coefficient,
            f"{actor}.kl_loss_type": "low_var_kl",
            f"{actor}.fsdp_config.model_dtype": "fp32",
            f"{sampler}.name": "vllm",
            f"{sampler}.n": rl.group_size,
            f"{sampler}.temperature": rollout.temperature,
            f"{sampler}.top_p": rollout.top_p,
            f"{sampler}.top_k": rollout.top_k or -1,
            f"{sampler}.gpu_memory_utilization": rollout.vllm.gpu_memory_utilization,
            f"{sampler}.log_prob_micro_batch_size_per_gpu": layout.per_device,
            "trainer.total_training_steps": -(-rl.steps // rl.steps_per_generation),
            "trainer.save_freq": _in_generations(
                phase_steps(recipe) or recipe.checkpoint.every_steps or rl.steps, recipe
            ),
            "trainer.n_gpus_per_node": layout.devices,
            "trainer.rollout_data_dir": f"{recipe.name}-rollouts",
            "trainer.val_before_train": False,
            "trainer.project_name": "unsqueeze",
            "trainer.experiment_name": recipe.name,
        }
    )
    layout.accumulated(recipe)
    correction = rl.sampler_correction or "token"
    if correction != "none":
        made.put_dotted(
            {
                "algorithm.rollout_correction.rollout_is": correction,
                "algorithm.rollout_correction.rollout_is_threshold": rl.sampler_cap,
            }
        )
    if rl.dynamic_sampling is not None:
        made.put_dotted(
            {
                "algorithm.filter_groups.enable": True,
                "algorithm.filter_groups.metric": "reward",
                "algorithm.filter_groups.max_num_gen_batches": 1 + rl.dynamic_sampling.max_resample_times,
            }
        )
    if rl.overlong is not None:
        made.left_out.append("Not carried over: rl.overlong; verl's reward manager dapo has overlong_buffer_cfg.")
    if model.lora is not None:
        made.put_dotted(
            {
                "actor_rollout_ref.model.lora_rank": model.lora.rank,
                "actor_rollout_ref.model.lora_alpha": model.lora.alpha,
                "actor_rollout_ref.model.target_modules": model.lora.target_modules
                if isinstance(model.lora.target_modules, str)
                else f"[{','.join(model.lora.target_modules)}]",
            }
        )
    made.left_out.append(
        "The data are verl's Parquet (prompt, reward_model.ground_truth); one step here is a generation."
    )
    phase = sps_lines(
        recipe, source=f"{recipe.name}-rollouts", checkpoint="ACTOR-HF", into=False,
        go_on="go on with actor_rollout_ref.model.path=ACTOR-HF-irl (docs/trainers/verl.md: Adam's state is new).",
    )  # fmt: skip
    made.left_out += [line.removeprefix("# ") for line in phase]
    if phase:
        made.left_out.append("select takes --prompts train.parquet, too; ACTOR-HF is what verl.model_merger makes.")
    return made


def _in_generations(steps: int, recipe: Recipe) -> int:
    return -(-steps // recipe.rl.steps_per_generation)
