"""SPS inside TRL: ``SPSTrainer`` and ``SPSConfig`` in the place of ``GRPOTrainer`` and ``GRPOConfig``.

    from unsqueeze.integrations.trl import SPSConfig, SPSTrainer

The trainer is TRL's own in all it does. Beside that every training generation goes to ``output_dir/sps`` at once, and
between two generations, once an RL phase is complete, an IRL phase moves the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from unsqueeze.algos.estimators import estimator_named
from unsqueeze.algos.selection import Likelihood, Pool, RankBy
from unsqueeze.config.irl_settings import IN_TRAINERS, IrlSettings
from unsqueeze.config.load import checked
from unsqueeze.distributed.processes import ONE
from unsqueeze.errors import MissingExtraError, UserError
from unsqueeze.integrations.advantages import OwnAdvantages, surrogate_of
from unsqueeze.integrations.hf_trainer import (
    SPSCallback,
    judging_reward,
    policy_of,
    refuse,
    refuse_broken_generations,
    refuse_no_base,
    refuse_phases_in,
    refuse_rounded,
    refuse_too_many,
    text_of,
)
from unsqueeze.integrations.inside import PhasesInside, TrainersProcesses
from unsqueeze.integrations.responses import Asked, Response, side_by_side
from unsqueeze.interop.rollouts.trl import GOLDS
from unsqueeze.rollout.types import StopReason

try:
    from trl import GRPOConfig, GRPOTrainer
except ImportError as error:
    raise MissingExtraError("SPSTrainer needs TRL: pip install 'unsqueeze[trl]'.") from error

PREFIX = "sps_"


DEFAULTS = IrlSettings()


@dataclass
class SPSConfig(GRPOConfig):
    """``GRPOConfig`` and the settings of IRL phases: those of a recipe's section ``irl`` under the same names."""

    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "sps_advantage_options"]

    sps_every_passes: float | None = field(
        default=DEFAULTS.every_passes,
        metadata={"help": "An RL phase lasts this many passes over the data; one where sps_every_steps is not given."},
    )
    sps_every_steps: int | None = field(
        default=DEFAULTS.every_steps, metadata={"help": "An RL phase lasts this many optimizer steps."}
    )
    sps_k: int = field(
        default=DEFAULTS.k, metadata={"help": "Demonstrations selected from the rollouts of each prompt."}
    )
    sps_pool: Pool = field(default=DEFAULTS.pool, metadata={"help": "Rollouts that may be selected."})
    sps_quantile: float = field(
        default=DEFAULTS.quantile, metadata={"help": "The share of them, the least likely, that is drawn from."}
    )
    sps_likelihood: Likelihood = field(
        default=DEFAULTS.likelihood, metadata={"help": "Log-prob of a rollout: the mean over its tokens, or the sum."}
    )
    sps_rank_by: RankBy = field(
        default=DEFAULTS.rank_by,
        metadata={"help": "Whose: the policy that sampled, the present one, or the ratio of that to the base policy."},
    )
    sps_replay_phases: int | None = field(
        default=DEFAULTS.replay_phases, metadata={"help": "RL phases whose rollouts may be selected; None is all."}
    )
    sps_replay_candidates: int = field(
        default=DEFAULTS.replay_candidates,
        metadata={"help": "Distinct rollouts of a prompt that are ranked, where several phases are replayed."},
    )
    sps_steps: int = field(
        default=DEFAULTS.steps, metadata={"help": "Optimizer steps of an IRL phase; 0 selects and moves nothing."}
    )
    sps_passes: float | None = field(
        default=DEFAULTS.passes, metadata={"help": "Instead of steps: passes over the demonstrations."}
    )
    sps_kl_budget: float | None = field(
        default=DEFAULTS.kl_budget,
        metadata={"help": "Stop once watched prompts, the demonstrations' own, have moved by so many nats per token."},
    )
    sps_kl_guard: float = field(
        default=DEFAULTS.kl_guard,
        metadata={"help": "Weight of a KL penalty towards the policy at the start of the phase."},
    )
    sps_schedule: Literal["constant", "linear", "cosine"] = field(
        default=DEFAULTS.schedule, metadata={"help": "Course of the learning rate."}
    )
    sps_phase_schedule: Literal["constant", "linear", "cosine"] = field(
        default=DEFAULTS.phase_schedule, metadata={"help": "Course of the learning rate from phase to phase."}
    )
    sps_batch_size: int = field(default=DEFAULTS.batch_size, metadata={"help": "Demonstrations of one optimizer step."})
    sps_learning_rate: float = field(
        default=DEFAULTS.learning_rate, metadata={"help": "Learning rate of AdamW, which is made anew for each phase."}
    )
    sps_weight_decay: float = field(
        default=DEFAULTS.weight_decay, metadata={"help": "Decoupled weight decay of that AdamW."}
    )
    sps_max_grad_norm: float = field(
        default=DEFAULTS.max_grad_norm, metadata={"help": "Gradients are scaled down to this norm."}
    )
    sps_aggregation: Literal["sequence_mean", "token_mean"] = field(
        default=DEFAULTS.aggregation,
        metadata={"help": "Average of the NLL: every response weighs the same, or every token."},
    )
    sps_reward: str | None = field(
        default=None, metadata={"help": "The reward function that tells right (above 0) from wrong, where several are."}
    )
    sps_advantage: str | None = field(
        default=None,
        metadata={"help": "An estimator of advantages by its name in a recipe's rl.advantage; None leaves TRL's."},
    )
    sps_advantage_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Its options, as a recipe's rl.advantage_options; JSON on a command line."}
    )
    sps_tokens_per_microbatch: int = field(
        default=16384,
        metadata={
            "help": "Padded tokens of one pass of an IRL phase: memory and speed, not the result. On a CPU 2,048 at "
            "most."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.irl_settings()
        self.own_advantages()
        if self.sps_tokens_per_microbatch < 1:
            raise UserError(f"sps_tokens_per_microbatch is {self.sps_tokens_per_microbatch}; it must be at least 1.")

    def irl_settings(self) -> IrlSettings:
        """Return the settings of an IRL phase. UserError naming the one that is wrong."""
        given = {name: getattr(self, PREFIX + name) for name in IN_TRAINERS if hasattr(self, PREFIX + name)}
        try:
            return checked(IrlSettings, given, "sps")
        except UserError as error:
            raise UserError(str(error).replace("sps.", PREFIX).replace("irl.", PREFIX)) from None

    def own_advantages(self) -> OwnAdvantages | None:
        """Return what estimates advantages in TRL's place; None where TRL does. UserError naming what is wrong."""
        name, options = self.sps_advantage, self.sps_advantage_options or {}
        if name is None:
            if options:
                raise UserError("sps_advantage_options are given and sps_advantage is not; name the estimator.")
            return None
        if not isinstance(options, Mapping):
            raise UserError(f"sps_advantage_options is {options!r}; it must be a mapping of options to values.")
        estimator = estimator_named(name, options, setting="sps_advantage")
        return OwnAdvantages(estimator, surrogate_of(self.scale_rewards, "sps_advantage"), setting="sps_advantage")


class SPSTrainer(GRPOTrainer):
    """``GRPOTrainer`` with IRL phases. UserError for what it was not tried with, and would not be told from success."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, SPSConfig):
            raise UserError(f"SPSTrainer takes an SPSConfig for its args, not a {type(self.args).__name__}.")
        _refuse_untried(self)
        self._judging = judging_reward(self.args.sps_reward, self.reward_func_names, "sps_reward")
        self._judged: tuple[Tensor, list[list[int]]] | None = None
        self._own_advantages = self.args.own_advantages()
        if self._own_advantages is not None:
            self._own_advantages.try_once(self.num_generations)
        self.sps = PhasesInside(
            Path(self.args.output_dir, "sps"),
            self.args.irl_settings(),
            seed=self.args.seed,
            tokens_per_microbatch=self.args.sps_tokens_per_microbatch,
            processes=TrainersProcesses() if self.accelerator.num_processes > 1 else ONE,
        )
        self.add_callback(SPSCallback(self, self.sps))

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._judged = rewards, completion_ids_list
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.model.training:  # else it is an evaluation, of which nothing may be learned
            assert self._judged is not None
            asked = self._asked(inputs, output["prompt_ids"], output["prompt_mask"], *self._judged)
            with policy_of(self, self.sps) as policy:
                logp = self.sps.score(policy, asked, temperature=self.temperature)
            groups = self.sps.store(self.state.global_step + 1, asked, logp)
            if self._own_advantages is not None:
                self._put_advantages(output, self._own_advantages.of(groups))
        self._judged = None
        return output

    def _put_advantages(self, output: dict[str, Any], advantages_N: Tensor) -> None:
        """Put advantages, those of all processes, in the place of TRL's: the own ones in the batch, all in its log."""
        here = output["advantages"]
        first = self.accelerator.process_index * len(here)
        output["advantages"] = advantages_N[first : first + len(here)].to(here)
        logged = self._logs["advantages"]
        for _ in advantages_N:
            logged.pop()
        logged.extend(advantages_N.tolist())

    def _asked(
        self,
        inputs: Sequence[Mapping[str, Any]],
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        rewards_NF: Tensor,
        completion_ids: Sequence[Sequence[int]],
    ) -> list[Asked]:
        """The groups of a generation, of all processes; TRL keeps the responses to one prompt side by side."""
        first = self.accelerator.process_index * len(inputs)  # the rewards are of all processes
        table = rewards_NF[first : first + len(inputs)].tolist()
        own = [
            Response(
                prompt_tokens=prompt_ids[i][prompt_mask[i].bool()].cpu().numpy().astype(np.int32),
                tokens=np.array(ids, dtype=np.int32),
                text=self._tokenizer.decode(ids, skip_special_tokens=True),
                stop_reason=self._stop_reason(ids),
                reward=table[i][self._judging],
                rewards=dict(zip(self.reward_func_names, table[i], strict=True)),
            )
            for i, ids in enumerate(completion_ids)
        ]
        questions = [
            (text_of(one["prompt"]), next((str(one[name]) for name in GOLDS if one.get(name) is not None), ""))
            for one in inputs
        ]
        gathered = self.sps.processes.gather(list(zip(questions, own, strict=True)))
        return side_by_side([pair for part in gathered for pair in part], self.num_generations)

    def _stop_reason(self, ids: Sequence[int]) -> StopReason:
        if ids[-1] in self.eos_token_ids:
            return StopReason.EOS
        return StopReason.LENGTH if len(ids) >= self.max_completion_length else StopReason.STOP


def _refuse_untried(trainer: SPSTrainer) -> None:
    """UserError, in one sentence, for what SPSTrainer was not tried with."""
    name, page = "SPSTrainer", "docs/trainers/trl.md"
    untried = {
        "models that read images": trainer._is_vlm,
        "tools and environments": bool(trainer.tools) or trainer.environment_factories is not None,
        "a rollout_func": trainer.rollout_func is not None,
    }
    refuse(untried, name, page)
    refuse_phases_in(trainer, name, page)
    refuse_rounded(
        trainer,
        name,
        'load them with model_init_kwargs={"dtype": "float32"} (bf16=True computes in bfloat16).',
    )
    refuse_broken_generations(trainer, trainer.args.sps_every_steps, name, "sps_every_steps")
    refuse_no_base(trainer, trainer.args.sps_rank_by, name, "sps_rank_by")
    refuse_too_many(trainer, trainer.args.sps_k, trainer.args.sps_replay_phases, name, "sps_k")
