"""Every setting of a recipe, its default and its meaning.

Defaults are a vetted setting for a small run; the recipes that ship state theirs. Values that follow from others are
properties, never fields. Errors raised here are turned into one sentence by ``unsqueeze.config.load``.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from unsqueeze.algos.schedule import Phase, rl_phase_ends, schedule_phases
from unsqueeze.algos.selection import Likelihood, Pool, RankBy
from unsqueeze.algos.surrogate import ALGORITHMS, AdvantageScale, Aggregation, Correction, Ratio, Surrogate
from unsqueeze.config.refusal import NOT_TRUE
from unsqueeze.credentials import without_credentials
from unsqueeze.errors import UserError, one_line
from unsqueeze.extensions import ADVANTAGES, ENGINES, IRL_LOSSES, LOSSES, TASKS, VERIFIERS

LARGEST_COUNT = 10**8
"""Above any number of steps, tokens or problems that a machine gets through; lists of such lengths are made early."""


class Settings(BaseModel):
    """Frozen, and strict about names: a key nobody reads is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(NOT_TRUE)
        return value

    @field_validator("*")
    @classmethod
    def _counts_are_countable(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, int) and info.field_name != "seed" and abs(value) > LARGEST_COUNT:
            raise ValueError(f"it must be at most {LARGEST_COUNT}")
        return value


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it must hold plain texts, numbers, lists and mappings ({one_line(error, 100)})") from None
    return value


Options = Annotated[dict[str, Any], AfterValidator(_plain)]
"""Settings whose names are known to what they are given to, not here. They go to ``run.json`` like all others."""


class LoraSettings(Settings):
    rank: int = Field(16, ge=1)
    """Rank of the adapters' matrices."""
    alpha: int = Field(32, ge=1)
    """The adapters' output is scaled by alpha / rank."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of the layers that get an adapter."""


class ModelSettings(Settings):
    path: str = "countdown-0.4m"
    """A folder in Hugging Face format, a hub name, or the name of a model that ships inside the package."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device to train on. `auto` takes a GPU where there is one."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of forward and backward passes. The weights themselves are kept in fp32 while training."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    lora: LoraSettings | None = None
    """Train low-rank adapters instead of the weights; the exported policy has them merged. Needs the extra `peft`."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose authors you trust."""


def _operators(text: str) -> str:
    if not text or not set(text) <= set("+-*/"):
        raise ValueError("it must hold one or more of + - * / and nothing else")
    return text


class CountdownSettings(Settings):
    count: int = Field(4, ge=2, le=6)
    """Numbers in a problem."""
    min_number: int = Field(1, ge=1)
    """Smallest number of a problem."""
    max_number: int = Field(15, ge=1)
    """Numbers are drawn from min_number to this."""
    operators: Annotated[str, AfterValidator(_operators)] = "+-*"
    """Allowed operators of + - * /; / only where it leaves no remainder."""
    min_target: int = Field(10, ge=1)
    """Lowest target."""
    max_target: int | None = Field(None, ge=1)
    """Highest target; null is max_result."""
    max_result: int = Field(99, ge=1)
    """Bound on every intermediate result. The embedded model knows the numbers up to 99, and not /."""


