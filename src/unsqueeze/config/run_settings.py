"""What goes on around training: evaluations, checkpoints, trackers, processes."""

from typing import Literal

from pydantic import Field

from unsqueeze.config.settings import Settings


class EvaluationSettings(Settings):
    n: int = Field(128, ge=1)
    """Responses sampled for each held-out problem."""
    validation_n: int = Field(32, ge=1)
    """Responses sampled for each validation problem, where there are any, whenever a checkpoint is saved."""
    temperature: float = Field(0.7, ge=0)
    """Temperature of the samples."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus that is sampled from; 1: no cut."""
    top_k: int = Field(0, ge=0)
    """Most likely tokens that are sampled from; 0: no cut."""
    every_steps: int | None = Field(None, ge=1)
    """Evaluate every so many RL steps, besides before training and at the end; null leaves it at those two."""
    gauges_every_steps: int | None = Field(25, ge=1)
    """Read the gauges of squeezing (greedy log-prob and entropy on a few watched prompts) every so many RL steps,
    besides before training and where phases end; null leaves it at those."""
    watched_prompts: int | None = Field(None, ge=1)
    """Prompts that gauges, phase reports and irl.kl_budget watch; null: 16, or fewer where phases are so short that
    measuring would take more than some 5 % of their work. Set it where arms of such phases are compared by gauges."""


class CheckpointSettings(Settings):
    every_steps: int | None = Field(100, ge=1)
    """Save every so many RL steps, besides at the end; null leaves it at that."""
    keep_last: int | None = Field(None, ge=1)
    """Remove all but the last so many checkpoints, the best by the validation problems, and those at phase ends if
    keep_phase_ends says so; null keeps all. With 1, nothing older may be there to go back to."""
    keep_phase_ends: bool = False
    """Save where phases end, too (after the IRL phase, where one follows), and never remove those."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported policy."""


class TrackingSettings(Settings):
    project: str = Field("unsqueeze", min_length=1)
    """wandb and trackio: the project; mlflow: the experiment."""
    name: str | None = None
    """Name of the run there; null is the recipe's name and the run directory's."""


class ParallelSettings(Settings):
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Layout where several processes train: each holds the whole model (`ddp`), or a piece of every weight (`fsdp`)."""
