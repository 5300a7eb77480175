"""``unsqueeze diagnose``: how squeezed a model is."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.judging import (
    MEMORY_MB,
    TIMEOUT_S,
    WORKERS,
    CreditOption,
    MemoryOption,
    TimeoutOption,
    WorkersOption,
    notes,
)
from unsqueeze.cli.model_options import (
    AnswerFieldOption,
    ComputeDtypeOption,
    DataDirOption,
    DeviceOption,
    EngineOption,
    LimitOption,
    MaxRowsOption,
    MaxTokensOption,
    ModelArgument,
    ProblemFieldOption,
    StyleOption,
    SystemOption,
    TasksOption,
    TemperatureOption,
    TemplateOption,
    Wishes,
)
from unsqueeze.cli.server_options import (
    REQUEST_TIMEOUT_S,
    RequestTimeoutOption,
    ServedSource,
    ServerOption,
    load_or_connect,
)
from unsqueeze.errors import UserError

if TYPE_CHECKING:
    from unsqueeze.evaluation.diagnose import Diagnosis, Similarity
    from unsqueeze.metrics.intervals import Estimate
    from unsqueeze.policy.policy import Policy

_SCORED_TOKENS = 16_384


def diagnose(
    model: ModelArgument,
    tasks: TasksOption = None,
    n: Annotated[int, typer.Option("--n", help="Samples of each problem, at least 2.")] = 16,
    temperature: TemperatureOption = 0.7,
    max_tokens: MaxTokensOption = None,
    order: Annotated[int, typer.Option("--ngram", help="Words of an n-gram, for the similarity.")] = 3,
    embedding_model: Annotated[
        str | None,
        typer.Option(
            "--embedding-model",
            metavar="PATH_OR_NAME",
            help="A Hugging Face encoder: similarity by its sentence embeddings instead of n-grams.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write everything here, as JSON.")] = None,
    prompt_style: StyleOption = "auto",
    template: TemplateOption = None,
    system: SystemOption = None,
    credit: CreditOption = "anywhere",
    data_dir: DataDirOption = Path("data"),
    problem_field: ProblemFieldOption = "problem",
    answer_field: AnswerFieldOption = "answer",
    limit: LimitOption = None,
    engine: EngineOption = "hf",
    max_rows: MaxRowsOption = 256,
    device: DeviceOption = "auto",
    compute_dtype: ComputeDtypeOption = "float32",
    servers: ServerOption = None,
    request_timeout: RequestTimeoutOption = REQUEST_TIMEOUT_S,
    workers: WorkersOption = WORKERS,
    timeout: TimeoutOption = TIMEOUT_S,
    memory_mb: MemoryOption = MEMORY_MB,
    seed: Annotated[int, typer.Option(help="Seed of the samples and of the intervals.")] = 0,
) -> None:
    """Show what squeezing shows in: greedy log-prob, entropy, accuracy per problem, similarity, distinct solutions.

    A squeezed model is sure of one answer: problems are always or never solved, greedy answers are likely, the entropy
    of the next token is low, and samples of one problem are alike.

    Examples:
      unsqueeze diagnose countdown-0.4m --task countdown
      unsqueeze diagnose runs/quickstart/grpo --task countdown --out grpo.json
      unsqueeze diagnose ./model --task math500 --embedding-model sentence-transformers/all-MiniLM-L6-v2
    """
    from unsqueeze.cli.asking import asked_of
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.evaluation.benchmarks import Where, hub_commits, load_benchmarks
    from unsqueeze.evaluation.diagnose import diagnose as measure
    from unsqueeze.evaluation.tallying import LazyVerifier
    from unsqueeze.plain_json import dumps
    from unsqueeze.store.atomic import write_atomically
    from unsqueeze.store.provenance import provenance
    from unsqueeze.verify.extract import check_credit

    if n < 2:
        raise UserError(f"--n {n}: give 2 or more samples; similarity compares them.")
    if order < 1:
        raise UserError(f"--ngram {order}: give 1 or more words.")
    checked_credit = check_credit(credit)
    where = Where(data_dir=data_dir, limit=limit, problem_field=problem_field, answer_field=answer_field)
    benchmarks = load_benchmarks(tasks or [], where)
    source = load_or_connect(
        model,
        servers,
        request_timeout_s=request_timeout,
        device=device,
        compute_dtype=compute_dtype,
        max_rows=max_rows,
        engine=engine,
        seed=seed,
    )
    wishes = Wishes(style=prompt_style, template=template, system=system, max_tokens=max_tokens)
    similarity = similarity_by(embedding_model, order, device)
    results: dict[str, Diagnosis] = {}
    with (
        LazyVerifier(workers=workers, timeout_s=timeout, memory_mb=memory_mb, credit=checked_credit) as math_verifier,
        TerminalProgress(notes()) as progress,
    ):
        for benchmark in benchmarks:
            asked, _ = asked_of(source, benchmark, wishes, {"temperature": temperature}, math_verifier, checked_credit)
            with progress.work(benchmark.name, n * len(asked.prompts)) as advance:
                results[benchmark.name] = measure(
                    source.engine,
                    asked.verifier,
                    benchmark.problems,
                    asked.prompts,
                    n=n,
                    sampling=asked.sampling,
                    entropy=None if isinstance(source, ServedSource) else partial(mean_entropy, source.policy),
                    similarity=similarity,
                    seed=seed,
                    on_finished=advance,
                )
    print_diagnoses(results, n, temperature)
    if isinstance(source, ServedSource):
        lacking = "entropy" if source.engine.gives_logprobs else "entropy and the log-prob of greedy answers"
        notes().print(f"a server does not give {lacking}: there is a dash for it; load the model to have it measured")
    if out is not None:
        record = {
            "model": model,
            **source.told(),
            "hub_commits": hub_commits(benchmarks),
            "n": n,
            "temperature": temperature,
            **({"ngram": order} if embedding_model is None else {"embedding_model": embedding_model}),
            "seed": seed,
            "tasks": {name: result.to_json_object() for name, result in results.items()},
            **provenance(),
        }
        write_atomically(out, dumps(record, indent=2).encode() + b"\n", replace=True)


def similarity_by(embedding_model: str | None, order: int, device: str) -> "Similarity":
    """How alike answers are: by the n-grams they share, or by the embeddings of a model."""
    from unsqueeze.metrics.diversity import mean_pairwise_cosine, trajectory_similarity

    if embedding_model is None:
        return partial(trajectory_similarity, order=order)
    from unsqueeze.evaluation.embeddings import SentenceEncoder
    from unsqueeze.policy.policy import resolve_device

    encoder = SentenceEncoder.load(embedding_model, resolve_device(device))
    return lambda texts: mean_pairwise_cosine(encoder.embed(texts))


def mean_entropy(policy: "Policy", prompts: Sequence[Sequence[int]], groups: Sequence[Sequence[Any]]) -> float:
    """Mean over all tokens of the answers of the entropy of the distribution they came from, at temperature 1."""
    import numpy as np
    import torch

    from unsqueeze.policy.batch import Row, collate, microbatches

    rows = [
        Row(prompt_tokens=np.asarray(prompt, dtype=np.int32), tokens=completion.tokens, weight=0.0)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
        if completion.tokens.size
    ]
    total, count = 0.0, 0
    with torch.no_grad():
        for indices in microbatches(rows, max_tokens=_SCORED_TOKENS):
            batch = collate([rows[i] for i in indices], pad=policy.pad, device=policy.device)
            _, entropy_NT = policy.logprobs(batch, with_entropy=True)
            total += float(entropy_NT.sum(dtype=torch.float64))
            count += int(batch.mask_NT.sum())
    return total / count if count else float("nan")


def print_diagnoses(results: "dict[str, Diagnosis]", n: int, temperature: float) -> None:
    """A column a task."""
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
    """The lines of the table."""
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
        ("not judged", str(result.num_not_judged)),
    ]


def _number(value: float, form: str) -> str:
    return "–" if value != value else format(value, form)


def _interval(estimate: "Estimate", scale: float) -> str:
    mean, low, high = (scale * value for value in (estimate.mean, estimate.low, estimate.high))
    return "–" if mean != mean else f"{mean:.1f}" if low != low else f"{mean:.1f} ({low:.1f}–{high:.1f})"