class DataSettings(Settings):
    kind: str = "countdown"
    """The task, by name (`unsqueeze eval --list-tasks`), or package.module:Class of your own. `jsonl` reads files of
    problems with their answers: JSON Lines or a JSON array, gzipped or not, or Parquet; `hub` reads data sets of the
    Hugging Face hub, and such files beside them: each path below is `hub:OWNER/NAME[:CONFIG]:SPLIT[@REVISION]`, or a
    file. A commit as the revision pins the data; without one it is the newest. Known sets (GSM8K, MATH-500, …) are read
    in their own format unless fields are named. All others make their problems. What was read is in run.json: a hash,
    and the commit.
    """
    seed: int = 0
    """Seed of the making of problems, or of the drawing of subsets. Not the seed of the run."""
    train_path: str | None = None
    """jsonl: the file of training problems, of any of those formats; hub: the data set, or a file."""
    test_path: str | None = None
    """Held-out problems, named in the same way."""
    validation_path: str | None = None
    """Validation problems, named in the same way, by which the best checkpoint is chosen; null takes num_validation of
    those for training."""
    problem_field: str = "problem"
    """The field of the question, in every file and data set: text, or a list of messages of which the user's is the
    question. A dot leads into an object or a list: `prompt.0.content`. Rows of verl are known by themselves."""
    answer_field: str = "answer"
    """The field of the gold answer, likewise: `reward_model.ground_truth`."""
    test_problem_field: str | None = None
    """The field of the question in test_path; null: problem_field."""
    test_answer_field: str | None = None
    """The field of the gold answer in test_path; null: answer_field."""
    num_train: int | None = Field(None, ge=1)
    """Number of training problems. jsonl, hub: a uniform random subset of this size; null takes all. Others: so many
    are made; null is 800, unless the task says another number.
    """
    num_test: int | None = Field(None, ge=1)
    """Number of held-out problems, likewise; where they are made, null is 96, unless the task says another number."""
    num_validation: int | None = Field(None, ge=1)
    """Number of validation problems, never trained on and none of the held-out ones: made, drawn from validation_path,
    or set apart from the training problems. null takes a whole validation_path; without one there are none, and no
    checkpoint is called the best."""
    skip_bad: bool = False
    """Records of files and data sets whose problem or answer is missing, null, empty or no text are left out, counted
    and the first named (run.json has the number); false refuses the first. Answers that are text which no verifier can
    read: verify.max_unreadable."""
    max_prompt_tokens: int | None = Field(None, ge=1)
    """Problems whose prompt has more tokens are left out, of every set, and counted; null leaves out none, and one that
    does not fit into the model's context is refused."""
    options: Options = {}
    """Settings of the task's own, by name: those of `reasoning_gym` are name, its data set (some run answers as
    Python: use a container)."""
    countdown: CountdownSettings = CountdownSettings()
    """countdown: how hard the problems are."""

    @model_validator(mode="after")
    def _files_are_named(self) -> Self:
        TASKS.check(self.kind)
        paths = (self.train_path, self.test_path, self.validation_path)
        from_hub = [path for path in paths if path is not None and path.startswith("hub:")]
        if self.kind == "jsonl" and (self.train_path is None or self.test_path is None):
            raise ValueError("data.kind is jsonl, so data.train_path and data.test_path must name a file each")
        if self.kind == "hub" and (self.train_path is None or self.test_path is None or not from_hub):
            raise ValueError(
                "data.kind is hub, so data.train_path and data.test_path must each name a data set, as "
                "hub:OWNER/NAME[:CONFIG]:SPLIT[@REVISION], or one of them a file"
            )
        if self.kind != "hub" and from_hub:
            raise ValueError(f"{from_hub[0]} is a data set of the hub, and data.kind is {self.kind}; set it to hub")
        return self

    def fields_of(self, path: str) -> tuple[str, str]:
        """Return the fields of question and gold answer in a file or data set."""
        if path != self.test_path:
            return self.problem_field, self.answer_field
        return self.test_problem_field or self.problem_field, self.test_answer_field or self.answer_field


class PromptSettings(Settings):
    style: Literal["qwen-math", "deepseek-r1", "chat", "plain"] | None = None
    """The way in which models of a family are asked for reasoning and a boxed answer; the fields below override single
    parts. Null gives the problem as it is.
    """
    mode: Literal["plain", "chat"] | None = None
    """`chat` wraps the problem in the tokenizer's chat template; `plain`, the default, gives the template as it is."""
    template: str | None = None
    """The text around `{problem}`, the default (inside the user's turn, in chat mode)."""
    system: str | None = None
    """chat: the system message."""
    opening: str | None = None
    """The beginning of every response; part of the prompt."""


class VllmSettings(Settings):
    gpu_memory_utilization: float = Field(0.4, gt=0, lt=1)
    """The share of the GPU's memory for vLLM's weights and KV cache, while it is awake."""
    kv_cache_gib: float | None = Field(None, gt=0)
    """Memory of the KV cache; null: on a GPU what the share above leaves, on a CPU 1 GiB."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of vLLM's copy of the weights; null: model.compute_dtype."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt with its response, in tokens; null: the model's context."""
    enforce_eager: bool = False
    """Start without compiling and without CUDA graphs: at once, and slower afterwards. Always so on a CPU."""
    sleep: bool = True
    """On a GPU: hand vLLM's memory back while training. Off: faster steps where both fit side by side."""


