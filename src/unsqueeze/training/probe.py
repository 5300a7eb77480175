"""Prompts watched through training: how far a phase moved the policy on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.types import Engine, Sampling
from unsqueeze.seeds import prompt_seeds

SAMPLES_PER_PROMPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class ProbeSamples:
    """Responses drawn from the policy at one moment, with its log-probs (nats, temperature 1)."""

    rows: tuple[Row, ...]
    logp: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """The watched prompts, how they are answered (at temperature 1, nothing cut), and the tokens scored at once."""

    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    max_batch_tokens: int

    def sample(self, engine: Engine, policy: Policy, *, seed: int) -> ProbeSamples:
        """Draw SAMPLES_PER_PROMPT responses a prompt, scored by the policy's own forward pass.

        Both sides of ``kl_moved`` thus come from one piece of code: an idle phase gives exactly 0.
        """
        groups = engine.generate(
            self.prompts,
            SAMPLES_PER_PROMPT,
            self.sampling,
            seeds=prompt_seeds(seed, len(self.prompts)),
        )
        rows = tuple(
            Row(prompt_tokens=np.asarray(prompt, dtype=np.int32), tokens=completion.tokens, weight=0.0)
            for prompt, completions in zip(self.prompts, groups, strict=True)
            for completion in completions
        )
        return ProbeSamples(rows, tuple(policy.logp(rows, max_tokens=self.max_batch_tokens)))

    def kl_moved(self, policy: Policy, before: ProbeSamples) -> float:
        """KL(policy that drew ``before`` ‖ policy now), nats per token: the mean of k3 over the sampled tokens."""
        logp_now = policy.logp(before.rows, max_tokens=self.max_batch_tokens)
        return mean_k3(np.concatenate(before.logp), np.concatenate(logp_now))


def mean_k3(logp_before_M: NDArray[np.float32], logp_after_M: NDArray[np.float32]) -> float:
    """Mean of exp(d) − d − 1 with d = after − before: an unbiased, non-negative estimate of KL(before ‖ after)."""
    gap_M = logp_after_M.astype(np.float64) - logp_before_M.astype(np.float64)
    return float(np.mean(np.expm1(gap_M) - gap_M))
