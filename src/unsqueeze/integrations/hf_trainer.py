"""IRL phases between the steps of a GRPO trainer that is TRL's, or made out of it as ms-swift's is.

Both keep the same books under the same names: ``_step`` counts micro-batches, a generation lasts
``steps_per_generation`` · ``num_iterations`` of them, ``_metrics`` waits for the next line of the log, and vLLM takes
the weights again once ``_last_loaded_step`` is another step's.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import ExportableState

from unsqueeze.algos.selection import RankBy
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.errors import UserError
from unsqueeze.integrations.inside import PhasesInside
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.recomputing import put_layers_in_training, recomputes_activations
from unsqueeze.policy.reference import Reference
from unsqueeze.training.demonstrations import LogprobsOf


def phase_if_due(trainer: Any, phases: PhasesInside) -> None:
    """Run an IRL phase where an RL phase is complete and the next step generates anew.

    In between, the steps that are left would learn from rollouts of another policy.
    """
    step = trainer.state.global_step
    settings = phases.settings
    if settings is None or trainer._step % (trainer.args.steps_per_generation * trainer.num_iterations) != 0:
        return
    if _phases_complete(trainer, settings, step) == _phases_complete(trainer, settings, phases.state.last_step):
        return
    num_phases = phases.state.num_phases + _phases_to_come(trainer, settings, step)
    with policy_of(trainer, phases) as policy:
        base_logp = _base_logp(trainer, policy, phases) if settings.rank_by == "ratio" else None
        report = phases.phase(policy, step, num_phases=num_phases, base_logp=base_logp)
    if trainer.args.use_vllm:
        trainer._last_loaded_step = -1  # its copy of the weights is of before
    for name, value in report.to_metrics().items():
        # Logged with the next line: a line of its own would cut the trainer's running means short.
        trainer._metrics["train"][f"sps/{name}"].append(value)


def _phases_complete(trainer: Any, settings: IrlSettings, step: int) -> int:
    """How many RL phases are complete with an optimizer step."""
    if settings.every_steps is not None:
        return step // settings.every_steps
    args = trainer.args
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    prompts = step * batch * trainer.accelerator.num_processes / (trainer.num_generations * trainer.num_iterations)
    # The margin keeps 0.1 passes, which binary floats round up, from ending a step late.
    return math.floor(prompts / ((settings.every_passes or 1.0) * len(trainer.train_dataset)) + 1e-9)


def _phases_to_come(trainer: Any, settings: IrlSettings, step: int) -> int:
    """How many IRL phases follow in all the run, that of ``step`` included, at which a generation ends."""
    args = trainer.args
    steps = args.steps_per_generation * trainer.num_iterations // args.gradient_accumulation_steps
    ends = range(step, trainer.state.max_steps + 1, steps)
    return len({_phases_complete(trainer, settings, end) for end in ends})


def _base_logp(trainer: Any, policy: Policy, phases: PhasesInside) -> LogprobsOf:
    """Log-probs under the policy before training: LoRA switched off, or the trainer's reference of a KL term."""
    copy = None
    if not policy.has_adapters:
        model = trainer.accelerator.unwrap_model(trainer.ref_model)
        copy = Policy(model, policy.tokenizer, compute_dtype=policy.compute_dtype, processes=phases.processes)
    return partial(Reference(policy, copy).logp, max_tokens=phases.tokens_per_microbatch)


def refuse_no_base(trainer: Any, rank_by: RankBy, name: str, setting: str) -> None:
    """UserError where rollouts are to be ranked against the base policy, and the trainer does not keep it."""
    if rank_by != "ratio" or _adapters_of(trainer.model):
        return
    if trainer.ref_model is None or trainer.args.sync_ref_model:
        raise UserError(
            f"{name}: {setting} is ratio, which compares with the policy before training, and the trainer keeps none; "
            f"train LoRA, or set beta above 0 and sync_ref_model to false, or {setting} to present."
        )


def refuse_too_many(trainer: Any, k: int, replay_phases: int | None, name: str, setting: str) -> None:
    """UserError where more demonstrations are asked of a prompt than it gets responses."""
    most = trainer.args.num_generations
    if replay_phases == 1 and k > most:
        raise UserError(
            f"{name}: {setting} is {k} and num_generations {most}; at most all {most} responses to a prompt can "
            "be selected, so lower the one or raise the other."
        )


