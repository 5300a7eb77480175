"""Advantages, losses and gradients against TRL 1.16.0, on the same tensors, to 1e-6 relative.

TRL's own code runs from rewards to loss: a stand-in trainer replaces generation, the reward functions and the model's
forward pass, and nothing in between. Losses are compared on TRL's advantages, which are themselves compared first: TRL
rounds a factor of them to fp32, and a loss is a sum of terms that nearly cancel. The policy is a table of bigram logits
in fp64. Importing TRL takes some ten seconds, and only this file does it.
"""

from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strategies import NAN
from unsqueeze.algos.advantages.group_relative import group_advantages
from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.objectives import LossOutput, clipped_surrogate_loss
from unsqueeze.algos.surrogate import ALGORITHMS, Surrogate

trl = pytest.importorskip("trl", reason="TRL is the oracle of the losses: pip install trl==1.16.0")

from trl import GRPOConfig  # noqa: E402
from trl.trainer.grpo_trainer import GRPOTrainer  # noqa: E402

VOCABULARY, PAD, MAX_TOKENS = 7, 0, 8
GROUP_SIZE = 4
TOLERANCE = {"rtol": 1e-6, "atol": 1e-12}


def test_the_oracle_is_the_version_that_was_read() -> None:
    assert trl.__version__ == "1.16.0"


# --- what both sides are given -----------------------------------------------------------------------------------


