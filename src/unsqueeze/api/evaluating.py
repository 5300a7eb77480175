"""Evaluations and diagnoses of models, in Python as by the commands."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import (
    Benchmark,
    Where,
    hub_commits,
    load_benchmarks,
    own_benchmark,
    skipped_records,
)
from unsqueeze.evaluation.diagnose import Diagnosis, Similarity, diagnose_benchmark
from unsqueeze.evaluation.draw import num_missing
from unsqueeze.evaluation.entropy import mean_entropy
from unsqueeze.evaluation.evaluate import Verifiers, begin, evaluate_source
from unsqueeze.evaluation.models import LoadedModel, ServedSource, load_model, served
from unsqueeze.evaluation.result import Evaluation
from unsqueeze.evaluation.settings import Given, settle
from unsqueeze.metrics.cover import TAUS
from unsqueeze.metrics.diversity import mean_pairwise_cosine, trajectory_similarity
from unsqueeze.metrics.reliability_summary import check_taus
from unsqueeze.metrics.summary import check_ks, powers_of_two_up_to
from unsqueeze.plain_json import dumps
from unsqueeze.progress import Progress, Silent, StopRequest
from unsqueeze.store.atomic import remove_directory
from unsqueeze.store.outputs import output_file
from unsqueeze.store.provenance import provenance
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verifiers import as_verifier

__all__ = ["Diagnoses", "LoadedModel", "ServedSource", "diagnose", "evaluate", "load_model", "served"]

Model = str | Path | LoadedModel | ServedSource | Callable[[], LoadedModel | ServedSource]
"""A model: where it is, one that is loaded or served, or a function that loads one once all else is found right."""

Tasks = str | Path | Problem | Sequence[str | Path | Problem]
"""Names or paths of problem sets, or problems of one's own."""


