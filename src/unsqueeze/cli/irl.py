"""``unsqueeze irl``: one IRL phase on a checkpoint."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unsqueeze.cli.options import EndTokensOption, OptionalModelArgument, StopOption, print_next
from unsqueeze.cli.together import ProcessesOption, together
from unsqueeze.distributed.join import leave
from unsqueeze.distributed.stop import SharedStop
from unsqueeze.errors import INTERRUPTED, Interrupted
from unsqueeze.progress import StopRequest

if TYPE_CHECKING:
    from rich.table import Table

    from unsqueeze.api.demonstrations import IrlResult


def irl(
    demos: Annotated[str, typer.Option(help="The demonstrations: JSONL or Parquet, as unsqueeze select writes them.")],
    out: Annotated[Path, typer.Option(help="Where the new checkpoint goes; must not exist.")],
    model: OptionalModelArgument = None,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Instead of MODEL: a checkpoint folder of TRL or ms-swift. --out is then a copy of it with new "
            "weights, from which that trainer goes on with its optimizer, schedule, data and random state.",
        ),
    ] = None,
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
    from_text: Annotated[
        bool,
        typer.Option(
            "--from-text", help="Encode the words even where the file has token ids, such as another model's."
        ),
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out, and count, the lines that cannot be learned from.")
    ] = False,
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
    stop_strings: StopOption = None,
    end_tokens: EndTokensOption = None,
    tokens_per_microbatch: Annotated[
        int,
        typer.Option(
            help="Padded tokens of one forward and backward pass: memory and speed, not the result. On a CPU 2,048 at "
            "most."
        ),
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
    processes: ProcessesOption = 1,
) -> None:
    """Raise the likelihood of demonstrations: the inverse-RL phase of SPS, between two epochs of any trainer.

    Minimises the negative log-likelihood of the demonstrations with AdamW in fp32, saves the checkpoint in Hugging Face
    format with irl_report.json beside it, and reports what really moved: the weights, their bf16 values, the NLL of the
    demonstrations, the KL on watched prompts, how peaked greedy answers are. A phase that did nothing says so.

    Examples:
      unsqueeze select rollouts.jsonl --out demos.jsonl
      unsqueeze irl ./checkpoint-200 --demos demos.jsonl --learning-rate 1e-6 --out ./checkpoint-200-irl
      unsqueeze irl ./checkpoint-200 --demos demos.jsonl --kl-budget 0.002 --steps 32 --out ./checkpoint-200-irl
      unsqueeze irl --into trl-out/checkpoint-200 --demos demos.jsonl --out trl-out-irl/checkpoint-200
      unsqueeze irl ./checkpoint-200 --demos demos.jsonl --processes 8 --out ./checkpoint-200-irl
    """
    begun = f"{model or into}: loading PyTorch and the model, to train it on {demos}"
    with together(processes, begun) as (all_of_them, console):
        from rich.console import Console

        import unsqueeze as uq
        from unsqueeze.cli.progress import TerminalProgress

        stop = SharedStop(all_of_them) if all_of_them.size > 1 else StopRequest()
        with TerminalProgress(console) as progress, stop.listening():
            try:
                result = uq.irl(
                    model,
                    demos,
                    out=out,
                    into=into,
                    learning_rate=learning_rate,
                    steps=steps,
                    passes=passes,
                    batch_size=batch_size,
                    kl_budget=kl_budget,
                    kl_guard=kl_guard,
                    aggregation=aggregation,
                    schedule=schedule,
                    max_grad_norm=max_grad_norm,
                    from_text=from_text,
                    skip_bad=skip_bad,
                    held_out=held_out,
                    max_tokens=max_tokens,
                    stop_strings=stop_strings,
                    end_tokens=end_tokens,
                    tokens_per_microbatch=tokens_per_microbatch,
                    gradient_checkpointing=gradient_checkpointing,
                    device=device,
                    compute_dtype=compute_dtype,
                    dtype=dtype,
                    seed=seed,
                    progress=progress,
                    processes=all_of_them,
                    stop=stop,
                )
            except Interrupted:
                progress.warn(f"stopped as asked; nothing was written to {out}.")
                leave(all_of_them, INTERRUPTED)
        Console(highlight=False, quiet=not all_of_them.is_main).print(report_table(result))
        for warning in result.warnings:
            progress.warn(warning)
        if result.skipped:
            console.print(f"left out: {result.skipped}")
        by_text = result.num_demonstrations - result.num_by_ids
        others = f", {by_text:,} by their text" if by_text else ""
        console.print(f"{result.num_demonstrations:,} demonstrations, {result.num_by_ids:,} by their token ids{others}")
        console.print(f"{out}: the checkpoint, and irl_report.json")
        print_next(
            console,
            {
                shlex.join(["unsqueeze", "diagnose", str(path), "--task", "TASK"]): purpose
                for path, purpose in (
                    (model or into, "how squeezed it was, on a task of yours"),
                    (out, "and how it is now"),
                )
            },
        )


def report_table(result: "IrlResult") -> "Table":
    """Return the phase report as a person reads it."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    report = result.report
    change = f"{report.nll_before:.4f} → {report.nll_after:.4f}"
    greedy = f"{report.greedy_logp_before:.4f} → {report.greedy_logp_after:.4f}"
    for name, value in (
        ("updates", str(report.num_updates)),
        ("seconds", f"{report.seconds:.1f}"),
        ("update norm, and over that of the weights", f"{report.update_norm:.2e}, {report.relative_update_norm:.2e}"),
        ("weights moved", f"{report.share_moved:.2%}"),
        ("weights whose bf16 value changed", f"{report.share_moved_bf16:.2%}"),
        ("NLL of the demonstrations, nats/token", change),
        (f"KL moved on {result.watched}, nats/token", f"{report.kl_moved:.3e}"),
        ("log-prob of greedy answers, nats/token", greedy),
    ):
        table.add_row(name, value)
    return table