class Bigram(nn.Module):
    """p(next | previous) = softmax of a row of a table: a model small enough to see through."""

    is_gradient_checkpointing = is_activation_checkpointing = False

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table.clone())

    def score(self, ids_NS: Tensor, num_last: int) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies of the last ``num_last`` tokens of each row."""
        logp_VV = self.table.log_softmax(dim=-1)
        previous, following = ids_NS[:, -num_last - 1 : -1], ids_NS[:, -num_last:]
        entropy_V = -(logp_VV.exp() * logp_VV).sum(dim=-1)
        return logp_VV[previous, following], entropy_V[previous]


@dataclass(frozen=True)
class Problem:
    """Rollouts with rewards, and three policies: the one that sampled, the one under training, the reference."""

    prompts: list[list[int]]
    completions: list[list[int]]
    rewards_PG: Tensor
    behaviour: Bigram
    policy: Bigram
    reference: Bigram

    @property
    def completion_ids_NT(self) -> Tensor:  # noqa: N802
        return nn.utils.rnn.pad_sequence(
            [torch.tensor(c) for c in self.completions], batch_first=True, padding_value=PAD
        )

    @property
    def lengths_N(self) -> Tensor:  # noqa: N802
        return torch.tensor([len(c) for c in self.completions])


def make_problem(rewards: list[list[float]], *, seed: int = 0, drift: float = 0.6) -> Problem:
    """Uneven lengths of 1 to MAX_TOKENS − 1, their sum a multiple of 4; ``drift`` is how far the policy has gone."""
    generator = torch.Generator().manual_seed(seed)

    def table() -> Tensor:
        return torch.randn(VOCABULARY, VOCABULARY, generator=generator, dtype=torch.float64)

    num = len(rewards) * GROUP_SIZE
    lengths = torch.randint(1, MAX_TOKENS - 1, (num,), generator=generator)
    lengths[-1] = 1 + (-1 - lengths[:-1].sum()) % 4
    behaviour = table()
    return Problem(
        prompts=[[1] * (1 + i // GROUP_SIZE) for i in range(num)],
        completions=[torch.randint(1, VOCABULARY, (int(n),), generator=generator).tolist() for n in lengths],
        rewards_PG=torch.tensor(rewards, dtype=torch.float64),
        behaviour=Bigram(behaviour),
        policy=Bigram(behaviour + drift * table()),
        reference=Bigram(behaviour + 0.3 * table()),
    )


# --- TRL's side --------------------------------------------------------------------------------------------------


class TrlStandIn(GRPOTrainer):
    """GRPOTrainer from its rewards to its loss, without engines, data, optimizer or devices."""

    def __init__(self, problem: Problem, config: GRPOConfig) -> None:
        for name, value in vars(config).items():
            if not hasattr(GRPOTrainer, name):
                setattr(self, name, value)
        self.problem = problem
        self.args = config
        self.model, self.ref_model = problem.behaviour, problem.reference
        self.accelerator = SimpleNamespace(
            device=torch.device("cpu"),
            num_processes=1,
            process_index=0,
            sync_gradients=True,
            gather=lambda tensor: tensor,
            reduce=lambda tensor, reduction: tensor,
        )
        self.epsilon_low = config.epsilon
        self.epsilon_high = config.epsilon if config.epsilon_high is None else config.epsilon_high
        self.reward_funcs, self.reward_func_names, self.reward_weights = [None], ["verdict"], torch.ones(1)
        self.current_gradient_accumulation_steps = 1
        self._entropy_bonus_enabled = self.entropy_coef != 0
        self.aux_loss_enabled = False
        self.environment_factories = self.environments = self.tools = None
        self._tokenizer = SimpleNamespace(pad_token_id=PAD)
        self._metrics = {"train": defaultdict(list)}
        self._logs = defaultdict(list) | {"rewards": defaultdict(list), "extra": defaultdict(list)}
        self._pending_extra_logs, self._pending_metrics = defaultdict(list), defaultdict(list)
        self.scored: Tensor | None = None

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        p = self.problem
        return p.prompts, p.completions, None, p.completions, None, {}, None, None

    def _calculate_rewards(self, *_: Any) -> Tensor:
        return self.problem.rewards_PG.reshape(-1, 1)

    def _get_per_token_logps_and_entropies(
        self, model: Bigram, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor, None]:
        logp, entropy = model.score(input_ids, logits_to_keep)
        self.scored = logp
        return logp, entropy, None


def trl_config(
    settings: Surrogate, *, num_rows: int, steps_per_generation: int = 1, num_iterations: int = 2
) -> GRPOConfig:
    """Our settings in TRL's words. Two iterations make TRL keep the old log-probs."""
    loss_types = {"sequence_mean": "grpo", "token_mean": "dapo", "constant": "dr_grpo"}
    return GRPOConfig(
        output_dir="unused",
        report_to="none",
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=num_rows // steps_per_generation,
        num_generations=GROUP_SIZE,
        steps_per_generation=steps_per_generation,
        num_iterations=num_iterations,
        max_completion_length=MAX_TOKENS,
        loss_type=loss_types[settings.aggregation],
        importance_sampling_level=settings.ratio,
        scale_rewards={"sample_std": "group", "none": "none"}[settings.advantage_scale],
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        beta=settings.kl_coefficient,
        use_bias_correction_kl=False,  # GRPO's own term (arXiv 2402.03300, Eq. 4); see docs/algorithms.md
        entropy_coef=settings.entropy_coefficient,
    )


def trl_generate(problem: Problem, config: GRPOConfig) -> tuple[TrlStandIn, dict[str, Tensor]]:
    trainer = TrlStandIn(problem, config)
    inputs = trainer._generate_and_score_completions([{"prompt": "unused"} for _ in problem.prompts])
    return trainer, inputs


def trl_loss(problem: Problem, settings: Surrogate, **options: int) -> tuple[Tensor, Tensor, Tensor, TrlStandIn]:
    """TRL's loss, its gradient in every token's log-prob, its advantages, and the trainer with its metrics."""
    trainer, inputs = trl_generate(problem, trl_config(settings, num_rows=len(problem.prompts), **options))
    trainer.model = problem.policy
    loss = trainer._compute_loss(problem.policy, inputs)
    (gradient,) = torch.autograd.grad(loss, trainer.scored)
    return loss.detach(), gradient, inputs["advantages"], trainer


# --- our side ----------------------------------------------------------------------------------------------------