class ServerSettings(Settings):
    urls: tuple[str, ...] = ()
    """The API base of every replica of `vllm serve`, such as http://node1:8000/v1. A key is taken from the environment
    variable UNSQUEEZE_API_KEY; name:password@ before the host is sent, and stands in no record."""
    model: str | None = None
    """The name of the model there; null: the only one there is."""
    weights_folder: str | None = None
    """The folder in which new weights are written for the servers to read; shared by all machines. Null: a temporary
    folder, which does where all run on this machine.
    """
    dtype: Literal["float32", "bfloat16"] | None = None
    """Precision of the written weights; null: model.compute_dtype."""
    timeout_s: float = Field(1800.0, gt=0)
    """Seconds a server may take over one response, or over new weights."""

    @field_serializer("urls", when_used="json")
    def _no_passwords(self, urls: tuple[str, ...]) -> list[str]:
        """Leave names and passwords out of what is written down; the settings in memory keep them."""
        return [without_credentials(url) for url in urls]

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, tuple(map(without_credentials, self.urls)) if name == "urls" else value


class RolloutSettings(Settings):
    engine: str = "hf"
    """The engine that samples: `hf`, the training weights themselves; `vllm`, vLLM in the same process with a copy of
    them; `vllm_server`, one or more `vllm serve`, here or elsewhere; or package.module:function of your own.
    """
    vllm: VllmSettings = VllmSettings()
    """Settings of the vllm engine alone."""
    server: ServerSettings = ServerSettings()
    """Settings of the vllm_server engine alone."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the training rollouts (1.0 in the paper)."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus that is sampled from; 1: no cut."""
    top_k: int = Field(0, ge=0)
    """Most likely tokens that are sampled from; 0: no cut."""
    max_tokens: int = Field(24, ge=1)
    """Longest response, in tokens."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts that end a response, beside its end tokens."""
    end_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Tokens that end a response, by their text, such as <end_of_turn>: beside those that the model declares and the
    one that ends the assistant's turn in its chat template, which always do."""
    max_rows: int = Field(256, ge=1)
    """Number of responses that are generated side by side; bounds the memory of the KV cache."""

    @model_validator(mode="after")
    def _engine_is_known(self) -> Self:
        ENGINES.check(self.engine)
        return self


class VerifySettings(Settings):
    workers: int = Field(2, ge=1)
    """Processes that judge mathematical answers. Countdown is checked in place."""
    timeout_s: float = Field(10.0, gt=0)
    """Deadline of one answer; a worker past it is killed, and the answer counts as wrong (`timed_out`)."""
    credit: Literal["boxed", "final_answer", "anywhere"] = "anywhere"
    """The places in which an answer may stand to earn credit: the last `\\boxed{}`, a box or a phrase that announces
    it, or anywhere.
    """
    memory_mb: int = Field(320, ge=192)
    """Address space of a worker, MB."""
    max_unreadable: float = Field(0.01, ge=0, le=1)
    """Largest share of the problems whose gold answer may be unreadable; with more, training does not start."""
    verifier: str | None = None
    """Verifier: a name (docs/verify.md), or package.module:function of your own; null: the task's own."""

    @model_validator(mode="after")
    def _verifier_is_known(self) -> Self:
        if self.verifier is not None:
            VERIFIERS.check(self.verifier)
        return self


_Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(Settings):
    learning_rate: float = Field(gt=0)
    """Step size of AdamW."""
    betas: tuple[_Decay, _Decay] = (0.9, 0.99)
    """Decay rates of AdamW's two moments."""
    epsilon: float = Field(1e-8, gt=0)
    """Term that keeps AdamW's division from one by zero."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of AdamW."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm where theirs is larger."""


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
    """Padded tokens, prompt and response, of one forward and backward pass: memory and speed, not the result."""
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
    advantage_options: Options = {}
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
    def _one_phase_length(self) -> Self:
        if self.every_passes is not None and self.every_steps is not None:
            raise ValueError(
                f"irl.every_passes is {self.every_passes:g} and irl.every_steps is {self.every_steps}, and an RL phase "
                f"has one length; set one of them to null"
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


class EvaluationSettings(Settings):
    n: int = Field(128, ge=1)
    """Responses sampled for each held-out problem."""
    validation_n: int = Field(32, ge=1)
    """Responses sampled for each validation problem, where there are any, whenever a checkpoint is saved."""
    temperature: float = Field(0.7, ge=0)
    """Temperature of the samples."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus that is sampled from; 1: no cut."""
    top_k: int = Field(0, ge=0)
    """Most likely tokens that are sampled from; 0: no cut."""
    every_steps: int | None = Field(None, ge=1)
    """Evaluate every so many RL steps, besides before training and at the end; null leaves it at those two."""
    gauges_every_steps: int | None = Field(25, ge=1)
    """Read the gauges of squeezing (greedy log-prob and entropy on a few watched prompts) every so many RL steps,
    besides before training and where phases end; null leaves it at those."""
    watched_prompts: int | None = Field(None, ge=1)
    """Prompts that gauges, phase reports and irl.kl_budget watch; null: 16, or fewer where phases are so short that
    measuring would take more than some 5 % of their work. Set it where arms of such phases are compared by gauges."""


class CheckpointSettings(Settings):
    every_steps: int | None = Field(100, ge=1)
    """Save every so many RL steps, besides at the end; null leaves it at that."""
    keep_last: int | None = Field(None, ge=1)
    """Remove all but the last so many checkpoints, the best by the validation problems, and those at phase ends if
    keep_phase_ends says so; null keeps all. With 1, nothing older may be there to go back to."""
    keep_phase_ends: bool = False
    """Save where phases end, too (after the IRL phase, where one follows), and never remove those."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the exported policy."""


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("it must name a folder: letters, digits, '.', '_' and '-' alone, a letter or digit first")
    return name


RunName = Annotated[str, Field(max_length=100), AfterValidator(_folder_name)]
"""The name of a folder, and nothing more."""


def _not_of_a_run(name: str) -> str:
    if name.casefold() in _IN_A_RUN:
        raise ValueError(f"a run has something of its own of that name ({', '.join(_IN_A_RUN)}); give another")
    return name


_IN_A_RUN = (
    "lock", "run.json", "journal.jsonl", "metrics.jsonl", "tracking.json", "report.html",
    "rollouts", "base_rollouts", "demos", "checkpoints", "evals", "validation",
)  # fmt: skip
"""An arm of such a name could not be told from a run in the folder of the arms."""

ArmName = Annotated[RunName, AfterValidator(_not_of_a_run)]


class TrackingSettings(Settings):
    project: str = Field("unsqueeze", min_length=1)
    """wandb and trackio: the project; mlflow: the experiment."""
    name: str | None = None
    """Name of the run there; null is the recipe's name and the run directory's."""


class ParallelSettings(Settings):
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Layout where several processes train: each holds the whole model (`ddp`), or a piece of every weight (`fsdp`)."""


class Recipe(Settings):
    """A whole run."""

    name: RunName
    """Names the run directory, where none is given."""
    description: str = ""
    """Description for people."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every random draw of the run follows from it."""
    threads: int | None = Field(None, ge=1)
    """CPU threads; null leaves the choice to PyTorch."""
    model: ModelSettings = ModelSettings()
    """The model that is trained."""
    data: DataSettings = DataSettings()
    """The problems that it is trained and tested on."""
    prompt: PromptSettings = PromptSettings()
    """The wording in which problems are put to the model."""
    rollout: RolloutSettings = RolloutSettings()
    """Sampling of answers for training."""
    verify: VerifySettings = VerifySettings()
    """Judging of mathematical answers."""
    rl: RlSettings = RlSettings()
    """The RL phases."""
    irl: IrlSettings | None = None
    """The IRL phases; null trains with plain RL."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Before training, at the end, and in between."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """Checkpoints that are saved, and those that stay."""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Services that draw curves of the metrics, beside the files of the run. Each needs the extra of its name."""
    tracking: TrackingSettings = TrackingSettings()
    """Names of the run in the trackers."""
    parallel: ParallelSettings = ParallelSettings()
    """Several processes."""
    arms: dict[ArmName, dict[str, Any]] | None = Field(None, min_length=1)
    """Several runs from one recipe, side by side: a name for each, with the settings in which it differs."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.irl is not None:
            self._irl_can_choose(self.irl)
        overlong = self.rl.overlong
        if overlong is not None and overlong.soft_cache_length > self.rollout.max_tokens:
            raise ValueError(
                f"rl.overlong.soft_cache_length is {overlong.soft_cache_length} but rollout.max_tokens is "
                f"{self.rollout.max_tokens}; the punished part cannot be longer than the response"
            )
        if self.rollout.engine == "vllm_server":
            if not self.rollout.server.urls:
                raise ValueError("rollout.engine is vllm_server, so rollout.server.urls must name one server or more")
            if self.rollout.temperature != 1 and self.rl.sampler_correction != "none":
                raise ValueError(
                    f"rollout.temperature is {self.rollout.temperature:g}, and servers give log-probs at temperature "
                    "1 only; set it to 1, or rl.sampler_correction to none, or use rollout.engine vllm"
                )
        num_train = self.data.num_train
        if num_train is not None and self.rl.prompts_per_step > num_train:
            raise ValueError(
                f"rl.prompts_per_step is {self.rl.prompts_per_step} but data.num_train is {num_train}; "
                f"a step cannot take more problems than there are, so lower the one or raise the other"
            )
        return self

    def _irl_can_choose(self, irl: IrlSettings) -> None:
        most = self.rl.group_size if irl.replay_phases == 1 else irl.replay_candidates
        if irl.k > most:
            name, of = (
                ("rl.group_size", "a group") if irl.replay_phases == 1 else ("irl.replay_candidates", "a problem")
            )
            raise ValueError(
                f"irl.k is {irl.k} but {name} is {most}; at most all {most} rollouts of {of} can be selected"
            )
        if irl.rank_by == "ratio" and self.rl.reset is not None:
            raise ValueError(
                "irl.rank_by is ratio, which compares with the base policy, and rl.reset puts another in its place; "
                "set rl.reset to null, or irl.rank_by to present"
            )
        if irl.rank_by == "ratio" and self.rl.reference != "base":
            raise ValueError(
                f"irl.rank_by is ratio, which compares with the base policy, and rl.reference is {self.rl.reference}; "
                f"set it to base, or irl.rank_by to present"
            )

    @property
    def needs_reference(self) -> bool:
        """Tell whether the log-probs of a reference policy are asked for: by a KL term, or by the ranking of IRL."""
        ranks = self.irl is not None and self.irl.rank_by == "ratio"
        return ranks or self.rl.surrogate.kl_coefficient > 0

    def phases(self, num_problems: int) -> list[Phase]:
        """The phases of this run over ``num_problems`` training problems.

        Raises UserError if IRL is asked for and no RL phase is ever complete.
        """
        if self.irl is None:
            return schedule_phases(self.rl.steps, [], irl=False)
        every_passes = self.irl.every_passes
        if every_passes is None and self.irl.every_steps is None:
            every_passes = 1.0
        ends = rl_phase_ends(
            self.rl.steps,
            every_steps=self.irl.every_steps,
            every_passes=every_passes,
            num_problems=num_problems,
            prompts_per_step=self.rl.prompts_per_step,
        )
        if not ends:
            raise UserError(self._never_complete(num_problems, every_passes))
        return schedule_phases(self.rl.steps, ends, irl=True)

    def _never_complete(self, num_problems: int, every_passes: float | None) -> str:
        assert self.irl is not None
        steps, prompts = self.rl.steps, self.rl.prompts_per_step
        if every_passes is None:
            needed, length = self.irl.every_steps, f"irl.every_steps is {self.irl.every_steps}"
            shorter = f"irl.every_steps to {steps} or less"
        else:
            needed = math.ceil(every_passes * num_problems / prompts - 1e-9)
            length = f"irl.every_passes is {every_passes:g}, over {num_problems} problems, {prompts} a step"
            # Rounded down to three digits, so that it is met.
            passes = steps * prompts / num_problems
            digits = 2 - math.floor(math.log10(passes))
            shorter = f"irl.every_passes to {math.floor(passes * 10**digits) / 10**digits:g} or less"
        return (
            f"rl.steps is {steps}, and the first RL phase would end with step {needed} ({length}), so IRL would never "
            f"run. Raise rl.steps to {needed} or more, or set {shorter}; irl=null trains with plain RL."
        )
