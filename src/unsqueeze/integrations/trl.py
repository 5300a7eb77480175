"""SPS inside TRL: ``SPSTrainer`` and ``SPSConfig`` in the place of ``GRPOTrainer`` and ``GRPOConfig``.

    from unsqueeze.integrations.trl import SPSConfig, SPSTrainer

The trainer is TRL's own in all it does. Beside that every training generation goes to ``output_dir/sps`` at once, and
between two generations, once an RL phase is complete, an IRL phase moves the weights.
"""

import contextlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import ExportableState

from unsqueeze.algos.selection import Likelihood, Pool
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.load import checked
from unsqueeze.distributed.processes import ONE
from unsqueeze.errors import MissingExtraError, UserError
from unsqueeze.integrations.inside import Asked, PhasesInside, Response, TrainersProcesses
from unsqueeze.interop.rollouts.trl import GOLDS
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.recomputing import put_layers_in_training, recomputes_activations
from unsqueeze.rollout.types import StopReason

try:
    from trl import GRPOConfig, GRPOTrainer
except ImportError as error:
    raise MissingExtraError("SPSTrainer needs TRL: pip install 'unsqueeze[trl]'.") from error

logger = logging.getLogger(__name__)

PREFIX = "sps_"


DEFAULTS = IrlSettings()


