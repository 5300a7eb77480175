"""L2TE, Low-Likelihood Trajectory Emphasis: which rollouts of a group become demonstrations (§4.1, App. C.1)."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pool = Literal["negatives_first", "any", "positives", "uniform"]
Likelihood = Literal["mean", "sum"]
RankBy = Literal["behaviour", "present", "ratio"]


@dataclass(frozen=True, slots=True)
class Selected:
    """One demonstration: its place in the group, its likelihood (nats) and reward, and why it was chosen."""

    index: int
    likelihood: float
    reward: float
    reason: str


def likelihood(logp_T: NDArray[np.floating], kind: Likelihood = "mean") -> float:
    """Log-likelihood of one response under the policy that sampled it: nats per token (``mean``) or in all (``sum``).

    An empty response has none: NaN, and is never selected.
    """
    mean, total = likelihoods(logp_T)
    return mean if kind == "mean" else total


def likelihoods(logp_T: NDArray[np.floating]) -> tuple[float, float]:
    """``likelihood`` of both kinds, the mean and the sum, added up in double precision once."""
    if logp_T.size == 0:
        return math.nan, math.nan
    total = float(np.add.reduce(logp_T, dtype=np.float64))
    return total / logp_T.size, total


def in_pool(rewards_G: NDArray[np.float64], pool: Pool) -> NDArray[np.bool_]:
    """Tell which rollouts a pool may take, in any order of preference: those judged; of ``positives``, the right ones.

    ``rewards_G`` are verdicts: 1, 0, or NaN where nothing was judged.
    """
    return rewards_G > 0 if pool == "positives" else ~np.isnan(rewards_G)


def select_demonstrations(
    likelihood_G: NDArray[np.float64],
    rewards_G: NDArray[np.float64],
    k: int,
    *,
    pool: Pool = "negatives_first",
    quantile: float = 0.5,
    rng: np.random.Generator,
) -> list[Selected]:
    """Choose up to k of the G rollouts of one prompt, in the order of their index.

    ``rewards_G`` are verdicts: 1, 0, or NaN where nothing was judged, without any shaping for length. A rollout is a
    candidate if it was judged and its likelihood is finite. From a list of candidates, the lowest
    ceil(quantile · count) by likelihood are the *lower part*; k of them are drawn uniformly without replacement, or the
    k lowest candidates are taken where the lower part holds fewer than k. Then, by pool:

    ``negatives_first``  from the negatives (reward 0); where there are fewer than k, all of them, topped up from the
                         positives by the same rule (App. C.1)
    ``any``              from all candidates
    ``positives``        from the positives only
    ``uniform``          from all candidates, the quantile ignored (the first description of Y'_x, §4.1)

    A group with fewer than k candidates in its pool gives all it has, perhaps none. With ``uniform`` and k = G every
    candidate is selected: the identity.

    Raises ValueError if the arrays differ in length, k < 1 or quantile is outside (0, 1].
    """
    if likelihood_G.shape != rewards_G.shape or likelihood_G.ndim != 1:
        raise ValueError(f"likelihood_G {likelihood_G.shape} and rewards_G {rewards_G.shape} must be equal vectors.")
    if k < 1:
        raise ValueError(f"k is {k}; at least one demonstration must be asked for.")
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile is {quantile}; it must be in (0, 1].")

    candidates = np.flatnonzero(~np.isnan(rewards_G) & np.isfinite(likelihood_G))
    positive = candidates[rewards_G[candidates] > 0]
    negative = candidates[rewards_G[candidates] <= 0]

    chosen: dict[int, str] = {}
    if pool == "negatives_first":
        for index in _from_lower_part(negative, likelihood_G, k, quantile, rng):
            chosen[index] = "negative, low likelihood"
        missing = k - len(chosen)
        for index in _from_lower_part(positive, likelihood_G, missing, quantile, rng):
            chosen[index] = "positive, low likelihood, too few negatives"
    elif pool == "any":
        for index in _from_lower_part(candidates, likelihood_G, k, quantile, rng):
            chosen[index] = "low likelihood"
    elif pool == "positives":
        for index in _from_lower_part(positive, likelihood_G, k, quantile, rng):
            chosen[index] = "positive, low likelihood"
    else:
        for index in _from_lower_part(candidates, likelihood_G, k, 1.0, rng):
            chosen[index] = "uniform"
    return [Selected(i, float(likelihood_G[i]), float(rewards_G[i]), chosen[i]) for i in sorted(chosen)]


def _from_lower_part(
    candidates: NDArray[np.intp],
    likelihood_G: NDArray[np.float64],
    k: int,
    quantile: float,
    rng: np.random.Generator,
) -> list[int]:
    """k indices drawn from the lower part of the candidates; the k lowest where that part is smaller than k."""
    if k < 1 or candidates.size == 0:
        return []
    # A stable sort: ties fall in the order of the index, the same on every machine.
    ordered = candidates[np.argsort(likelihood_G[candidates], kind="stable")]
    # The margin keeps 0.55 · 100, which binary floats round up, from counting as 56.
    lower = ordered[: math.ceil(quantile * ordered.size - 1e-9)]
    if lower.size <= k:
        return [int(i) for i in ordered[:k]]
    return [int(i) for i in rng.choice(lower, size=k, replace=False)]
