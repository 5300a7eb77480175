"""Prompts watched through training: how far a phase moved the policy on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.types import Engine, Sampling
from unsqueeze.seeds import prompt_seeds

SAMPLES_PER_PROMPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class ProbeSamples:
    """Responses drawn from the policy at one moment, with its log-probs (nats, temperature 1, computed in fp32), and
    those that the engine gave.
    """

    rows: tuple[Row, ...]
    logp: tuple[NDArray[np.float32], ...]
    logp_sampler: tuple[NDArray[np.float32], ...]

    @property
    def entropy(self) -> float:
        """Estimate of the policy's entropy: −mean log-prob, nats per token."""
        return -_mean(self.logp)

    @property
    def logp_rounding(self) -> float:
        """Mean log-prob of these tokens by the engine, less that in fp32: what an engine's log-probs are off by."""
        return _mean(self.logp_sampler) - _mean(self.logp)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingFloor:
    """What two passes of one policy differ by, on samples of it, nats per token.

    ``kl_rounding``   KL (k3) of its pass in the precision it computes in, from the one in fp32; 0 where that is fp32
    ``kl_sampler``    KL (k3) of the engine from the pass in fp32: rounding, and whatever else is not the same in it
    ``logp_rounding`` mean log-prob by the engine, less that in fp32
    """

    kl_rounding: float
    kl_sampler: float
    logp_rounding: float


@dataclass(frozen=True, slots=True)
class Probe:
    """The watched prompts, how they are answered (at temperature 1, nothing cut), and the tokens scored at once."""

    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    max_batch_tokens: int

    def sample(
        self, engine: Engine, policy: Policy, *, seed: int, on_finished: Callable[[int], None] | None = None
    ) -> ProbeSamples:
        """Draw SAMPLES_PER_PROMPT responses a prompt, scored by the policy's own forward pass in fp32.

        Both sides of ``kl_moved`` thus come from one piece of code: an idle phase gives exactly 0, and one that moves
        the policy by less than bf16 can tell is not drowned by rounding.
        """
        groups = engine.generate(
            self.prompts,
            SAMPLES_PER_PROMPT,
            self.sampling,
            seeds=prompt_seeds(seed, len(self.prompts)),
            on_finished=on_finished,
        )
        rows = tuple(
            Row(prompt_tokens=np.asarray(prompt, dtype=np.int32), tokens=completion.tokens, weight=0.0)
            for prompt, completions in zip(self.prompts, groups, strict=True)
            for completion in completions
        )
        logp = policy.logp(rows, max_tokens=self.max_batch_tokens, in_fp32=True)
        return ProbeSamples(rows, tuple(logp), tuple(c.logp_raw for completions in groups for c in completions))

    def floor(self, policy: Policy, samples: ProbeSamples) -> RoundingFloor:
        """Measure what rounding alone gives. ``policy`` is the one that drew the samples."""
        exact_M, sampler_M = np.concatenate(samples.logp), np.concatenate(samples.logp_sampler)
        rounded_M = exact_M
        if policy.compute_dtype is not torch.float32:
            rounded_M = np.concatenate(policy.logp(samples.rows, max_tokens=self.max_batch_tokens))
        return RoundingFloor(
            kl_rounding=mean_k3(exact_M, rounded_M),
            kl_sampler=mean_k3(sampler_M, exact_M),
            logp_rounding=samples.logp_rounding,
        )

    def kl_moved(self, policy: Policy, before: ProbeSamples) -> float:
        """KL(policy that drew ``before`` ‖ policy now), nats per token: the mean of k3 over the sampled tokens."""
        logp_now = policy.logp(before.rows, max_tokens=self.max_batch_tokens, in_fp32=True)
        return mean_k3(np.concatenate(before.logp), np.concatenate(logp_now))


def _mean(logp: Sequence[NDArray[np.float32]]) -> float:
    return float(np.mean(np.concatenate(logp), dtype=np.float64))


def mean_k3(logp_before_M: NDArray[np.float32], logp_after_M: NDArray[np.float32]) -> float:
    """Mean of exp(d) − d − 1 with d = after − before: an unbiased, non-negative estimate of KL(before ‖ after)."""
    gap_M = logp_after_M.astype(np.float64) - logp_before_M.astype(np.float64)
    return float(np.mean(np.expm1(gap_M) - gap_M))
