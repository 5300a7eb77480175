"""Estimate how long a run takes: operations over what a device does of them in a second, and what every call costs
anyway.
"""

import math
from dataclasses import dataclass

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.devices import Device
from unsqueeze.cost.memory import Layout, kv_bytes_per_token, tokens_at_once
from unsqueeze.cost.shape import ModelShape
from unsqueeze.cost.workload import Lengths, Workload

ANSWERS_PER_WORKER_S = 400
"""Mathematical answers that one worker of the verifier judges in a second; Countdown costs nothing."""
CHECKPOINT_BYTES_PER_S = 500e6
OPTIMIZER_BYTES = 28
"""AdamW reads weight, gradient and two moments and writes three of them, fp32."""
BACKWARD = 2.0
"""A backward pass costs twice its forward pass: gradients of the inputs and of the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Seconds of a whole run, by what they are spent on."""

    generating: float
    judging: float
    scoring: float
    updating: float
    irl: float
    evaluating: float
    saving: float

    @property
    def rl(self) -> float:
        return self.generating + self.judging + self.scoring + self.updating

    @property
    def irl_share(self) -> float:
        """IRL's time over RL's."""
        return self.irl / self.rl

    @property
    def total(self) -> float:
        return self.rl + self.irl + self.evaluating + self.saving


@dataclass(frozen=True, slots=True)
class Speed:
    """A model on devices: how long its passes take."""

    recipe: Recipe
    shape: ModelShape
    lengths: Lengths
    device: Device
    layout: Layout

    @property
    def flops_per_s(self) -> float:
        """Operations that one device does in a second of dense work."""
        return self.device.peak(self.recipe.model.compute_dtype) * self.device.efficiency

    def generate_s(self, num_prompts: int, n: int) -> float:
        """n responses to each of so many prompts, divided over the devices.

        Prompts are read once; then every token is a step over all rows of a wave, until the longest response ends. A
        step takes what its operations take, or what reading weights and cache from memory takes, whichever is more,
        and the calls of its layers besides.
        """
        rows_in_all = math.ceil(num_prompts * n / self.layout.num_devices)
        rows = min(self.recipe.rollout.max_rows, rows_in_all)
        waves = math.ceil(rows_in_all / rows)
        steps = waves * self.lengths.longest_response
        tokens = rows_in_all * self.lengths.mean_response
        context = self.lengths.mean_prompt + self.lengths.mean_response / 2
        prompt_tokens = math.ceil(num_prompts / self.layout.num_devices) * self.lengths.mean_prompt
        bf16 = self.recipe.model.compute_dtype == "bfloat16"
        computing = tokens * forward_flops(self.shape, context) / self.flops_per_s
        weights = steps * self.shape.matmul_parameters * (2 if bf16 else 4)
        cache = tokens * context * kv_bytes_per_token(self.shape, bf16=bf16)
        reading = (weights + cache) / (self.device.bandwidth * self.device.bandwidth_share)
        prefill = prompt_tokens * forward_flops(self.shape, self.lengths.mean_prompt / 2) / self.flops_per_s
        calls = (steps + waves) * self.shape.layers * self.device.layer_s
        return max(computing, reading) + prefill + calls

    def pass_s(self, num_rows: int, cost: float) -> float:
        """Passes over so many rows, divided over the devices; ``cost`` in forward passes."""
        rows = math.ceil(num_rows / self.layout.num_devices)
        microbatches = math.ceil(rows * self.lengths.mean_row / tokens_at_once(self.recipe, self.layout))
        operations = rows * self.lengths.mean_row * forward_flops(self.shape, self.lengths.mean_row / 2)
        calls = microbatches * self.shape.layers * self.device.layer_s
        return cost * (operations / self.flops_per_s + calls)

    def update_s(self, num_rows: int, num_trained: int) -> float:
        """One optimizer step on so many rows: forward, backward, and, recomputing, forward again; then AdamW."""
        backward = BACKWARD if self.recipe.model.lora is None else BACKWARD / 2
        again = 1.0 if self.recipe.model.gradient_checkpointing else 0.0
        stepping = OPTIMIZER_BYTES * num_trained / self.layout.shards / self.device.bandwidth
        return self.pass_s(num_rows, 1 + backward + again) + stepping


def forward_flops(shape: ModelShape, context: float) -> float:
    """Operations of one token that looks back at ``context`` others: two for every weight it meets, and 4LA for each of
    those.
    """
    return 2 * shape.matmul_parameters + 4 * shape.layers * shape.attention_width * context


def trainer_scores(recipe: Recipe) -> bool:
    """Tell whether the trainer scores rollouts before the first step of a generation, for the later ones."""
    bf16 = recipe.model.compute_dtype == "bfloat16"
    return bf16 or recipe.rollout.engine != "hf" or recipe.rl.sampler_correction is not None


def estimate_duration(
    recipe: Recipe,
    speed: Speed,
    workload: Workload,
    *,
    num_trained: int,
    checkpoint_bytes: int,
    judged_in_place: bool,
) -> Duration:
    """The seconds of every part of a run.

    Left out: communication between devices, the probes around phases, storing (2 % of a step), what dynamic sampling
    draws beyond one round, and that groups without an informative answer need no update.
    """
    rl = recipe.rl
    judges = math.inf if judged_in_place else recipe.verify.workers * ANSWERS_PER_WORKER_S
    prompts_per_generation = workload.rollouts_per_generation // rl.group_size
    scored_steps = workload.rl_steps if rl.surrogate.kl_coefficient > 0 else 0
    for scored in (trainer_scores(recipe), rl.covariance is not None):
        scored_steps += (workload.rl_steps - workload.generations) * scored
    evaluations = workload.evaluations * speed.generate_s(workload.problems_per_evaluation, recipe.evaluation.n)
    if workload.validations:
        problems = workload.samples_per_validation // recipe.evaluation.validation_n
        evaluations += workload.validations * speed.generate_s(problems, recipe.evaluation.validation_n)
    dph = rl.dph
    base_rows = 0 if dph is None else dph.rows
    of_base = 0.0 if dph is None else speed.generate_s(workload.base_rollouts // dph.rollouts, dph.rollouts)
    return Duration(
        generating=workload.generations * speed.generate_s(prompts_per_generation, rl.group_size) + of_base,
        judging=(workload.rollouts + workload.base_rollouts) / judges,
        scoring=scored_steps * speed.pass_s(workload.rollouts_per_step, 1.0),
        updating=workload.rl_steps * speed.update_s(workload.rollouts_per_step + base_rows, num_trained),
        irl=workload.irl_updates * speed.update_s(workload.demonstrations_per_update, num_trained),
        evaluating=evaluations + workload.evaluation_samples / judges,
        saving=workload.checkpoints * checkpoint_bytes / CHECKPOINT_BYTES_PER_S,
    )
