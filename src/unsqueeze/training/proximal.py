"""The log-probs that the ratio of the surrogate is taken against, where the trainer does not take the sampler's word.

Two passes over the same weights agree to rounding only. In fp32 that is 1e-6 nats, and the sampler's log-probs serve.
In bf16 it is 1e-2 nats of a token, more than the clip range of a sequence ratio. There the first step of a generation
takes its own log-probs (a ratio of exactly 1, by no further pass), and later steps those that the trainer's forward
pass gave before the first: over the same rows in the same micro-batches, so that they are equal to the bit for as long
as no weight has moved.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from unsqueeze.policy.batch import Row
from unsqueeze.rollout.types import Group
from unsqueeze.training.rl_rows import trained_rollouts
from unsqueeze.training.run import Run


def trainer_scores(run: Run) -> bool:
    """Tell whether the trainer takes log-probs of its own: where it computes in bf16, where the engine has weights of
    its own, and where a correction for the sampler is asked for.
    """
    return (
        run.policy.compute_dtype is not torch.float32
        or run.engine.policy_version is not None
        or run.recipe.rl.sampler_correction is not None
    )


def with_logp_proximal(run: Run, sampled: Sequence[Group], later: Sequence[Sequence[Group]]) -> list[Group]:
    """What was ``sampled``, with ``logp_proximal`` for the rollouts that the ``later`` steps of a generation train on.

    They are the present policy's, at the sampling temperature.
    """
    settings = run.recipe.rl
    scored: dict[tuple[int, int], NDArray[np.float32]] = {}
    for groups in later:
        trained = trained_rollouts(groups, settings, run.estimator, max_tokens=run.recipe.rollout.max_tokens)
        rollouts = [one.rollout for one in trained]
        logp = run.policy.logp(
            [Row(prompt_tokens=r.prompt_tokens, tokens=r.completion.tokens, weight=0.0) for r in rollouts],
            max_tokens=settings.tokens_per_microbatch,
            temperature=run.recipe.rollout.temperature,
        )
        scored |= {(r.group, r.index): logp_T for r, logp_T in zip(rollouts, logp, strict=True)}
    return [
        replace(group, rollouts=tuple(replace(r, logp_proximal=scored.get((r.group, r.index))) for r in group.rollouts))
        for group in sampled
    ]