@dataclass
class SPSConfig(GRPOConfig):
    """``GRPOConfig`` and the settings of IRL phases: those of a recipe's section ``irl`` under the same names."""

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
    sps_steps: int = field(
        default=DEFAULTS.steps, metadata={"help": "Optimizer steps of an IRL phase; 0 selects and moves nothing."}
    )
    sps_passes: float | None = field(
        default=DEFAULTS.passes, metadata={"help": "Instead of steps: passes over the demonstrations."}
    )
    sps_kl_guard: float = field(
        default=DEFAULTS.kl_guard,
        metadata={"help": "Weight of a KL penalty towards the policy at the start of the phase."},
    )
    sps_schedule: Literal["constant", "linear", "cosine"] = field(
        default=DEFAULTS.schedule, metadata={"help": "Course of the learning rate."}
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
    sps_tokens_per_microbatch: int = field(
        default=16384, metadata={"help": "Padded tokens of one pass of an IRL phase: memory and speed, not the result."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.irl_settings()
        if self.sps_tokens_per_microbatch < 1:
            raise UserError(f"sps_tokens_per_microbatch is {self.sps_tokens_per_microbatch}; it must be at least 1.")

    def irl_settings(self) -> IrlSettings:
        """Return the settings of an IRL phase. UserError naming the one that is wrong."""
        given = {
            name: getattr(self, PREFIX + name) for name in IrlSettings.model_fields if hasattr(self, PREFIX + name)
        }
        try:
            return checked(IrlSettings, given, "sps")
        except UserError as error:
            raise UserError(str(error).replace("sps.", PREFIX).replace("irl.", PREFIX)) from None


class SPSTrainer(GRPOTrainer):
    """``GRPOTrainer`` with IRL phases. UserError for what it was not tried with, and would not be told from success."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, SPSConfig):
            raise UserError(f"SPSTrainer takes an SPSConfig for its args, not a {type(self.args).__name__}.")
        _refuse_untried(self)
        self._judging = _judging_reward(self.args, self.reward_func_names)
        self._judged: tuple[Tensor, list[list[int]]] | None = None
        self.sps = PhasesInside(
            Path(self.args.output_dir, "sps"),
            self.args.irl_settings(),
            seed=self.args.seed,
            tokens_per_microbatch=self.args.sps_tokens_per_microbatch,
            processes=TrainersProcesses() if self.accelerator.num_processes > 1 else ONE,
        )
        self.add_callback(SPSCallback(self))

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
            with self._policy() as policy:
                self.sps.store(policy, self.state.global_step + 1, asked)
        self._judged = None
        return output

    def irl_phase_if_due(self) -> None:
        """Run an IRL phase where an RL phase is complete and the next step generates anew.

        In between, the steps that are left would learn from rollouts of another policy.
        """
        step = self.state.global_step
        if self._step % (self.args.steps_per_generation * self.num_iterations) != 0:
            return
        if self._phases_complete(step) == self._phases_complete(self.sps.state.last_step):
            return
        with self._policy() as policy:
            report = self.sps.phase(policy, step)
        if self.use_vllm:
            self._last_loaded_step = -1  # its copy of the weights is of before
        for name, value in report.to_metrics().items():
            # Logged with the next line: a line of its own would cut TRL's running means short.
            self._metrics["train"][f"sps/{name}"].append(value)

    def _phases_complete(self, step: int) -> int:
        """How many RL phases are complete with an optimizer step."""
        if self.args.sps_every_steps is not None:
            return step // int(self.args.sps_every_steps)
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        prompts = step * batch * self.accelerator.num_processes / (self.num_generations * self.num_iterations)
        # The margin keeps 0.1 passes, which binary floats round up, from ending a step late.
        return math.floor(prompts / ((self.args.sps_every_passes or 1.0) * len(self.train_dataset)) + 1e-9)

    @contextlib.contextmanager
    def _policy(self) -> Iterator[Policy]:
        """The model as ours, in evaluation mode; its modules are afterwards in the modes they were in."""
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            policy = Policy(
                self.model,
                self._tokenizer,
                compute_dtype=torch.bfloat16 if self.args.bf16 else torch.float32,
                processes=self.sps.processes,
            )
            if recomputes_activations(self.model):
                put_layers_in_training(self.model)
            yield policy
        finally:
            for module, training in modes:
                module.training = training

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
            (_text_of(one["prompt"]), next((str(one[name]) for name in GOLDS if one.get(name) is not None), ""))
            for one in inputs
        ]
        gathered = self.sps.processes.gather(list(zip(questions, own, strict=True)))
        pairs = [pair for part in gathered for pair in part]
        return [
            Asked(*pairs[first][0], [response for _, response in pairs[first : first + self.num_generations]])
            for first in range(0, len(pairs), self.num_generations)
        ]

    def _stop_reason(self, ids: Sequence[int]) -> StopReason:
        if ids[-1] in self.eos_token_ids:
            return StopReason.EOS
        return StopReason.LENGTH if len(ids) >= self.max_completion_length else StopReason.STOP


class SPSCallback(TrainerCallback, ExportableState):
    """Runs the phases between steps; its state lies in the ``trainer_state.json`` of every checkpoint."""

    def __init__(self, trainer: SPSTrainer) -> None:
        self.trainer = trainer

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"args": {}, "attributes": {"sps": asdict(self.trainer.sps.state)}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on as the checkpoint says, or begin."""
        name = type(self).__name__
        saved = state.stateful_callbacks.get(name) if state.global_step else None
        self.trainer.sps.begin(state.global_step, saved["attributes"]["sps"] if saved else None)
        # A checkpoint of the plain trainer has no entry, and the Trainer only writes those that are there.
        state.stateful_callbacks[name] = self.state()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Run what is due, before the Trainer evaluates and saves."""
        self.trainer.irl_phase_if_due()


def _text_of(prompt: object) -> str:
    """A prompt as text: messages as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def _judging_reward(args: SPSConfig, names: Sequence[str]) -> int:
    """The place of the reward that tells right from wrong. UserError where that is not certain."""
    if args.sps_reward is None:
        if len(names) == 1:
            return 0
        raise UserError(
            f"there are {len(names)} reward functions ({', '.join(names)}); name the one that is above 0 for right "
            f"answers alone: sps_reward."
        )
    if list(names).count(args.sps_reward) != 1:
        raise UserError(f"sps_reward is {args.sps_reward!r}; it must be one of: {', '.join(names)}.")
    return list(names).index(args.sps_reward)


def _refuse_untried(trainer: SPSTrainer) -> None:
    """UserError, in one sentence, for what SPSTrainer was not tried with."""
    args = trainer.args
    untried = {
        "DeepSpeed": trainer.is_deepspeed_enabled,
        "FSDP": trainer.is_fsdp_enabled,
        "models that read images": trainer._is_vlm,
        "tools and environments": bool(trainer.tools) or trainer.environment_factories is not None,
        "a rollout_func": trainer.rollout_func is not None,
        "vllm_mode 'server'": args.use_vllm and args.vllm_mode == "server",
        "adapters and wrapped models": not isinstance(trainer.model, PreTrainedModel),
        "fp16": args.fp16,
        "restore_callback_states_from_checkpoint": args.restore_callback_states_from_checkpoint,
    }
    for name, found in untried.items():
        if found:
            raise UserError(
                f"SPSTrainer does not work with {name}; leave it out, or run the phases between two runs of the plain "
                f"trainer with unsqueeze irl --into (docs/trainers/trl.md)."
            )
    other = {p.dtype for p in trainer.model.parameters() if p.requires_grad} - {torch.float32}
    if other:
        raise UserError(
            f"SPSTrainer: the weights are {', '.join(map(str, other))}, in which the steps of an IRL phase round to "
            f'nothing; load them with model_init_kwargs={{"dtype": "float32"}} (bf16=True computes in bfloat16).'
        )
    if args.steps_per_generation * trainer.num_iterations % args.gradient_accumulation_steps:
        raise UserError(
            f"SPSTrainer: steps_per_generation is {args.steps_per_generation} and gradient_accumulation_steps "
            f"{args.gradient_accumulation_steps}; a generation must last whole optimizer steps, so give a multiple."
        )
    if args.sps_every_steps is None and not hasattr(trainer.train_dataset, "__len__"):
        raise UserError("SPSTrainer: the length of the data is not known; give sps_every_steps.")
