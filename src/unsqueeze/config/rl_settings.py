"""The RL phases."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from unsqueeze.algos.surrogate import ALGORITHMS, AdvantageScale, Aggregation, Correction, Ratio, Surrogate
from unsqueeze.config.settings import OptimizerSettings, Options, Settings
from unsqueeze.extensions import ADVANTAGES, LOSSES


class DynamicSamplingSettings(Settings):
    max_resample_times: int = Field(3, ge=0)
    """Rounds of further prompts that may be drawn to fill a batch up with informative groups."""
    rule: Literal["keep", "ms_swift"] = "keep"
    """`keep` trains on every informative group that was found; `ms_swift` reproduces that trainer's rule."""


class OverlongSettings(Settings):
    soft_cache_length: int = Field(ge=1)
    """Responses longer than rollout.max_tokens less this are punished, linearly down to −1 (DAPO)."""


class CovarianceSettings(Settings):
    rule: Literal["clip_cov", "kl_cov"]
    """Those tokens whose advantage and log-prob covary most are held back: `clip_cov` takes the gradient of a random
    few, `kl_cov` lets the most extreme pay for their distance from the policy that sampled, and clips nothing."""
    share: float = Field(2e-4, gt=0, le=1)
    """Tokens that are held back, of all response tokens of the step; one at least."""
    low: float = 1.0
    """clip_cov: only tokens of a larger covariance."""
    high: float = 5.0
    """clip_cov: only tokens of a smaller one."""
    coefficient: float = Field(1.0, gt=0)
    """kl_cov: κ, the cost of each nat of distance."""

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"rl.covariance.low is {self.low:g} and rl.covariance.high is {self.high:g}; low must be below high"
            )
        return self


class AdaptiveEntropySettings(Settings):
    target: float = Field(gt=0)
    """H*, nats per token: there is a bonus while the entropy of the step's rollouts, the metric `entropy`, is below."""
    delta: float = Field(0.005, gt=0)
    """The coefficient grows by this with every step below the target, and shrinks by it with every one above."""
    largest: float = Field(1.0, gt=0)
    """The coefficient stays from 0 to this."""


class ResetSettings(Settings):
    every_steps: int = Field(100, ge=1)
    """After so many RL steps, again and again, the reference of the KL term becomes the policy as it is."""
    optimizer: bool = True
    """AdamW's moments of RL are begun anew, too."""


class DphSettings(Settings):
    coefficient: float = Field(0.02, gt=0)
    """η, the weight of the pull."""
    rollouts: int = Field(8, ge=1)
    """Rollouts of the base policy for each training problem, drawn and judged before training."""
    rows: int = Field(32, ge=1)
    """Right ones of them that every RL step learns from, drawn anew with every step."""


