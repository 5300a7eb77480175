"""``unsqueeze select``: L2TE on anybody's rollouts."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from unsqueeze.cli.options import begin, print_next

FROM_RUN = "Default: that of the run, where the rollouts are of one with IRL, else"


def select(
    rollouts: Annotated[
        str,
        typer.Argument(
            help="The directory of a run, a folder of Parquet or JSONL files, or one file: problem_id (or prompt), "
            "reward (or correct, or verdict), mean_logp (or logprobs), and prompt + completion (or messages)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Where to write the demonstrations, as JSON Lines; an existing file is replaced once all are chosen."
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
) -> None:
    """Choose demonstrations for IRL among rollouts: the ones the policy finds unlikely (L2TE, arXiv 2604.16995).

    Takes the rollouts of a run of ours or of any other trainer, groups them by problem (and step, where given), and
    writes one JSON object a demonstration: [bold]messages[/bold], or [bold]prompt[/bold] and [bold]completion[/bold],
    with reward, mean_logp, problem_id and the reason it was chosen. Train on them with [bold]unsqueeze irl[/bold], or
    with the fine-tuning of the trainer you have.

    Examples:
      unsqueeze select runs/quickstart/grpo --out demos.jsonl
      unsqueeze select rollouts.jsonl --k 3 --pool negatives_first --quantile 0.5 --out demos.jsonl
    """
    console = begin(f"{rollouts}: reading, to choose demonstrations")
    import unsqueeze as uq

    selected = uq.select(rollouts, k=k, pool=pool, quantile=quantile, likelihood=likelihood, seed=seed, out=out)
    if selected.from_run:
        console.print(selected.from_run)
    console.print(f"{out}: {selected.describe()}")
    irl = ["unsqueeze", "irl", "CHECKPOINT", "--demos", str(out), "--out", "CHECKPOINT-irl"]
    print_next(console, {shlex.join(irl): "one IRL phase on them"})
