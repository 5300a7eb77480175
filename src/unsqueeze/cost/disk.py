"""Estimate the disk that a run takes."""

from dataclasses import dataclass

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.workload import Lengths, Workload

EXPORT_BYTES = {"float32": 4, "bfloat16": 2}
MOMENTS_BYTES = 8
"""AdamW's two fp32 moments of a weight."""
ROLLOUT_BYTES_PER_TOKEN = 11
"""Bytes a token of a response takes in the Parquet files: two log-probs that hardly compress, the token, its text
(zstd).
"""
PROMPT_BYTES_PER_TOKEN = 1
"""Bytes a token of a prompt takes: the rollouts of a group repeat it, which zstd takes care of."""
SAMPLE_BYTES_PER_TOKEN = 2
"""Bytes a token of an evaluation's sample takes: its text."""
ROW_BYTES = 40
"""Bytes a rollout or sample takes besides: identity, verdict, reason."""
FILE_BYTES = 6_000
"""Bytes a Parquet file takes besides: its schema."""
LINE_BYTES = 1_000
"""Bytes of a line of metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Bytes on disk at the end. ``checkpoint`` is one; ``checkpoints`` are those kept and one that is being written."""

    checkpoint: int
    checkpoints: int
    rollouts: int
    evaluations: int
    metrics: int

    @property
    def total(self) -> int:
        return self.checkpoints + self.rollouts + self.evaluations + self.metrics


def estimate_disk(
    recipe: Recipe, workload: Workload, lengths: Lengths, *, num_parameters: int, num_trainable: int
) -> Disk:
    """A checkpoint holds the policy as it is exported, the trained weights in fp32, the moments of the optimizers that
    live on, and, inside a phase, the weights from the beginning of that phase.
    """
    persistent = recipe.irl is not None and recipe.irl.optimizer_state == "persistent"
    moments = MOMENTS_BYTES * (2 if persistent else 1)
    checkpoint = EXPORT_BYTES[recipe.checkpoint.dtype] * num_parameters + (4 + moments + 4) * num_trainable
    being_written = 1 if workload.checkpoints > workload.checkpoints_kept else 0
    per_rollout = ROLLOUT_BYTES_PER_TOKEN * lengths.mean_response + PROMPT_BYTES_PER_TOKEN * lengths.mean_prompt
    per_sample = SAMPLE_BYTES_PER_TOKEN * lengths.mean_response
    return Disk(
        checkpoint=checkpoint,
        checkpoints=checkpoint * (workload.checkpoints_kept + being_written),
        rollouts=round((workload.rollouts + workload.base_rollouts) * (per_rollout + ROW_BYTES))
        + workload.generations * FILE_BYTES,
        evaluations=round(workload.evaluation_samples * (per_sample + ROW_BYTES))
        + (workload.evaluations + workload.validations) * FILE_BYTES,
        metrics=(workload.rl_steps + workload.irl_updates) * LINE_BYTES,
    )
