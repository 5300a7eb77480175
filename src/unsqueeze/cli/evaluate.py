"""``unsqueeze eval``: sample, verify, and report Avg@n and Pass@k with intervals."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.judging import (
    MEMORY_MB,
    TIMEOUT_S,
    WORKERS,
    CreditOption,
    KsOption,
    MemoryOption,
    TimeoutOption,
    WorkersOption,
    notes,
    parse_ks,
    points,
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
    TopKOption,
    TopPOption,
    Wishes,
)
from unsqueeze.cli.server_options import (
    REQUEST_TIMEOUT_S,
    RequestTimeoutOption,
    ServerOption,
    load_or_connect,
)
from unsqueeze.cli.task_list import ListTasksOption
from unsqueeze.errors import INTERRUPTED, Interrupted, UserError

if TYPE_CHECKING:
    from unsqueeze.evaluation.resumable import Asked
    from unsqueeze.evaluation.sample_store import SampleStore

TABLE_KS = (8, 32, 128)


def evaluate(
    model: ModelArgument,
    out: Annotated[Path, typer.Option(help="The directory of the evaluation; one that is there is gone on with.")],
    tasks: TasksOption = None,
    n: Annotated[int, typer.Option("--n", help="Samples of each problem. A larger one adds to what is there.")] = 128,
    temperature: TemperatureOption = 0.7,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    max_tokens: MaxTokensOption = None,
    ks: KsOption = None,
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
    list_tasks: ListTasksOption = False,
) -> None:
    """Sample n answers to every problem, judge them, and report Avg@n and Pass@k with 95 % intervals over problems.

    Samples are stored as they finish. The same command again goes on with an evaluation that was stopped, a larger --n
    adds samples, another --k needs none, and another --credit only judges again. The directory holds samples.parquet
    and summary.json; [bold]unsqueeze score[/bold] and [bold]unsqueeze compare[/bold] read it.

    Examples:
      unsqueeze eval countdown-0.4m --task countdown --n 128 --out evals/base
      unsqueeze eval runs/quickstart/sps --task countdown --out evals/sps
      unsqueeze eval ./model --task aime_2025 --task math500 --data-dir data --n 32 --out evals/mine
      unsqueeze eval Qwen/Qwen3-8B --server http://localhost:8000/v1 --task aime_2025 --data-dir data --out evals/served
      unsqueeze eval --list-tasks
    """
    from unsqueeze.cli.asking import asked_of
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.evaluation.benchmarks import Where, hub_commits, load_benchmarks
    from unsqueeze.evaluation.resumable import num_missing, rejudge
    from unsqueeze.evaluation.sample_store import SampleStore
    from unsqueeze.evaluation.tallying import LazyVerifier
    from unsqueeze.progress import StopRequest
    from unsqueeze.verify.extract import check_credit

    if n < 1:
        raise UserError(f"--n {n}: give 1 or more samples.")
    wanted_ks = parse_ks(ks, n)
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
    math_verifier = LazyVerifier(workers=workers, timeout_s=timeout, memory_mb=memory_mb, credit=checked_credit)
    drawn = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
    asked: list[Asked] = []
    settings: dict[str, Any] = {}
    for benchmark in benchmarks:
        each, settings[benchmark.name] = asked_of(source, benchmark, wishes, drawn, math_verifier, checked_credit)
        asked.append(each)
    store = SampleStore(out)
    identity = {
        **source.identity(),
        **drawn,
        "compute_dtype": None if servers else compute_dtype,
        "seed": seed,
    }
    told = {**source.told(), "hub_commits": hub_commits(benchmarks)}
    store.open({**identity, "benchmarks": settings}, told=told)
    begun, stop, console = time.perf_counter(), StopRequest(), notes()
    with TerminalProgress(console) as progress, stop.listening(), math_verifier:
        for each in asked:
            if again := rejudge(store, each):
                progress.say(f"{each.benchmark.name}: {again:,} samples that were there are judged again")
        missing = num_missing(store, asked, n)
        if missing and any(each.verifier is math_verifier for each in asked):
            math_verifier.start()
        try:
            with progress.work(f"sampling {len(benchmarks)} tasks × {n}", missing) as advance:

                def on_finished(count: int) -> None:
                    stop.check()
                    advance(count)

                for each in asked:
                    source.draw_missing(store, each, n, seed=seed, max_rows=max_rows, on_finished=on_finished)
        except Interrupted:
            progress.warn(f"stopped as asked; the samples so far are in {out}. The same command goes on.")
            raise typer.Exit(INTERRUPTED) from None
    summary = finish(store, asked, n, wanted_ks, seed)
    record = {
        **summary,
        "model": model,
        "n": n,
        **identity,
        **told,
        "credit": checked_credit,
        "settings": settings,
        "num_drawn_now": missing,
        "seconds": time.perf_counter() - begun,
    }
    store.write_summary(record | provenance_of())
    print_summary(summary, n, wanted_ks, temperature)
    console.print(f"{out}: samples.parquet and summary.json; {missing:,} samples were drawn now")


def finish(store: "SampleStore", asked: "Sequence[Asked]", n: int, ks: list[int], seed: int) -> dict[str, Any]:
    """Put the samples into one file and sum up the first ``n`` of every problem that was asked for."""
    import pyarrow as pa

    from unsqueeze.evaluation.resumable import summarise_samples

    order = {each.benchmark.name: [problem.id for problem in each.benchmark.problems] for each in asked}
    wanted = {(benchmark, problem_id) for benchmark, problem_ids in order.items() for problem_id in problem_ids}
    samples = store.merge(order)
    keys = zip(*(samples[name].to_pylist() for name in ("benchmark", "problem_id", "index")), strict=True)
    taken = [index < n and (benchmark, problem_id) in wanted for benchmark, problem_id, index in keys]
    return summarise_samples(samples.filter(pa.array(taken, pa.bool_())), ks, seed=seed)


def provenance_of() -> dict[str, Any]:
    from unsqueeze.store.provenance import provenance

    return provenance()


def print_summary(summary: Mapping[str, Any], n: int, ks: Sequence[int], temperature: float) -> None:
    """A line a task, and a stratified one over all where there are several; then what a reader should know of them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Avg@n is the better estimate of Pass@1; of many ks a few tell the story.
    shown = [k for k in ks if k > 1]
    if len(shown) > 4:
        shown = [k for k in shown if k in TABLE_KS or k == max(ks)]
    table = Table(box=box.SIMPLE, caption=f"temperature {temperature:g}; % with 95 % intervals over problems")
    table.add_column("task", overflow="fold")
    for heading in ("problems", f"Avg@{n}", *(f"Pass@{k}" for k in shown)):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in summary["benchmarks"].items():
        table.add_row(name, *_cells(part, shown))
    if len(summary["benchmarks"]) > 1:
        table.add_section()
        table.add_row("all", *_cells(summary, shown))
    screen = Console(highlight=False)
    screen.print(table)
    for name, part in summary["benchmarks"].items():
        screen.print(describe_samples(name, part), markup=False, soft_wrap=True)


def describe_samples(name: str, part: Mapping[str, Any]) -> str:
    """One line of what the samples of a task were like."""
    kinds = {
        "num_cut_off": "cut off at the token limit",
        "num_unparsable": "unparsable",
        "num_not_judged": "not judged",
    }
    shares = [
        f"{points(part[key] / max(1, part['num_samples']))} % {words}" for key, words in kinds.items() if part[key]
    ]
    mean = part["mean_tokens"]
    lengths = "" if mean != mean else f" of {mean:.0f} tokens on average"
    return ", ".join([f"{name}: {part['num_samples']:,} samples{lengths}", *shares])


def _cells(part: Mapping[str, Any], ks: Sequence[int]) -> list[str]:
    avg = {"mean": part["avg"], "low": part["avg_low"], "high": part["avg_high"]}
    estimates = [avg, *(part["pass_at"][str(k)] for k in ks)]
    return [str(part["n_problems"]), *map(_percent, estimates)]


def _percent(estimate: Mapping[str, float | None]) -> str:
    mean, low, high = (estimate[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "–"
    between = "" if low is None or high is None else f"\n{100 * low:.0f}–{100 * high:.0f}"
    return f"{100 * mean:.1f}{between}"
