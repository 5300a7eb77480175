"""Shared hypothesis strategies: groups of rewards, token batches, surrogate settings, splits.

Shapes and structure are drawn by hypothesis; the numbers of a tensor come from a drawn seed, so that examples stay
small and shrink to few rows.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from unsqueeze.algos.surrogate import Surrogate

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token batch in float64 with left-aligned responses; ``max_tokens`` is the generation limit."""

    logp_policy_NT: Tensor
    logp_proximal_NT: Tensor
    logp_ref_NT: Tensor
    entropy_NT: Tensor
    advantages_N: Tensor
    mask_NT: Tensor
    max_tokens: int

    @property
    def lengths_N(self) -> Tensor:  # noqa: N802
        return self.mask_NT.sum(dim=1)

    def rows(self, indices: list[int]) -> "Tokens":
        """The same responses as a batch of their own."""
        return replace(
            self,
            logp_policy_NT=self.logp_policy_NT[indices],
            logp_proximal_NT=self.logp_proximal_NT[indices],
            logp_ref_NT=self.logp_ref_NT[indices],
            entropy_NT=self.entropy_NT[indices],
            advantages_N=self.advantages_N[indices],
            mask_NT=self.mask_NT[indices],
        )


def make_tokens(lengths: list[int], seed: int, *, max_tokens: int, spread: float = 0.5) -> Tokens:
    """Random log-probs whose log-ratios have a standard deviation of ``spread``: enough to be clipped on both sides."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    policy = -normal().abs() - 0.1
    return Tokens(
        logp_policy_NT=policy,
        logp_proximal_NT=policy + spread * normal(),
        logp_ref_NT=policy + spread * normal(),
        entropy_NT=normal().abs(),
        advantages_N=torch.randn(len(lengths), generator=generator, dtype=torch.float64),
        mask_NT=torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None],
        max_tokens=max_tokens,
    )


@st.composite
def token_batches(draw: st.DrawFn, *, max_rows: int = 6, max_tokens: int = 7) -> Tokens:
    """Uneven responses, empty ones among them, at least one with a token."""
    lengths = draw(st.lists(st.integers(0, max_tokens), min_size=1, max_size=max_rows).filter(any))
    return make_tokens(lengths, draw(st.integers(0, 2**31 - 1)), max_tokens=max_tokens)


surrogates = st.builds(
    Surrogate,
    ratio=st.sampled_from(["token", "sequence"]),
    aggregation=st.sampled_from(["sequence_mean", "token_mean", "constant"]),
    clip_low=st.sampled_from([0.0, 3e-4, 0.2, 1.0]),
    clip_high=st.sampled_from([0.0, 4e-4, 0.28, 3.0]),
    advantage_scale=st.sampled_from(["sample_std", "population_std", "none"]),
    kl_coefficient=st.sampled_from([0.0, 0.01, 1.0]),
    entropy_coefficient=st.sampled_from([0.0, 0.1]),
)


@st.composite
def splits(draw: st.DrawFn, count: int) -> list[list[int]]:
    """``count`` rows dealt out, in any order, to any number of micro-batches, none empty."""
    order = draw(st.permutations(range(count)))
    cuts = draw(st.sets(st.integers(1, count - 1))) if count > 1 else set()
    edges = [0, *sorted(cuts), count]
    return [list(order[a:b]) for a, b in pairwise(edges)]


@st.composite
def reward_groups(draw: st.DrawFn, *, unjudged: bool = True) -> Tensor:
    """rewards_PG of 0, 1 and, where ``unjudged``, NaN."""
    num_prompts, group_size = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    values = st.sampled_from([0.0, 1.0, NAN] if unjudged else [0.0, 1.0])
    row = st.lists(values, min_size=group_size, max_size=group_size)
    return torch.tensor(draw(st.lists(row, min_size=num_prompts, max_size=num_prompts)), dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class Candidates:
    """One group to select from: likelihoods (nats; NaN for an empty response) and rewards (NaN where not judged)."""

    likelihood_G: NDArray[np.float64]
    rewards_G: NDArray[np.float64]

    @property
    def group_size(self) -> int:
        return len(self.rewards_G)


@st.composite
def candidate_groups(draw: st.DrawFn) -> Candidates:
    """Groups with ties in likelihood, unjudged answers and empty responses."""
    group_size = draw(st.integers(1, 10))
    likelihood = st.one_of(st.sampled_from([-1.0, -0.5]), st.floats(-20, 0), st.just(NAN))
    reward = st.sampled_from([0.0, 1.0, NAN])
    return Candidates(
        np.array(draw(st.lists(likelihood, min_size=group_size, max_size=group_size))),
        np.array(draw(st.lists(reward, min_size=group_size, max_size=group_size))),
    )
