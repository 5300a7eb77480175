"""``unsqueeze select``: L2TE on anybody's rollouts."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from unsqueeze.algos.selection import Likelihood, Pool
from unsqueeze.cli.judging import notes
from unsqueeze.cli.options import one_of
from unsqueeze.errors import UserError


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
    k: Annotated[int, typer.Option("--k", help="Demonstrations of each group, at most.")] = 3,
    pool: Annotated[
        str,
        typer.Option(
            help="negatives_first: wrong ones, topped up with right ones where too few; any; positives; uniform: any, "
            "whatever their likelihood."
        ),
    ] = "negatives_first",
    quantile: Annotated[
        float, typer.Option(help="The share of the candidates, from the least likely up, that is drawn from.")
    ] = 0.5,
    likelihood: Annotated[
        str, typer.Option(help="mean: log-prob per token; sum: of the whole response, which is lower for long ones.")
    ] = "mean",
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
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
    chosen_pool = one_of("--pool", pool, get_args(Pool))
    chosen_likelihood = one_of("--likelihood", likelihood, get_args(Likelihood))
    if k < 1:
        raise UserError(f"--k {k}: give 1 or more.")
    if not 0 < quantile <= 1:
        raise UserError(f"--quantile {quantile}: give a share above 0 and up to 1.")

    from unsqueeze.interop.rollout_files import rollout_files
    from unsqueeze.interop.select import demonstrations, run_prompt, select_from_files
    from unsqueeze.plain_json import dumps
    from unsqueeze.store.atomic import atomic_file

    files = rollout_files(rollouts)
    if any(out.absolute() == Path(file).absolute() for file in files):
        raise UserError(f"--out {out} is a file of rollouts itself; name another.")
    selection = select_from_files(
        files, k, pool=chosen_pool, quantile=quantile, likelihood=chosen_likelihood, seed=seed
    )
    with atomic_file(out, replace=True) as path, path.open("w", encoding="ascii") as stream:
        for demonstration in demonstrations(files, selection, run_prompt(rollouts)):
            stream.write(dumps(demonstration) + "\n")
    notes().print(f"{out}: {selection.describe()}")