def our_inputs(problem: Problem, scorer: Bigram) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies, [N, T], of the completions; padding is scored too and must not matter."""
    last = torch.tensor([[prompt[-1]] for prompt in problem.prompts])
    ids = torch.cat([last, problem.completion_ids_NT], dim=1)
    return scorer.score(ids, ids.shape[1] - 1)


def our_output(
    problem: Problem, settings: Surrogate, advantages_N: Tensor, *, on_policy: bool = False
) -> tuple[LossOutput, Tensor]:
    """Our loss, and the log-probs that its gradient is taken in."""
    lengths_N = problem.lengths_N
    weights_N = token_weights(
        lengths_N,
        settings.aggregation,
        num_rollouts=len(lengths_N),
        num_tokens=int(lengths_N.sum()),
        max_tokens=MAX_TOKENS,
    )
    logp_policy, entropy = our_inputs(problem, problem.policy)
    sampler = problem.policy if on_policy else problem.behaviour
    output = clipped_surrogate_loss(
        logp_policy,
        our_inputs(problem, sampler)[0],
        advantages_N,
        torch.arange(logp_policy.shape[1])[None] < lengths_N[:, None],
        weights_N,
        settings,
        logp_ref_NT=our_inputs(problem, problem.reference)[0],
        entropy_NT=entropy,
    )
    return output, logp_policy


# --- comparisons -------------------------------------------------------------------------------------------------

MIXED = [[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]]
WITH_EQUAL_GROUPS = [[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
UNJUDGED = [[1.0, NAN, 0.0, 0.0], [NAN, NAN, 1.0, 0.0], [NAN, NAN, NAN, NAN]]
FRACTIONS = [[0.3, 0.9, 0.1, 0.5], [0.0, 0.25, 0.25, 1.0], [0.7, 0.2, 0.2, 0.2]]
REWARDS = {"mixed": MIXED, "equal groups": WITH_EQUAL_GROUPS, "unjudged": UNJUDGED, "fractions": FRACTIONS}

PAPER_GRPO = Surrogate(kl_coefficient=0.01)
SETTINGS = {
    "GRPO": ALGORITHMS["grpo"],
    "GRPO, the paper's beta": PAPER_GRPO,
    "GRPO, beta 1": Surrogate(kl_coefficient=1.0),
    "DAPO": ALGORITHMS["dapo"],
    "DAPO with a KL term": Surrogate(aggregation="token_mean", clip_high=0.28, kl_coefficient=0.1),
    "GSPO": ALGORITHMS["gspo"],
    "GSPO, wide clips, KL": Surrogate(ratio="sequence", clip_low=0.2, clip_high=0.3, kl_coefficient=0.1),
    "Dr. GRPO": ALGORITHMS["dr_grpo"],
    "DAPO with an entropy bonus": Surrogate(aggregation="token_mean", clip_high=0.28, entropy_coefficient=0.05),
}


@pytest.mark.parametrize("scale", ["sample_std", "none"])
@pytest.mark.parametrize("rewards", REWARDS.values(), ids=REWARDS)
def test_advantages(rewards: list[list[float]], scale: str) -> None:
    settings = Surrogate(advantage_scale=scale)
    problem = make_problem(rewards)
    _, inputs = trl_generate(problem, trl_config(settings, num_rows=len(problem.prompts)))
    ours = group_advantages(problem.rewards_PG, settings.advantage_scale).flatten()
    torch.testing.assert_close(ours, inputs["advantages"], **TOLERANCE)
    assert ours.any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rewards", REWARDS.values(), ids=REWARDS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_loss_and_gradient(settings: Surrogate, rewards: list[list[float]], seed: int) -> None:
    problem = make_problem(rewards, seed=seed)
    expected, expected_gradient, advantages_N, _ = trl_loss(problem, settings)
    output, logp_policy = our_output(problem, settings, advantages_N)
    (gradient,) = torch.autograd.grad(output.loss, logp_policy)
    torch.testing.assert_close(output.loss.detach(), expected, **TOLERANCE)
    torch.testing.assert_close(gradient, expected_gradient, **TOLERANCE)
    assert gradient.any()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_on_policy_where_trl_takes_the_policy_for_its_own_sampler(settings: Surrogate) -> None:
    problem = make_problem(MIXED)
    expected, expected_gradient, advantages_N, _ = trl_loss(problem, settings, num_iterations=1)
    output, logp_policy = our_output(problem, settings, advantages_N, on_policy=True)
    (gradient,) = torch.autograd.grad(output.loss, logp_policy)
    torch.testing.assert_close(output.loss.detach(), expected, **TOLERANCE)
    torch.testing.assert_close(gradient, expected_gradient, **TOLERANCE)


def test_the_comparison_clips_on_both_sides_and_counts_alike() -> None:
    settings = SETTINGS["DAPO with a KL term"]
    problem = make_problem(MIXED)
    _, _, advantages_N, trainer = trl_loss(problem, settings)
    (low,) = trainer._metrics["train"]["clip_ratio/low_mean"]
    (high,) = trainer._metrics["train"]["clip_ratio/high_mean"]
    (kl,) = trainer._metrics["train"]["kl"]
    assert low > 0.05
    assert high > 0.05
    metrics = our_output(problem, settings, advantages_N)[0].metrics
    assert metrics["clip_low_share"].item() == pytest.approx(low, rel=1e-6)
    assert metrics["clip_high_share"].item() == pytest.approx(high, rel=1e-6)
    assert metrics["kl_ref"].item() == pytest.approx(kl, rel=1e-6)


@pytest.mark.parametrize("name", ["GRPO, the paper's beta", "DAPO", "GSPO", "GSPO, wide clips, KL"])
def test_four_steps_from_one_generation(name: str) -> None:
    # The paper's GSPO setting: 32 rollouts, four optimizer steps on 8 of them each, the old log-probs those of the
    # sampler throughout. Both sides train a copy of the same policy, which starts as the sampler.
    settings = SETTINGS[name]
    num_steps, learning_rate = 4, 3.0
    problem = make_problem([*MIXED, *WITH_EQUAL_GROUPS, *FRACTIONS[:2]], drift=0.0)
    config = trl_config(settings, num_rows=32, steps_per_generation=num_steps, num_iterations=1)
    trainer, inputs = trl_generate(problem, config)
    theirs, ours = Bigram(problem.behaviour.table.detach()), Bigram(problem.behaviour.table.detach())
    trainer.model = theirs

    lengths_N = problem.lengths_N
    weights_N = token_weights(
        lengths_N,
        settings.aggregation,
        num_rollouts=8,
        # TRL divides each of the four steps by a quarter of the generation's tokens, whatever the step's own number.
        num_tokens=int(lengths_N.sum()) // num_steps,
        max_tokens=MAX_TOKENS,
    )
    assert int(lengths_N.sum()) % num_steps == 0
    advantages_N = inputs["advantages"]
    behaviour_NT, _ = our_inputs(problem, problem.behaviour)
    ref_NT, _ = our_inputs(problem, problem.reference)
    mask_NT = torch.arange(behaviour_NT.shape[1])[None] < lengths_N[:, None]

    for step in range(num_steps):
        part = slice(8 * step, 8 * step + 8)
        their_batch = {key: value if value.dim() == 0 else value[part] for key, value in inputs.items()}
        their_loss = trainer._compute_loss(theirs, their_batch)
        our_loss = clipped_surrogate_loss(
            our_inputs(problem, ours)[0][part],
            behaviour_NT[part],
            advantages_N[part],
            mask_NT[part],
            weights_N[part],
            settings,
            logp_ref_NT=ref_NT[part],
        ).loss
        torch.testing.assert_close(our_loss, their_loss, **TOLERANCE)
        for model, loss in ((theirs, their_loss), (ours, our_loss)):
            (gradient,) = torch.autograd.grad(loss, model.table)
            with torch.no_grad():
                model.table -= learning_rate * gradient
        torch.testing.assert_close(ours.table, theirs.table, **TOLERANCE)
    assert not torch.allclose(ours.table, problem.behaviour.table, atol=1e-3)
