"""Tokens whose advantage and log-prob vary together: what Clip-Cov and KL-Cov hold back (arXiv 2505.22617).

Entropy falls as fast as the two covary over the tokens of a batch, and few tokens carry most of it. M is the number of
response tokens of a whole optimizer batch, in one row.
"""

import numpy as np
from numpy.typing import NDArray


def covariances(advantages_M: NDArray[np.float64], logp_M: NDArray[np.float64]) -> NDArray[np.float64]:
    """cov_m = (A_m − mean A)·(log π_m − mean log π) over all tokens; their mean is the covariance of the batch."""
    centred_M = advantages_M - advantages_M.mean()
    return np.asarray(centred_M * (logp_M - logp_M.mean()))


def clip_cov(
    cov_M: NDArray[np.float64],
    unclipped_M: NDArray[np.bool_],
    *,
    share: float,
    low: float,
    high: float,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Choose the tokens that lose their gradient: of the unclipped ones with ``low`` < cov < ``high`` a random
    max(1, ⌊share · M⌋), all where there are fewer.
    """
    candidates = np.flatnonzero(unclipped_M & (cov_M > low) & (cov_M < high))
    chosen = rng.permutation(candidates)[: number_of(share, len(cov_M))]
    return np.isin(np.arange(len(cov_M)), chosen)


def kl_cov(cov_M: NDArray[np.float64], *, share: float) -> NDArray[np.bool_]:
    """Choose the max(1, ⌊share · M⌋) tokens of the largest cov; of equals the first."""
    chosen = np.argsort(-cov_M, kind="stable")[: number_of(share, len(cov_M))]
    return np.isin(np.arange(len(cov_M)), chosen)


def number_of(share: float, num_tokens: int) -> int:
    """max(1, ⌊share · M⌋); a share such as 0.1 of 30 that floats put just below a whole number is that number."""
    return max(1, int(share * num_tokens + 1e-9))