class RlSettings(OptimizerSettings):
    algorithm: str = "grpo"
    """grpo, dapo, gspo or dr_grpo, named settings of one surrogate; fields below override single ones."""
    steps: int = Field(200, ge=1, le=999_999)
    """Optimizer steps, over all RL phases."""
    prompts_per_step: int = Field(16, ge=1)
    """Prompts of one optimizer step."""
    group_size: int = Field(8, ge=2)
    """Rollouts of one prompt, G."""
    learning_rate: float = Field(5e-5, gt=0)
    """Learning rate of AdamW, constant."""
    tokens_per_microbatch: int = Field(16384, ge=1)
    """Padded tokens, prompt and response, of one forward and backward pass: memory and speed, not the result. On a CPU
    it is 4,096 at most, beyond which a pass takes more memory and is no faster."""
    steps_per_generation: int = Field(1, ge=1)
    """Optimizer steps from one generation, each on prompts of its own, against the sampling policy's log-probs."""
    dynamic_sampling: DynamicSamplingSettings | None = None
    """Draw further prompts for those whose answers are all right or all wrong (DAPO); null takes them as they come."""
    overlong: OverlongSettings | None = None
    """Soft punishment of overlong responses (DAPO); null leaves the reward 0 or 1."""
    covariance: CovarianceSettings | None = None
    """Hold back the tokens by which entropy falls (Clip-Cov, KL-Cov; arXiv 2505.22617); null holds back none."""
    reference: Literal["base", "iteration"] = "base"
    """The policy that the KL term pulls towards: the base policy, or the policy at the start of the RL phase."""
    sampler_correction: Correction | None = None
    """Truncated importance sampling for what the sampler's log-probs differ from the trainer's: a weight per `token`,
    per `sequence`, or `none`, which only measures it. null: per token where the engine has weights of its own, and in
    bfloat16; with `hf` in float32 the two differ by some 1e-6 nats, and nothing is measured or corrected."""
    sampler_cap: float = Field(2.0, ge=1)
    """No weight of that correction is larger."""
    ratio: Ratio | None = None
    """Importance ratio. This and those below: null is what the algorithm says (docs/algorithms.md)."""
    aggregation: Aggregation | None = None
    """Average of the surrogate over tokens and responses."""
    clip_low: float | None = Field(None, ge=0, le=1)
    """ε_low: the ratio is clipped at 1 − this."""
    clip_high: float | None = Field(None, ge=0)
    """ε_high: the ratio is clipped at 1 + this."""
    loss: str = "clipped_surrogate"
    """The loss of a step: a name (docs/algorithms.md), or package.module:function of your own."""
    advantage: str | None = None
    """The estimator of advantages: a name (docs/algorithms.md), or package.module:function of your own."""
    advantage_options: Options = Field(default_factory=dict)
    """Further arguments of that estimator, by name."""
    advantage_scale: AdvantageScale | None = None
    """Scale that the centred rewards of a group are divided by."""
    kl_coefficient: float | None = Field(None, ge=0)
    """β of the KL term towards the base policy."""
    entropy_coefficient: float | None = Field(None, ge=0)
    """Weight of an entropy bonus; with adaptive_entropy that of the first step."""
    adaptive_entropy: AdaptiveEntropySettings | None = None
    """Have the weight of the entropy bonus follow the entropy (arXiv 2505.22312); null leaves it as it is."""
    dph: DphSettings | None = None
    """Hold the policy to the base on right rollouts of the base, by a mass-covering divergence (arXiv 2509.07430)."""
    reset: ResetSettings | None = None
    """Begin anew with the reference policy and the optimizer every so many steps (ProRL, arXiv 2505.24864)."""

    @model_validator(mode="after")
    def _algorithm_is_known(self) -> Self:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"rl.algorithm is {self.algorithm!r}; known are {', '.join(ALGORITHMS)}")
        LOSSES.check(self.loss)
        ADVANTAGES.check(self.surrogate.advantage)
        return self

    @model_validator(mode="after")
    def _kl_cov_clips_nothing(self) -> Self:
        clips = [name for name in ("clip_low", "clip_high") if getattr(self, name) is not None]
        if clips and self._without_clip:
            raise ValueError(
                f"rl.covariance.rule is kl_cov, which clips nothing, and rl.{clips[0]} is given; set it to null, or "
                f"the rule to clip_cov"
            )
        return self

    @model_validator(mode="after")
    def _reset_has_something_to_reset(self) -> Self:
        if self.reset is None:
            return self
        if self.reference == "iteration":
            raise ValueError(
                "rl.reset is given and rl.reference is iteration, whose reference is set with every RL phase; set "
                "rl.reference to base, or rl.reset to null"
            )
        if not self.reset.optimizer and self.surrogate.kl_coefficient == 0:
            raise ValueError(
                "rl.reset.optimizer is false and rl.kl_coefficient is 0, so that there is nothing to reset; set "
                "rl.kl_coefficient above 0, rl.reset.optimizer to true, or rl.reset to null"
            )
        return self

    @model_validator(mode="after")
    def _first_coefficient_is_allowed(self) -> Self:
        adaptive, first = self.adaptive_entropy, self.surrogate.entropy_coefficient
        if adaptive is not None and first > adaptive.largest:
            raise ValueError(
                f"rl.entropy_coefficient is {first:g} and rl.adaptive_entropy.largest is {adaptive.largest:g}; the "
                f"first coefficient cannot be above the largest"
            )
        return self

    @property
    def _without_clip(self) -> bool:
        return self.covariance is not None and self.covariance.rule == "kl_cov"

    @property
    def surrogate(self) -> Surrogate:
        """The named settings with the overrides applied."""
        named = ALGORITHMS[self.algorithm]
        fields = {name: getattr(named, name) for name in named.__slots__}
        given = {name: getattr(self, name) for name in fields if getattr(self, name) is not None}
        unclipped = {"clip_low": 1.0, "clip_high": math.inf} if self._without_clip else {}
        return Surrogate(**(fields | given | unclipped))
