"""One IRL phase on a checkpoint, between the epochs of any trainer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.load import checked
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.errors import UserError
from unsqueeze.evaluation.settings import Given, checkpoint_of, run_of, settle
from unsqueeze.interop.demonstrations import distinct, read_demonstrations, read_prompts
from unsqueeze.plain_json import dumps
from unsqueeze.policy.batch import Row
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import DTYPES, Policy
from unsqueeze.progress import Progress, Silent, StopRequest
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.shared import SharedEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.store.atomic import atomic_directory
from unsqueeze.store.provenance import provenance
from unsqueeze.tasks.turns import named_tokens
from unsqueeze.training.irl_alone import NUM_WATCHED, IrlOutcome, irl_alone
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.probe import Probe
from unsqueeze.training.saving_rehearsal import rehearse_saving
from unsqueeze.training.trainer_checkpoint import (
    check_trainer_checkpoint,
    copy_but_weights,
    is_adapter,
    steps_of,
    write_weights,
)


@dataclass(frozen=True, slots=True)
class IrlResult:
    """Result of one IRL phase: what it did, where the new checkpoint is, and on which prompts it was watched."""

    path: Path
    outcome: IrlOutcome
    settings: IrlSettings
    watched: str
    num_demonstrations: int
    num_by_ids: int
    """Those whose token ids were given; the words of the others were encoded."""
    skipped: str | None = None
    """Which lines were left out, and why; None where none was."""

    @property
    def report(self) -> PhaseReport:
        return self.outcome.report

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The line of metrics of every optimizer step."""
        return self.outcome.updates

    @property
    def warnings(self) -> list[str]:
        """List what no one may miss."""
        told = self.report.warning()
        found = [] if told is None else [told.replace("irl.learning_rate", "learning_rate")]
        if self.outcome.budget_unspent:
            found.append(
                f"all {self.report.num_updates} updates were taken without spending kl_budget "
                f"{self.settings.kl_budget:g} nats/token; raise steps or learning_rate."
            )
        return found


