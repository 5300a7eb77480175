"""Whether an engine samples from the policy that is trained: its log-probs beside those of a plain forward pass.

Families of models differ in how they remember what they have read. Where an engine gets that wrong, it draws from
another distribution than it should, and nothing else tells: the run goes on, and learns from noise. So the first
rollouts of every run are scored by the trainer's own forward pass, without a cache, at their full length.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from unsqueeze.errors import RunError
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.types import Group
from unsqueeze.training.run import Run

NUM_ROLLOUTS = 16
"""Rollouts that are scored: spread evenly over all lengths, the shortest and the longest among them."""

MOST_GAP, MOST_TOKEN_GAP = 0.01, 0.1
"""Mean |difference| of a response and |difference| of a token, in nats, that fp32 does not reach by rounding, which is
some 1e-6. Where less precision is computed in, MOST_ROUNDINGS times what that alone gives comes on top."""

MOST_ROUNDINGS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerGap:
    """Distance of an engine's log-probs, at temperature 1, from those of a plain forward pass, in nats.

    ``gap``, ``gap_token``            the largest mean |difference| of a response, and the largest of a token
    ``rounding``, ``rounding_token``  the same between the forward pass and one in fp32; 0 where it is in fp32
    """

    num_rollouts: int
    num_tokens: int
    gap: float
    gap_token: float
    rounding: float
    rounding_token: float

    @property
    def limit(self) -> float:
        """What ``gap`` may be at most."""
        return MOST_GAP + MOST_ROUNDINGS * self.rounding

    @property
    def limit_token(self) -> float:
        """What ``gap_token`` may be at most."""
        return MOST_TOKEN_GAP + MOST_ROUNDINGS * self.rounding_token

    def refusal(self, engine: str) -> str | None:
        """Say what is wrong, and what may help; None where the engine samples from what is trained."""
        if self.gap <= self.limit and self.gap_token <= self.limit_token:
            return None
        return (
            f"the log-probs of the {engine} engine are {self.gap:.2g} nats a token from a plain forward pass, and "
            f"{self.gap_token:.2g} at most (rounding gives up to {self.limit:.2g} and {self.limit_token:.2g}; measured "
            f"on {self.num_rollouts} responses): it samples from another distribution than is trained. A model that is "
            f"not causal cannot be trained; with another, take another rollout.engine, or a smaller rollout.max_tokens."
        )


def check_first_rollouts(run: Run, groups: Sequence[Group]) -> None:
    """Compare, and journal what was found. RunError where the embedded engine samples from something else.

    An engine with weights or a precision of its own is only warned of: its gap is measured and corrected for at every
    step (``sampler_gap``).
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rows = [Row(prompt_tokens=r.prompt_tokens, tokens=r.completion.tokens, weight=0.0) for r in rollouts]
    logp_raw = [rollout.completion.logp_raw for rollout in rollouts]
    run.engine.rest()
    found = sampler_gap(run.policy, rows, logp_raw, max_tokens=run.recipe.rl.tokens_per_microbatch)
    engine = run.recipe.rollout.engine
    refusal = found.refusal(engine)
    if refusal is not None and engine == "hf":
        raise RunError(f"{refusal} Nothing was learned, and no rollout stored.")
    if refusal is not None:
        run.progress.warn(refusal)
    run.directory.journal.append("sampler_checked", **asdict(found), limit=found.limit, limit_token=found.limit_token)


def sampler_gap(
    policy: Policy, rows: Sequence[Row], logp_raw: Sequence[NDArray[np.float32]], *, max_tokens: int
) -> SamplerGap:
    """Measure on some of the ``rows``, to whose tokens the engine gave ``logp_raw``."""
    order = sorted(range(len(rows)), key=lambda i: rows[i].num_tokens)
    places = sorted({k * (len(order) - 1) // (NUM_ROLLOUTS - 1) for k in range(NUM_ROLLOUTS)})
    some = [rows[order[place]] for place in places]
    plain = policy.logp(some, max_tokens=max_tokens)
    exact = plain if policy.compute_dtype is torch.float32 else policy.logp(some, max_tokens=max_tokens, in_fp32=True)
    gap, gap_token = _largest([logp_raw[order[place]] for place in places], plain)
    rounding, rounding_token = _largest(plain, exact)
    return SamplerGap(
        num_rollouts=len(some),
        num_tokens=sum(len(row.tokens) for row in some),
        gap=gap,
        gap_token=gap_token,
        rounding=rounding,
        rounding_token=rounding_token,
    )


def _largest(one: Sequence[NDArray[np.float32]], other: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """The largest mean |difference| of a response, and the largest |difference| of a token."""
    gaps = [np.abs(np.subtract(a, b, dtype=np.float64)) for a, b in zip(one, other, strict=True)]
    return max(float(gap_T.mean()) for gap_T in gaps), max(float(gap_T.max()) for gap_T in gaps)