@contextlib.contextmanager
def policy_of(trainer: Any, phases: PhasesInside) -> Iterator[Policy]:
    """The trainer's model as ours, in evaluation mode; its modules are afterwards in the modes they were in.

    LoRA lies inside of the model itself, whose trained weights are then those of the adapter.
    """
    model = _base_of(trainer.model)
    modes = [(module, module.training) for module in trainer.model.modules()]
    try:
        policy = Policy(
            model,
            trainer.processing_class,
            compute_dtype=torch.bfloat16 if trainer.args.bf16 else torch.float32,
            adapters=None if model is trainer.model else trainer.model,
            processes=phases.processes,
        )
        if recomputes_activations(model):
            put_layers_in_training(model)
        yield policy
    finally:
        for module, training in modes:
            module.training = training


class SPSCallback(TrainerCallback, ExportableState):
    """Runs the phases between steps; its state lies in the ``trainer_state.json`` of every checkpoint."""

    def __init__(self, trainer: Any, phases: PhasesInside) -> None:
        self.trainer = trainer
        self.phases = phases

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"args": {}, "attributes": {"sps": asdict(self.phases.state)}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Go on as the checkpoint says, or begin."""
        name = type(self).__name__
        saved = state.stateful_callbacks.get(name) if state.global_step else None
        self.phases.begin(state.global_step, saved["attributes"]["sps"] if saved else None)
        # A checkpoint of the plain trainer has no entry, and the Trainer only writes those that are there.
        state.stateful_callbacks[name] = self.state()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Run what is due, before the Trainer evaluates and saves."""
        phase_if_due(self.trainer, self.phases)


def text_of(prompt: object) -> str:
    """A prompt as text: messages as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def judging_reward(given: str | None, names: Sequence[str], setting: str) -> int:
    """The place of the reward that tells right from wrong. UserError where that is not certain."""
    if given is None:
        if len(names) == 1:
            return 0
        raise UserError(
            f"there are {len(names)} reward functions ({', '.join(names)}); name the one that is above 0 for right "
            f"answers alone: {setting}."
        )
    if list(names).count(given) != 1:
        raise UserError(f"{setting} is {given!r}; it must be one of: {', '.join(names)}.")
    return list(names).index(given)


def refuse_phases_in(trainer: Any, name: str, page: str) -> None:
    """UserError, in one sentence, for what phases were not tried with, in either trainer."""
    args = trainer.args
    kinds = {str(getattr(one.peft_type, "value", one.peft_type)) for one in _adapters_of(trainer.model)}
    untried = {
        "DeepSpeed": trainer.is_deepspeed_enabled,
        "FSDP": trainer.is_fsdp_enabled,
        "vllm_mode 'server'": args.use_vllm and args.vllm_mode == "server",
        f"adapters of the kind {', '.join(sorted(kinds))}": bool(kinds - {"LORA"}),
        "wrapped models": not isinstance(_base_of(trainer.model), PreTrainedModel),
        "fp16": args.fp16,
        "restore_callback_states_from_checkpoint": args.restore_callback_states_from_checkpoint,
    }
    refuse(untried, name, page)


def _base_of(model: Any) -> Any:
    """The model inside of the adapters of peft, where it has any."""
    return model.get_base_model() if _adapters_of(model) else model


def _adapters_of(model: Any) -> list[Any]:
    """The configurations of the adapters around a model."""
    return list(model.peft_config.values()) if hasattr(model, "get_base_model") else []


def refuse(untried: dict[str, bool], name: str, page: str) -> None:
    """UserError for the first of these that is there."""
    for what, found in untried.items():
        if found:
            raise UserError(
                f"{name} does not work with {what}; leave it out, or run the phases between two runs of the plain "
                f"trainer with unsqueeze irl --into ({page})."
            )


def refuse_rounded(trainer: Any, name: str, remedy: str) -> None:
    """UserError where steps of an IRL phase would round to nothing."""
    other = {p.dtype for p in trainer.model.parameters() if p.requires_grad} - {torch.float32}
    if other:
        raise UserError(
            f"{name}: the weights are {', '.join(map(str, other))}, in which the steps of an IRL phase round to "
            f"nothing; {remedy}"
        )


def refuse_broken_generations(trainer: Any, every_steps: int | None, name: str, setting: str) -> None:
    """UserError where generations and optimizer steps do not meet, or the length of a pass is not known."""
    args = trainer.args
    if args.steps_per_generation * trainer.num_iterations % args.gradient_accumulation_steps:
        raise UserError(
            f"{name}: steps_per_generation is {args.steps_per_generation} and gradient_accumulation_steps "
            f"{args.gradient_accumulation_steps}; a generation must last whole optimizer steps, so give a multiple."
        )
    if every_steps is None and not hasattr(trainer.train_dataset, "__len__"):
        raise UserError(f"{name}: the length of the data is not known; give {setting}.")
