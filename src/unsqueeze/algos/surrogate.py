"""GRPO, DAPO and GSPO as settings of one clipped surrogate, and the registry that names them.

This module holds plain values only, so that recipes can be read without loading torch; the loss is in
``unsqueeze.algos.objectives``.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Ratio = Literal["token", "sequence"]
Aggregation = Literal["sequence_mean", "token_mean", "constant"]
AdvantageScale = Literal["sample_std", "population_std", "none"]
Correction = Literal["token", "sequence", "none"]

RATIOS: tuple[str, ...] = get_args(Ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """Settings of the clipped surrogate (Eq. 23-29).

    ``ratio``              importance ratio per token (Eq. 27) or per sequence, s = exp(mean token log-ratio) (Eq. 29)
    ``aggregation``        how token terms become one number:
                           ``sequence_mean`` mean over a response's tokens, then over responses (Eq. 23, 28);
                           ``token_mean``    mean over all tokens of the batch (Eq. 26);
                           ``constant``      sum over tokens / (responses · maximum length) (Dr. GRPO, arXiv 2503.20783)
    ``clip_low``           the ratio is clipped to [1 − clip_low, 1 + clip_high]
    ``clip_high``
    ``advantage_scale``    what the centred rewards of a group are divided by
    ``advantage``          name of the estimator of advantages (``extensions.ADVANTAGES``)
    ``kl_coefficient``     β: weight of the KL term towards the reference policy (k3 estimator)
    ``entropy_coefficient`` weight of an entropy bonus (a control; none of the paper's methods uses one)
    """

    ratio: Ratio = "token"
    aggregation: Aggregation = "sequence_mean"
    clip_low: float = 0.2
    clip_high: float = 0.2
    advantage: str = "group_relative"
    advantage_scale: AdvantageScale = "sample_std"
    kl_coefficient: float = 0.0
    entropy_coefficient: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.clip_low <= 1:
            raise ValueError(f"clip_low is {self.clip_low}; it must be in [0, 1], the ratio being positive.")
        if self.clip_high < 0:
            raise ValueError(f"clip_high is {self.clip_high}; it must be 0 or more.")
        if self.kl_coefficient < 0 or self.entropy_coefficient < 0:
            raise ValueError("kl_coefficient and entropy_coefficient must be 0 or more.")


ALGORITHMS: dict[str, Surrogate] = {
    "grpo": Surrogate(),
    "dapo": Surrogate(aggregation="token_mean", clip_high=0.28),
    "gspo": Surrogate(ratio="sequence", clip_low=3e-4, clip_high=4e-4),
    "dr_grpo": Surrogate(aggregation="constant", advantage_scale="none"),
}
"""The named settings. DAPO's dynamic sampling and overlong punishment, and GSPO's several optimizer steps a generation,
are settings of sampling, not of the loss."""
