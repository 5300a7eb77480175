"""``unsqueeze diagnose``: how squeezed a model is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.options import ModelArgument, asking, begin, judging, loading, model_of, takes
from unsqueeze.errors import INTERRUPTED, Interrupted

if TYPE_CHECKING:
    from unsqueeze.evaluation.diagnose import Diagnosis
    from unsqueeze.metrics.intervals import Estimate


@takes(asking, judging, loading)
def diagnose(
    model: ModelArgument,
    n: Annotated[int, typer.Option("--n", help="Samples of each problem, at least 2.")] = 16,
    ngram: Annotated[int, typer.Option("--ngram", help="Words of an n-gram, for the similarity.")] = 3,
    embedding_model: Annotated[
        str | None,
        typer.Option(
            "--embedding-model",
            metavar="PATH_OR_NAME",
            help="A Hugging Face encoder: similarity by its sentence embeddings instead of n-grams.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write everything here, as JSON.")] = None,
    **given: Any,
) -> None:
    """Show what squeezing shows in: greedy log-prob, entropy, accuracy per problem, similarity, distinct solutions.

    A squeezed model is sure of one answer: problems are always or never solved, greedy answers are likely, the entropy
    of the next token is low, and samples of one problem are alike.

    Examples:
      unsqueeze diagnose countdown-0.4m --task countdown
      unsqueeze diagnose runs/quickstart/grpo --task countdown --out grpo.json
      unsqueeze diagnose ./model --task math500 --embedding-model sentence-transformers/all-MiniLM-L6-v2
    """
    console = begin(f"{model}: loading PyTorch and what is asked")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.progress import StopRequest

    stop = StopRequest()
    load, tasks, settings = model_of(model, given)
    with TerminalProgress(console) as progress, stop.listening():
        try:
            found = uq.diagnose(
                load,
                tasks,
                n=n,
                ngram=ngram,
                embedding_model=embedding_model,
                device=given["device"],
                out=out,
                progress=progress,
                stop=stop,
                **settings,
            )
        except Interrupted:
            kept = f"the samples so far are in {out}.samples. The same command goes on." if out else "nothing is kept."
            progress.warn(f"stopped as asked; {kept}")
            raise typer.Exit(INTERRUPTED) from None
    print_diagnoses(found.tasks, n, found.record["temperature"])
    if found.lacking:
        console.print(
            f"a server does not give {found.lacking}: there is a dash for it; load the model to have it measured"
        )


def print_diagnoses(results: "Mapping[str, Diagnosis]", n: int, temperature: float) -> None:
    """Print a column a task."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.SIMPLE, caption=f"{n} samples a problem at temperature {temperature:g}; 95 % intervals over problems"
    )
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    columns = [rows_of(result) for result in results.values()]
    for rows in zip(*columns, strict=True):
        table.add_row(rows[0][0], *(value for _, value in rows))
    Console(highlight=False).print(table)


def rows_of(result: "Diagnosis") -> list[tuple[str, str]]:
    """Return the lines of the table."""
    return [
        ("problems", str(result.num_problems)),
        ("accuracy, %", _interval(result.avg, 100)),
        *((f"problems solved {each.label} of the time", str(each.num_problems)) for each in result.histogram),
        ("log-prob of greedy answers, nats/token", _number(result.greedy_logp, ".4f")),
        ("entropy of the next token, nats", _number(result.entropy, ".4f")),
        ("similarity of answers, %", _interval(result.similarity, 100)),
        ("distinct correct solutions a problem", _interval(result.distinct_correct, 1)),
        (
            "tokens: mean, median, most",
            ", ".join(
                [
                    _number(result.tokens_mean, ".1f"),
                    _number(result.tokens_median, "g"),
                    _number(result.tokens_max, "g"),
                ]
            ),
        ),
        ("cut off, %", f"{100 * result.share_cut_off:.1f}"),
        ("unparsable, %", f"{100 * result.share_unparsable:.1f}"),
        ("not judged, counted as wrong", str(result.num_not_judged)),
        ("accuracy were they right, %", _number(100 * result.avg_at_best, ".1f") if result.num_not_judged else "–"),
        ("problems whose gold answer cannot be read, left out", str(result.num_unreadable)),
    ]


def _number(value: float, form: str) -> str:
    return "–" if value != value else format(value, form)


def _interval(estimate: "Estimate", scale: float) -> str:
    mean, low, high = (scale * value for value in (estimate.mean, estimate.low, estimate.high))
    return "–" if mean != mean else f"{mean:.1f}" if low != low else f"{mean:.1f} ({low:.1f}–{high:.1f})"