def irl(
    model: str | Path | None,
    demos: str | Path,
    *,
    out: str | Path,
    into: str | Path | None = None,
    learning_rate: float = 5e-5,
    steps: int = 4,
    passes: float | None = None,
    batch_size: int = 512,
    kl_budget: float | None = None,
    kl_guard: float = 0.0,
    aggregation: str = "sequence_mean",
    schedule: str = "constant",
    max_grad_norm: float = 1.0,
    from_text: bool = False,
    skip_bad: bool = False,
    held_out: str | Path | None = None,
    max_tokens: int | None = None,
    stop_strings: Sequence[str] | None = None,
    end_tokens: Sequence[str] | None = None,
    tokens_per_microbatch: int = 16384,
    gradient_checkpointing: bool = False,
    device: str = "auto",
    compute_dtype: str = "float32",
    dtype: str = "float32",
    seed: int = 0,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    processes: Processes = ONE,
) -> IrlResult:
    """Raise the likelihood of demonstrations: the inverse-RL phase of SPS, between two epochs of any trainer.

    Demonstrations are the token ids of the file where it has them, else its words, encoded; with ``from_text`` always
    those. ``skip_bad`` leaves out those that cannot be learned from, which are otherwise an error that counts them.
    The checkpoint in ``out`` (which must not exist) is in Hugging Face format, with ``irl_report.json`` beside it.
    ``into``, instead of ``model``, is a checkpoint folder of a trainer (TRL's, ms-swift's): ``out`` is then a copy of
    it with the new weights, from which the trainer goes on with its optimizer, schedule, data and random state. A LoRA
    adapter is trained as an adapter, and written as one.
    What is drawn from watched prompts ends at ``stop_strings`` and ``end_tokens``: by default those of the run that the
    model comes from.
    Raises Interrupted, with nothing written, if ``stop`` is asked. All ``processes`` call this alike; each works on its
    share, and the main one writes.
    """
    if Path(out).exists():
        raise UserError(f"{out} exists already; name a folder that does not.")
    if (model is None) == (into is None):
        raise UserError("irl takes either a model or, with into, a trainer's checkpoint.")
    if into is not None:
        check_trainer_checkpoint(Path(into))
        model = into
    assert model is not None
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}.")
    if tokens_per_microbatch < 1:
        raise UserError(f"tokens_per_microbatch is {tokens_per_microbatch}; give 1 or more.")
    model_settings = checked(
        ModelSettings,
        {
            "path": str(model) if into is not None else checkpoint_of(str(model)),
            "device": device,
            "compute_dtype": compute_dtype,
            "gradient_checkpointing": gradient_checkpointing,
        },
        "model",
    )
    settings = checked(
        IrlSettings,
        {
            "learning_rate": learning_rate,
            "steps": steps,
            "passes": passes,
            "batch_size": batch_size,
            "kl_budget": kl_budget,
            "kl_guard": kl_guard,
            "aggregation": aggregation,
            "schedule": schedule,
            "max_grad_norm": max_grad_norm,
        },
        "irl",
    )
    without_progress_bars()
    adapter = is_adapter(Path(model))
    with processes.agreeing():
        policy = (
            Policy.load_adapter(model_settings, Path(model), processes)
            if adapter
            else Policy.load(model_settings, processes)
        )
        found = read_demonstrations(
            str(demos),
            policy.tokenizer,
            context=policy.context,
            vocabulary=policy.vocabulary,
            from_text=from_text,
            skip_bad=skip_bad,
        )
        read = found.read
        prompts = [one.prompt_tokens for one in read]
        if held_out is not None:
            prompts = list(read_prompts(str(held_out), policy.tokenizer, vocabulary=policy.vocabulary))
            if not prompts:
                raise UserError(f"{held_out}: no prompts to watch; it needs one JSON object a line, with prompt.")
    watched = distinct(prompts, NUM_WATCHED)
    ends = settle(Given(stop=stop_strings, end_tokens=end_tokens), run_of(str(model)))
    probe = Probe(
        prompts=tuple(tuple(prompt.tolist()) for prompt in watched),
        sampling=Sampling(
            max_tokens=longest_response([len(one.tokens) for one in read], watched, policy.context, max_tokens),
            stop=ends.stop,
            end_ids=named_tokens(ends.end_tokens, policy.tokenizer),
        ),
        max_batch_tokens=tokens_per_microbatch,
    )
    if into is None and not adapter:
        rehearse_saving(policy, Path(out), dtype=DTYPES[dtype])
    outcome = irl_alone(
        policy,
        SharedEngine(HfEngine(policy.model, policy.tokenizer), processes),
        [Row(prompt_tokens=one.prompt_tokens, tokens=one.tokens, weight=0.0) for one in read],
        settings,
        probe,
        seed=seed,
        progress=progress or Silent(),
        check_stop=(stop or StopRequest()).check,
    )
    record = {
        "report": outcome.report.to_json_object(),
        "updates": outcome.updates,
        "model": model_settings.model_dump(mode="json"),
        "irl": settings.model_dump(mode="json", exclude={"every_passes", "every_steps", "k", "pool", "quantile"}),
        "into": None if into is None else {"checkpoint": str(into), "global_step": steps_of(Path(into))},
        "demos": str(demos),
        "num_demonstrations": len(read),
        "num_by_ids": found.num_by_ids,
        "num_skipped": found.num_bad,
        "watched": {
            "from": str(held_out or demos),
            "num_prompts": len(watched),
            "max_tokens": probe.sampling.max_tokens,
            "stop": list(ends.stop),
            "end_tokens": list(ends.end_tokens),
        },
        "seed": seed,
        **provenance(),
    }
    origin = Path(model) if into is not None or adapter else None
    processes.on_main(lambda: _write(Path(out), policy, origin, record, dtype=DTYPES[dtype]))
    return IrlResult(
        Path(out),
        outcome,
        settings,
        watched="the demonstrations' prompts" if held_out is None else "held-out prompts",
        num_demonstrations=len(read),
        num_by_ids=found.num_by_ids,
        skipped=found.describe_bad() if found.bad else None,
    )


def _write(out: Path, policy: Policy, origin: Path | None, record: dict[str, Any], *, dtype: torch.dtype) -> None:
    """Write the checkpoint and its report: as a model, or as a copy of the folder ``origin`` with new weights."""
    with atomic_directory(out) as aside:
        if origin is None:
            policy.save(aside, dtype=dtype)
        else:
            copy_but_weights(origin, aside)
            weights = policy.adapter_weights() if policy.has_adapters else dict(policy.exported_weights())
            write_weights(origin, aside, weights)
        (aside / "irl_report.json").write_text(dumps(record, indent=2) + "\n", encoding="ascii")


def longest_response(lengths: list[int], watched: list[Any], context: int | None, given: int | None) -> int:
    """Return how many tokens to draw from watched prompts: as given, or as the longest demonstration."""
    room = None if context is None else context - max(len(prompt) for prompt in watched)
    wanted = max(lengths) if given is None else given
    if wanted < 1 or (given is not None and room is not None and given > room):
        raise UserError(
            f"max_tokens is {given}; give 1 to {room}, what the longest watched prompt leaves of the context."
        )
    if room is not None and room < 1:
        raise UserError(f"a watched prompt fills the model's context of {context} tokens; give shorter ones.")
    return wanted if room is None else min(wanted, room)
