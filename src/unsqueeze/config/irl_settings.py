"""The IRL phases."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from unsqueeze.algos.selection import Likelihood, Pool, RankBy
from unsqueeze.config.settings import OptimizerSettings, Settings
from unsqueeze.extensions import IRL_LOSSES

IN_TRAINERS = (
    "every_passes", "every_steps", "k", "pool", "quantile", "likelihood", "rank_by", "replay_phases",
    "replay_candidates", "steps", "passes", "kl_budget", "kl_guard", "schedule", "phase_schedule", "batch_size",
    "learning_rate", "betas", "epsilon", "weight_decay", "max_grad_norm", "aggregation",
)  # fmt: skip
"""The settings that an IRL phase inside another trainer knows."""


class HoldSettings(Settings):
    gauge: Literal["entropy", "greedy_logp"] = "entropy"
    """The gauge of squeezing on watched prompts: the entropy, or the log-prob of greedy answers."""
    share: float = Field(0.8, gt=0)
    """The share of its value before training that it is held at: both are nearer to 0 the more a policy is squeezed."""


class IrlSettings(OptimizerSettings):
    every_passes: float | None = Field(None, gt=0)
    """An RL phase lasts this many passes over the data. Neither this nor every_steps: one pass.

    Further problems that dynamic sampling draws are not counted: a phase has the same number of steps with and without.
    """
    every_steps: int | None = Field(None, ge=1)
    """An RL phase lasts this many optimizer steps."""
    k: int = Field(3, ge=1)
    """Demonstrations selected from the rollouts of each group."""
    pool: Pool = "negatives_first"
    """Rollouts of a group that may be selected."""
    quantile: float = Field(0.5, gt=0, le=1)
    """The share of them, the least likely, that is drawn from."""
    likelihood: Likelihood = "mean"
    """Log-prob of a rollout: the mean over its tokens, or the sum."""
    rank_by: RankBy = "behaviour"
    """The policy whose log-prob ranks them: the one that sampled, `behaviour`; the one that the phase begins with,
    `present`; or `ratio`, that of the latter less that of the base policy, which is least for what training has made
    unlikely."""
    replay_phases: int | None = Field(1, ge=1)
    """RL phases whose rollouts may be selected: 1 is the last one, as in the paper, and every group by itself; with
    more, or null for all since training began, k are selected among the distinct rollouts of each problem."""
    replay_candidates: int = Field(16, ge=1)
    """Distinct rollouts of a problem that the pool may take, at most, where several phases are replayed: more are
    thinned at random before they are ranked."""
    steps: int = Field(4, ge=0)
    """Optimizer steps of one IRL phase, at most; 0 selects and stores demonstrations and moves nothing."""
    passes: float | None = Field(None, gt=0)
    """Instead of steps: passes over the demonstrations."""
    kl_budget: float | None = Field(None, gt=0)
    """Stop as soon as watched prompts (of the validation problems; without any, of the training problems) have moved
    by this many nats per token; steps or passes bound it from above."""
    hold: HoldSettings | None = None
    """Take updates only while a gauge is under a share of what it was before training, so that a phase is as strong as
    the squeezing asks for; steps or passes bound it from above."""
    kl_guard: float = Field(0.0, ge=0)
    """Weight of a KL penalty (k3) towards the policy at the start of the phase, on the demonstrations."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate over the steps of one phase; the latter two fall towards zero."""
    phase_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate from one IRL phase to the next, over all of the run; the latter two fall towards
    zero, and a run that is given more steps goes on by its new number of phases."""
    optimizer_state: Literal["fresh", "persistent"] = "fresh"
    """AdamW's moments: anew with every phase, or kept."""
    batch_size: int = Field(512, ge=1)
    """Demonstrations of one optimizer step."""
    learning_rate: float = Field(5e-5, gt=0)
    """Learning rate of AdamW; one to two times that of RL is what moves a policy (docs/paper.md)."""
    loss: str = "nll"
    """The loss of an update: a name (docs/algorithms.md), or package.module:function of your own."""
    aggregation: Literal["sequence_mean", "token_mean"] = "sequence_mean"
    """Average of the NLL: every response weighs the same, or every token."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.every_passes is not None and self.every_steps is not None:
            raise ValueError(
                f"irl.every_passes is {self.every_passes:g} and irl.every_steps is {self.every_steps}, and an RL phase "
                f"has one length; set one of them to null"
            )
        if self.replay_phases != 1 and self.k > self.replay_candidates:
            raise ValueError(
                f"irl.k is {self.k} but irl.replay_candidates is {self.replay_candidates}; at most all "
                f"{self.replay_candidates} rollouts of a problem can be selected"
            )
        IRL_LOSSES.check(self.loss)
        return self

    def num_updates(self, num_demonstrations: int) -> int:
        """Return how many optimizer steps a phase takes at most: none without demonstrations."""
        if num_demonstrations == 0:
            return 0
        if self.passes is None:
            return self.steps
        batches_a_pass = max(1, num_demonstrations // self.batch_size)
        return math.ceil(self.passes * batches_a_pass)
