"""SPS inside ms-swift, by a plugin and no change to it: every rollout of GRPO stored, and IRL phases in between.

    export UNSQUEEZE_SPS='every_steps=200 steps=32 learning_rate=1e-6'
    swift rlhf --rlhf_type grpo … --external_plugins "$(unsqueeze plugin swift)" --callbacks sps

``--callbacks sps_capture`` stores the rollouts alone. Both write to ``output_dir/sps``, and the trainer is ms-swift's
own in all else. Its command line takes no names that it does not know: settings come in an environment variable.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from unsqueeze.config.irl_settings import IN_TRAINERS, IrlSettings
from unsqueeze.config.load import apply_overrides, checked
from unsqueeze.config.settings import Settings
from unsqueeze.distributed.processes import ONE
from unsqueeze.errors import UserError
from unsqueeze.integrations.hf_trainer import (
    SPSCallback,
    judging_reward,
    refuse,
    refuse_broken_generations,
    refuse_no_base,
    refuse_phases_in,
    refuse_rounded,
    refuse_too_many,
    text_of,
)
from unsqueeze.integrations.inside import PhasesInside, TrainersProcesses
from unsqueeze.integrations.responses import Response, Scored, side_by_side
from unsqueeze.interop.rollouts.trl import GOLDS
from unsqueeze.rollout.types import StopReason

VARIABLE = "UNSQUEEZE_SPS"
PLUGIN = "The plugin of unsqueeze"
PAGE = "docs/trainers/ms-swift.md"


class OwnSettings(Settings):
    """What is not of an IRL phase."""

    reward: str | None = None
    """The reward that tells right (above 0) from wrong, where several are, by its name in the log."""
    tokens_per_microbatch: int = Field(16384, ge=1)
    """Padded tokens of one pass of an IRL phase: memory and speed, not the result. On a CPU 2,048 at most."""


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """What ``UNSQUEEZE_SPS`` says. ``irl_names`` are those of its settings that are of IRL phases."""

    irl: IrlSettings
    own: OwnSettings
    irl_names: tuple[str, ...]


def read_settings(text: str) -> PluginSettings:
    """Read ``name=value`` words, as a recipe's section ``irl`` calls them. UserError naming the one that is wrong."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{VARIABLE} is {text!r}: {error}; close the quotation mark.") from None
    for word in words:
        name, separator, _ = word.partition("=")
        if not separator or not name.isidentifier():
            raise UserError(
                f"{VARIABLE} has the word {word!r}; write name=value, with spaces between them alone, for example "
                f"'every_steps=200 steps=32'."
            )
    names = [word.partition("=")[0] for word in words]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"{VARIABLE} sets {repeated} twice; leave one of them out.")
    raw = apply_overrides({}, words)
    known = (*IN_TRAINERS, *OwnSettings.model_fields)
    unknown = [name for name in raw if name not in known]
    if unknown:
        raise UserError(f"{VARIABLE} sets {unknown[0]}; it takes {', '.join(known)}.")
    irl = {name: value for name, value in raw.items() if name in IN_TRAINERS}
    own = {name: value for name, value in raw.items() if name not in IN_TRAINERS}
    try:
        return PluginSettings(checked(IrlSettings, irl, ""), checked(OwnSettings, own, ""), tuple(irl))
    except UserError as error:
        raise UserError(f"{VARIABLE}: {str(error).replace('irl.', '')}") from None


def callbacks() -> dict[str, Callable[[Any, Any], SPSCallback]]:
    """Return what ms-swift's ``callbacks_map`` makes callbacks of, by name, with the settings of the environment."""
    with _refusing():
        given = read_settings(os.environ.get(VARIABLE, ""))
    return {"sps": partial(_make, given, given.irl), "sps_capture": partial(_make, given, None)}


def _make(given: PluginSettings, irl: IrlSettings | None, args: Any, trainer: Any) -> SPSCallback:
    """The callback for a trainer that is not complete yet."""
    with _refusing():
        if irl is None and given.irl_names:
            raise UserError(
                f"{VARIABLE} sets {', '.join(given.irl_names)}, and --callbacks sps_capture runs no IRL phase; say "
                f"--callbacks sps, or leave them out."
            )
        phases = PhasesInside(
            Path(args.output_dir, "sps"),
            irl,
            seed=args.seed,
            tokens_per_microbatch=given.own.tokens_per_microbatch,
            processes=TrainersProcesses() if args.world_size > 1 else ONE,
        )
        return SwiftCallback(trainer, phases, given.own.reward)


