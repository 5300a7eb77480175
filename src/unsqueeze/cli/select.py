"""``unsqueeze select``: L2TE on anybody's rollouts."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.options import ComputeDtypeOption, DeviceOption, print_next
from unsqueeze.cli.together import ProcessesOption, together

FROM_RUN = "Default: that of the run, where the rollouts are of one with IRL, else"


def select(
    rollouts: Annotated[
        str,
        typer.Argument(
            help="The directory of a run or the output folder of TRL, ms-swift, verl, NeMo-RL, slime or prime-rl; a "
            "folder of Parquet or JSONL files, or one file: problem_id (or prompt), reward (or correct, or verdict), "
            "mean_logp (or logprobs), and prompt + completion (or messages)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Where to write the demonstrations, as JSON Lines or, by its name, Parquet; an existing file is "
            "replaced once all are chosen."
        ),
    ],
    k: Annotated[int | None, typer.Option("--k", help=f"Demonstrations of each group, at most. {FROM_RUN} 3.")] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            help="negatives_first: wrong ones, topped up with right ones where too few; any; positives; uniform: any, "
            f"whatever their likelihood. {FROM_RUN} negatives_first."
        ),
    ] = None,
    quantile: Annotated[
        float | None,
        typer.Option(
            help=f"The share of the candidates, from the least likely up, that is drawn from. {FROM_RUN} 0.5."
        ),
    ] = None,
    likelihood: Annotated[
        str | None,
        typer.Option(
            help=f"mean: log-prob per token; sum: of the whole response, which is lower for long ones. {FROM_RUN} mean."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help=f"Seed of the draws. {FROM_RUN} 0.")] = None,
    format: Annotated[
        str,
        typer.Option(help="Whose files: auto (found out), trl, swift, verl, nemo, slime, prime or plain."),
    ] = "auto",
    reward: Annotated[
        str | None,
        typer.Option(help="The column that says whether an answer is right (above 0), where several may."),
    ] = None,
    rejudge: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Ask the verifier of a task (math, countdown) instead of any column."),
    ] = None,
    exclude_prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="JSONL or Parquet with the prompts of an evaluation that wrote into the same files."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The data set trained on, for the true prompts where the files lost them (verl)."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="CHECKPOINT", help="Compute log-probs under this model, and count tokens by its tokenizer."
        ),
    ] = None,
    likelihood_under: Annotated[
        str | None,
        typer.Option(
            help="present: rank by --model; behaviour: by the log-probs in the files, of the policy that sampled. "
            "Default: present with --model, else behaviour."
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="The trainer's limit of new tokens: longer responses were cut off and get no end token; 0: none was. "
            "Default: as the trainer's files say."
        ),
    ] = None,
    expected: Annotated[
        int | None, typer.Option(help="Rollouts there must be. Default: as the trainer's last checkpoint says.")
    ] = None,
    tokens_per_microbatch: Annotated[
        int,
        typer.Option(help="Padded tokens of one forward pass of --model: memory and speed. On a CPU 4,096 at most."),
    ] = 16384,
    device: DeviceOption = "auto",
    compute_dtype: ComputeDtypeOption = "float32",
    processes: ProcessesOption = 1,
) -> None:
    """Choose demonstrations for IRL among rollouts: the ones the policy finds unlikely (L2TE, arXiv 2604.16995).

    Takes the rollouts of a run of ours or of any other trainer, groups them by problem (and step, where given), and
    writes one object a demonstration: [bold]messages[/bold] with conversational [bold]prompt[/bold] and
    [bold]completion[/bold], or these two as text, with reward, mean_logp, problem_id and the reason it was chosen.
    Train on them with [bold]unsqueeze irl[/bold], or with the fine-tuning of the trainer you have.

    Examples:
      unsqueeze select runs/quickstart/grpo --out demos.jsonl
      unsqueeze select rollouts.jsonl --k 3 --pool negatives_first --quantile 0.5 --out demos.jsonl
      unsqueeze select trl-out --model trl-out/checkpoint-9 --max-length 256 --reward accuracy_reward --out demos.jsonl
    """
    with together(processes, f"{rollouts}: reading, to choose demonstrations") as (all_of_them, console):
        import unsqueeze as uq
        from unsqueeze.cli.progress import TerminalProgress

        with TerminalProgress(console) as progress:
            selected = uq.select(
                rollouts,
                k=k,
                pool=pool,
                quantile=quantile,
                likelihood=likelihood,
                seed=seed,
                out=out,
                format=format,
                reward=reward,
                rejudge=rejudge,
                exclude_prompts=exclude_prompts,
                prompts=prompts,
                model=model,
                likelihood_under=likelihood_under,
                max_length=max_length,
                expected=expected,
                tokens_per_microbatch=tokens_per_microbatch,
                device=device,
                compute_dtype=compute_dtype,
                progress=progress,
                processes=all_of_them,
            )
        if selected.from_run:
            console.print(selected.from_run)
        console.print(selected.reading.describe())
        for warning in selected.warnings:
            console.print(f"warning: {warning}")
        console.print(f"{out}: {selected.describe()}")
        irl = ["unsqueeze", "irl", model or "CHECKPOINT", "--demos", str(out), "--out", f"{model or 'CHECKPOINT'}-irl"]
        print_next(console, {shlex.join(irl): "one IRL phase on them"})