def evaluate(
    model: Model,
    tasks: Tasks,
    *,
    out: str | Path | None = None,
    n: int = 128,
    ks: Sequence[int] | None = None,
    taus: Sequence[float] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    max_tokens: int | None = None,
    stop_strings: Sequence[str] | None = None,
    end_tokens: Sequence[str] | None = None,
    prompt_style: str | None = None,
    template: str | None = None,
    system: str | None = None,
    credit: str | None = None,
    verifier: Any = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    data_dir: str | Path = "data",
    problem_field: str = "problem",
    answer_field: str = "answer",
    limit: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Evaluation:
    """Sample ``n`` answers to every problem, judge them, and estimate Avg@n and Pass@k with 95 % intervals.

    ``model`` is a path, a hub name, a run or a checkpoint, or what ``load_model`` or ``served`` gave. Settings that are
    not given are those of the run that the model comes from, else the defaults of recipes. ``verifier`` is an object
    with ``verify(problems, responses)``, or a function of a problem and a response; by default the task's own.
    ``skip_bad`` leaves out records that hold no problem (their answer is null, or no text), and warns of them.

    ``taus`` are the success rates of Cover@τ and G-Pass@k. Samples are stored in ``out`` as they come (default: a
    temporary directory). The same call again goes on where it stopped: a larger ``n`` adds samples, another ``credit``
    only judges again. Raises Interrupted if ``stop`` is asked.
    """
    if n < 1:
        raise UserError(f"n is {n}; give 1 or more samples.")
    wanted = powers_of_two_up_to(n) if ks is None else check_ks(ks, n)
    shares = TAUS if taus is None else check_taus(taus)
    where = Where(
        data_dir=Path(data_dir),
        limit=limit,
        problem_field=problem_field,
        answer_field=answer_field,
        skip_bad=skip_bad,
    )
    benchmarks = benchmarks_of(tasks, where)
    source = as_source(model)
    shown = progress or Silent()
    settings = settle(
        Given(
            style=prompt_style,
            template=template,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            stop=stop_strings,
            end_tokens=end_tokens,
            credit=credit,
            workers=workers,
            timeout_s=timeout_s,
            memory_mb=memory_mb,
        ),
        source.run,
    )
    if told := settings.describe_run():
        shown.say(told)
    return evaluate_source(
        source,
        benchmarks,
        settings,
        out=Path(tempfile.mkdtemp(prefix="unsqueeze-eval-")) if out is None else Path(out),
        n=n,
        ks=wanted,
        taus=shares,
        seed=seed,
        model=source.name,
        verifier=None if verifier is None else as_verifier(verifier),
        progress=shown,
        stop=stop or StopRequest(),
    )


@dataclass(frozen=True, slots=True)
class Diagnoses:
    """The diagnosis of every task by its name, and what is on record of how they came about."""

    tasks: Mapping[str, Diagnosis]
    record: Mapping[str, Any]
    lacking: str | None
    """Numbers that a server does not give."""


def diagnose(
    model: Model,
    tasks: Tasks,
    *,
    n: int = 16,
    temperature: float | None = None,
    max_tokens: int | None = None,
    stop_strings: Sequence[str] | None = None,
    end_tokens: Sequence[str] | None = None,
    ngram: int = 3,
    embedding_model: str | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    prompt_style: str | None = None,
    template: str | None = None,
    system: str | None = None,
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    data_dir: str | Path = "data",
    problem_field: str = "problem",
    answer_field: str = "answer",
    limit: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Diagnoses:
    """Measure what squeezing shows in: greedy log-prob, entropy, accuracy per problem, similarity, distinct solutions.

    Similarity is by n-grams of ``ngram`` words, or by the sentence embeddings of ``embedding_model``. ``out`` is a JSON
    file to write; until it is there, samples lie beside it in a folder ``OUT.samples``, and the same call again goes on
    with them. The rest is as for ``evaluate``.
    """
    if n < 2:
        raise UserError(f"n is {n}; give 2 or more samples, similarity compares them.")
    if ngram < 1:
        raise UserError(f"ngram is {ngram}; give 1 or more words.")
    where = Where(
        data_dir=Path(data_dir),
        limit=limit,
        problem_field=problem_field,
        answer_field=answer_field,
        skip_bad=skip_bad,
    )
    benchmarks = benchmarks_of(tasks, where)
    source, shown, asking = as_source(model), progress or Silent(), stop or StopRequest()
    settings = settle(
        Given(
            style=prompt_style,
            template=template,
            system=system,
            max_tokens=max_tokens,
            temperature=temperature,
            stop=stop_strings,
            end_tokens=end_tokens,
            credit=credit,
            workers=workers,
            timeout_s=timeout_s,
            memory_mb=memory_mb,
        ),
        source.run,
    )
    if told := settings.describe_run():
        shown.say(told)
    similarity = similarity_by(embedding_model, ngram, device)
    results: dict[str, Diagnosis] = {}
    with Verifiers(settings) as verifiers, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if out is None else Path(f"{out}.samples")
        with closing(begin(source, benchmarks, settings, verifiers, folder, seed=seed, progress=shown)) as begun:
            for asked in begun.asked:
                missing = num_missing(begun.directory.samples, [asked], n)
                with shown.work(asked.benchmark.name, missing) as advance:
                    results[asked.benchmark.name] = diagnose_benchmark(
                        source,
                        asked,
                        begun.directory.samples,
                        n=n,
                        entropy=partial(mean_entropy, source.policy) if isinstance(source, LoadedModel) else None,
                        similarity=similarity,
                        seed=seed,
                        on_finished=advance,
                        check_stop=asking.check,
                    )
    record = {
        "model": source.name,
        **source.told(),
        "hub_commits": hub_commits(benchmarks),
        **({"skipped_records": skipped} if (skipped := skipped_records(benchmarks)) else {}),
        "n": n,
        **settings.drawn,
        "settings": begun.record["settings"],
        **({"ngram": ngram} if embedding_model is None else {"embedding_model": embedding_model}),
        "seed": seed,
        "tasks": {name: result.to_json_object() for name, result in results.items()},
        **provenance(),
    }
    if out is not None:
        with output_file(out) as path:
            path.write_bytes(dumps(record, indent=2).encode() + b"\n")
        remove_directory(folder)
    return Diagnoses(results, record, _lacking(source))


def as_source(model: Model) -> LoadedModel | ServedSource:
    """Return what evaluations ask: the model as it is, or loaded from where it is."""
    if isinstance(model, str | Path):
        return load_model(str(model))
    return model() if callable(model) else model


def benchmarks_of(tasks: Tasks, where: Where) -> list[Benchmark]:
    """Return the problem sets of names, and those of the user's own problems as one."""
    given = [tasks] if isinstance(tasks, str | Path | Problem) else list(tasks)
    own = [task for task in given if isinstance(task, Problem)]
    named = [str(task) for task in given if isinstance(task, str | Path)]
    found = load_benchmarks(named, where) if named or not own else []
    return [*found, *([own_benchmark("own", own, "given")] if own else [])]


def similarity_by(embedding_model: str | None, ngram: int, device: str) -> Similarity:
    """Return how alike answers are: by the n-grams they share, or by the embeddings of a model."""
    if embedding_model is None:
        return partial(trajectory_similarity, order=ngram)
    from unsqueeze.evaluation.embeddings import SentenceEncoder
    from unsqueeze.policy.policy import resolve_device

    encoder = SentenceEncoder.load(embedding_model, resolve_device(device))
    return lambda texts: mean_pairwise_cosine(encoder.embed(texts))


def _lacking(source: LoadedModel | ServedSource) -> str | None:
    if isinstance(source, LoadedModel):
        return None
    return "entropy" if source.engine.gives_logprobs else "entropy and the log-prob of greedy answers"
