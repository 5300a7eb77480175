"""``unsqueeze irl``: one IRL phase on a checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.model_options import ModelArgument, checkpoint_of
from unsqueeze.errors import INTERRUPTED, Interrupted, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from unsqueeze.training.phase_report import PhaseReport

NUM_WATCHED = 16


def irl(
    model: ModelArgument,
    demos: Annotated[str, typer.Option(help="The demonstrations: JSONL or Parquet, as unsqueeze select writes them.")],
    out: Annotated[Path, typer.Option(help="Where the new checkpoint goes; must not exist.")],
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's step size. One to two times that of RL is what moves a policy; see docs.")
    ] = 5e-5,
    steps: Annotated[int, typer.Option(help="Optimizer steps, at most.")] = 4,
    passes: Annotated[float | None, typer.Option(help="Instead of --steps: passes over the demonstrations.")] = None,
    batch_size: Annotated[int, typer.Option(help="Demonstrations of one optimizer step.")] = 512,
    kl_budget: Annotated[
        float | None,
        typer.Option(help="Stop as soon as watched prompts have moved by this many nats per token."),
    ] = None,
    kl_guard: Annotated[
        float, typer.Option(help="Weight of a KL penalty towards the checkpoint as it was, on the demonstrations.")
    ] = 0.0,
    aggregation: Annotated[
        str, typer.Option(help="sequence_mean: every response weighs the same; token_mean: every token.")
    ] = "sequence_mean",
    schedule: Annotated[str, typer.Option(help="Of the learning rate: constant, linear or cosine.")] = "constant",
    max_grad_norm: Annotated[float, typer.Option(help="Gradients are scaled down to this norm.")] = 1.0,
    held_out: Annotated[
        str | None,
        typer.Option(
            help="JSONL with prompt or messages, to watch the KL on. Default: the demonstrations' own prompts."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Longest response drawn from a watched prompt. Default: the longest demonstration."),
    ] = None,
    tokens_per_microbatch: Annotated[
        int, typer.Option(help="Padded tokens of one forward and backward pass: memory and speed, not the result.")
    ] = 16384,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, about a third more time.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    compute_dtype: Annotated[
        str, typer.Option(help="Of forward and backward passes: float32 or bfloat16.")
    ] = "float32",
    dtype: Annotated[str, typer.Option(help="Of the saved weights: float32 or bfloat16.")] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of the batches and of what is drawn from watched prompts.")] = 0,
) -> None:
    """Raise the likelihood of demonstrations: the inverse-RL phase of SPS, between two epochs of any trainer.

    Minimises the negative log-likelihood of the demonstrations with AdamW in fp32, saves the checkpoint in Hugging Face
    format with irl_report.json beside it, and reports what really moved: the weights, their bf16 values, the NLL of the
    demonstrations, the KL on watched prompts, how peaked greedy answers are. A phase that did nothing says so.

    Examples:
      unsqueeze select rollouts.jsonl --out demos.jsonl
      unsqueeze irl ./checkpoint-200 --demos demos.jsonl --learning-rate 1e-6 --out ./checkpoint-200-irl
      unsqueeze irl ./checkpoint-200 --demos demos.jsonl --kl-budget 0.002 --steps 32 --out ./checkpoint-200-irl
    """
    from unsqueeze.config.load import check_recipe

    if out.exists():
        raise UserError(f"--out {out} exists already; name a folder that does not.")
    recipe = check_recipe(
        {
            "name": "irl",
            "seed": seed,
            "model": {
                "path": checkpoint_of(model),
                "device": device,
                "compute_dtype": compute_dtype,
                "gradient_checkpointing": gradient_checkpointing,
            },
            "rl": {"tokens_per_microbatch": tokens_per_microbatch},
            "irl": {
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
            "checkpoint": {"dtype": dtype},
        },
        "of the command line",
    )
    if not run_irl(recipe, demos, out, held_out=held_out, max_tokens=max_tokens):
        raise typer.Exit(INTERRUPTED)


def run_irl(recipe: Any, demos: str, out: Path, *, held_out: str | None, max_tokens: int | None) -> bool:
    """Load, train, save and print. False if the user stopped it, in which case nothing is saved."""
    from rich.console import Console

    from unsqueeze.cli.judging import notes
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.cli.train_arms import silence_transformers
    from unsqueeze.interop.demonstrations import distinct, read_demonstrations, read_prompts
    from unsqueeze.plain_json import dumps
    from unsqueeze.policy.batch import Row
    from unsqueeze.policy.policy import DTYPES, Policy
    from unsqueeze.progress import StopRequest
    from unsqueeze.rollout.hf import HfEngine
    from unsqueeze.store.atomic import atomic_directory
    from unsqueeze.store.provenance import provenance
    from unsqueeze.training.irl_alone import irl_alone
    from unsqueeze.training.probe import Probe

    silence_transformers()
    policy = Policy.load(recipe.model)
    context = policy.context
    read = read_demonstrations(demos, policy.tokenizer, context=context)
    prompts = [one.prompt_tokens for one in read]
    if held_out is not None:
        prompts = list(read_prompts(held_out, policy.tokenizer))
        if not prompts:
            raise UserError(f"--held-out {held_out}: no prompts; it needs one JSON object a line, with prompt.")
    watched = distinct(prompts, NUM_WATCHED)
    probe = Probe(
        prompts=tuple(tuple(prompt.tolist()) for prompt in watched),
        max_tokens=longest_response([len(one.tokens) for one in read], watched, context, max_tokens),
        max_batch_tokens=recipe.rl.tokens_per_microbatch,
    )
    engine = HfEngine(policy.model, policy.tokenizer)
    stop, console = StopRequest(), notes()
    with TerminalProgress(console) as progress, stop.listening():
        try:
            outcome = irl_alone(
                policy,
                engine,
                [Row(prompt_tokens=one.prompt_tokens, tokens=one.tokens, weight=0.0) for one in read],
                recipe.irl,
                probe,
                seed=recipe.seed,
                progress=progress,
                check_stop=stop.check,
            )
        except Interrupted:
            progress.warn(f"stopped as asked; nothing was written to {out}.")
            return False
    record = {
        "report": outcome.report.to_json_object(),
        "updates": outcome.updates,
        "model": recipe.model.model_dump(mode="json"),
        "irl": recipe.irl.model_dump(mode="json", exclude={"every_passes", "every_steps", "k", "pool", "quantile"}),
        "demos": demos,
        "num_demonstrations": len(read),
        "watched": {"from": held_out or demos, "num_prompts": len(watched), "max_tokens": probe.max_tokens},
        "seed": recipe.seed,
        **provenance(),
    }
    with atomic_directory(out) as aside:
        policy.save(aside, dtype=DTYPES[recipe.checkpoint.dtype])
        (aside / "irl_report.json").write_text(dumps(record, indent=2) + "\n", encoding="ascii")
    Console(highlight=False).print(report_table(outcome.report, held_out is not None))
    for warning in warnings_of(outcome.report, unspent=recipe.irl.kl_budget if outcome.budget_unspent else None):
        progress.warn(warning)
    console.print(f"{out}: the checkpoint, and irl_report.json")
    return True


def longest_response(lengths: list[int], watched: list[Any], context: int | None, given: int | None) -> int:
    """How many tokens to draw from watched prompts: as asked, or as the longest demonstration, within the context."""
    room = None if context is None else context - max(len(prompt) for prompt in watched)
    wanted = max(lengths) if given is None else given
    if wanted < 1 or (given is not None and room is not None and given > room):
        raise UserError(
            f"--max-tokens {given}: give 1 to {room}, what the longest watched prompt leaves of the context."
        )
    if room is not None and room < 1:
        raise UserError(f"a watched prompt fills the model's context of {context} tokens; give shorter ones.")
    return wanted if room is None else min(wanted, room)


def report_table(report: "PhaseReport", held_out: bool) -> "Table":
    """The phase report as a person reads it."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    watched = "held-out prompts" if held_out else "the demonstrations' prompts"
    change = f"{report.nll_before:.4f} → {report.nll_after:.4f}"
    greedy = f"{report.greedy_logp_before:.4f} → {report.greedy_logp_after:.4f}"
    for name, value in (
        ("updates", str(report.num_updates)),
        ("seconds", f"{report.seconds:.1f}"),
        ("update norm, and over that of the weights", f"{report.update_norm:.2e}, {report.relative_update_norm:.2e}"),
        ("weights moved", f"{report.share_moved:.2%}"),
        ("weights whose bf16 value changed", f"{report.share_moved_bf16:.2%}"),
        ("NLL of the demonstrations, nats/token", change),
        (f"KL moved on {watched}, nats/token", f"{report.kl_moved:.3e}"),
        ("log-prob of greedy answers, nats/token", greedy),
    ):
        table.add_row(name, value)
    return table


def warnings_of(report: "PhaseReport", *, unspent: float | None) -> list[str]:
    """What no one may miss, in the words of the command line."""
    warnings = []
    if (warning := report.warning()) is not None:
        warnings.append(warning.replace("irl.learning_rate", "--learning-rate"))
    if unspent is not None:
        warnings.append(
            f"all {report.num_updates} updates were taken without spending --kl-budget {unspent:g} nats/token; raise "
            "--steps or --learning-rate."
        )
    return warnings