class SwiftCallback(SPSCallback):
    """Stores what ms-swift's GRPO generates, and runs the phases between its steps."""

    def __init__(self, trainer: Any, phases: PhasesInside, reward: str | None) -> None:
        super().__init__(trainer, phases)
        self.reward = reward

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Refuse what was not tried, listen to generations, and go on or begin."""
        with _refusing():
            _refuse_untried(self.trainer, self.phases.settings)
            judging = judging_reward(self.reward, self.trainer.reward_func_names, f"reward=NAME in {VARIABLE}")
            super().on_train_begin(args, state, control, **more)
        postprocess = self.trainer._postprocess_batch

        def and_store(samples: Sequence[Any], batches: Sequence[Mapping[str, Any]]) -> None:
            postprocess(samples, batches)
            if self.trainer.model.training:  # else it is an evaluation, of which nothing may be learned
                store_generation(self.trainer, self.phases, samples, batches, judging)

        self.trainer._postprocess_batch = and_store


def store_generation(
    trainer: Any, phases: PhasesInside, samples: Sequence[Any], batches: Sequence[Mapping[str, Any]], judging: int
) -> None:
    """Store a generation of all processes with ms-swift's own log-probs; responses without a token are left out."""
    first = trainer.accelerator.process_index * len(samples)  # the rewards are of all processes
    table = trainer._rewards_per_func[first : first + len(samples)].tolist()
    ends = _end_tokens(trainer)
    own = []
    for sample, rewards, scored in zip(samples, table, _scored(trainer, batches), strict=True):
        prompt, tokens = _tokens_of(sample)
        assert len(tokens) == len(scored.logp_raw), "log-probs of other tokens"
        said = sample.messages[-1]["content"]
        response = Response(
            prompt_tokens=prompt,
            tokens=tokens,
            text=said if isinstance(said, str) else trainer.processing_class.decode(tokens, skip_special_tokens=True),
            stop_reason=_stop_reason(sample, tokens, ends),
            reward=rewards[judging],
            rewards=dict(zip(trainer.reward_func_names, rewards, strict=True)),
        )
        gold = next((str(sample.extra[name]) for name in GOLDS if sample.extra.get(name) is not None), "")
        own.append((((text_of(sample.messages[:-1]), gold), response), scored))
    everywhere = [each for part in phases.processes.gather(own) for each in part]
    groups = side_by_side([pair for pair, _ in everywhere], trainer.num_generations)
    for group in groups:
        group.responses[:] = [one for one in group.responses if len(one.tokens)]
    phases.store(
        trainer.state.global_step + 1,
        [group for group in groups if group.responses],
        [scored for (_, response), scored in everywhere if len(response.tokens)],
    )


def _tokens_of(sample: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Prompt and response of a conversation of one turn, as ms-swift encodes and trains them."""
    tokens = np.array(sample.encoded["input_ids"], dtype=np.int32)
    learned = np.array(sample.encoded["labels"]) != -100
    return tokens[~learned], tokens[learned]


def _scored(trainer: Any, batches: Sequence[Mapping[str, Any]]) -> Iterator[Scored]:
    """Log-probs of this process's responses, in order: those that ms-swift computes, at its temperature, of every one.

    At another temperature than 1 its own function computes them again.
    """
    for batch in batches:
        inputs, grpo = batch["model_inputs"], batch["grpo_batch"]
        behaviour = _rows(grpo.old_per_token_logps, grpo.completion_mask)
        raw = behaviour
        if trainer.temperature != 1:
            sampled_at, trainer.temperature = trainer.temperature, 1.0
            try:
                with torch.no_grad():
                    logp, _ = trainer._get_per_token_logps_and_entropies(trainer.model, inputs, grpo)
            finally:
                trainer.temperature = sampled_at
            raw = _rows(logp, grpo.completion_mask)
        yield from map(Scored, raw, behaviour)


def _rows(values_NT: Tensor, mask_NT: Tensor) -> list[NDArray[np.float32]]:
    pairs = zip(values_NT.float().cpu(), mask_NT.bool().cpu(), strict=True)
    return [values_T[mask_T].numpy() for values_T, mask_T in pairs]


def _end_tokens(trainer: Any) -> set[int]:
    ends = trainer.model.generation_config.eos_token_id
    return {trainer.processing_class.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}


def _stop_reason(sample: Any, tokens: NDArray[np.int32], ends: set[int]) -> StopReason:
    """An end token as the last one that was allowed is an end, which ms-swift calls a cut by length."""
    if len(tokens) and int(tokens[-1]) in ends:
        return StopReason.EOS
    return StopReason.LENGTH if sample.is_truncated else StopReason.STOP


def _refuse_untried(trainer: Any, irl: IrlSettings | None) -> None:
    """UserError, in one sentence, for what the plugin was not tried with; it asks less where no phase is to run."""
    from swift.rlhf_trainers import GRPOTrainer

    args = trainer.args
    untried = {
        "another rlhf_type than grpo": not isinstance(trainer, GRPOTrainer),
        "models that read images": trainer.is_multimodal,
        "conversations of several turns": bool(args.multi_turn_scheduler) or trainer.use_gym_env,
        "async_generate": args.async_generate,
        "padding_free and packing": trainer.template.padding_free,
        "sequence_parallel_size above 1": trainer.template.sequence_parallel_size > 1,
    }
    refuse(untried, PLUGIN, PAGE)
    if irl is None:
        return
    refuse({"offload_model": args.offload_model}, PLUGIN, PAGE)
    refuse_phases_in(trainer, PLUGIN, PAGE)
    refuse_rounded(trainer, PLUGIN, "say --torch_dtype float32 (--bf16 true computes in bfloat16).")
    refuse_broken_generations(trainer, irl.every_steps, PLUGIN, f"every_steps=N in {VARIABLE}")
    refuse_no_base(trainer, irl.rank_by, PLUGIN, f"rank_by in {VARIABLE}")
    refuse_too_many(trainer, irl.k, irl.replay_phases, PLUGIN, f"k in {VARIABLE}")


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """End the process with one sentence and exit code 2 for the user's mistakes: ms-swift would show a traceback."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2) from None
