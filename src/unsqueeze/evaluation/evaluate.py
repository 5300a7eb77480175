"""An evaluation by itself: n answers to every problem, judged, stored as they come, summed up."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsqueeze.evaluation.benchmarks import Benchmark, describe_skipped, hub_commits, skipped_records
from unsqueeze.evaluation.draw import num_missing, rejudge
from unsqueeze.evaluation.eval_directory import EvalDirectory
from unsqueeze.evaluation.models import Source
from unsqueeze.evaluation.questions import Asked
from unsqueeze.evaluation.result import Evaluation
from unsqueeze.evaluation.settings import EvalSettings
from unsqueeze.evaluation.summarise import summarise_samples
from unsqueeze.evaluation.unreadable import unreadable_of
from unsqueeze.progress import Progress, StopRequest
from unsqueeze.store.provenance import provenance
from unsqueeze.verify.verdict import Verifier
from unsqueeze.verify.verifiers import make_verifier, name_of, start
from unsqueeze.wording import counted, verb


class Verifiers:
    """The verifiers of several benchmarks, one for each that differs; or one of the user's own for all."""

    def __init__(self, settings: EvalSettings, own: Verifier | None = None) -> None:
        self._settings = settings
        self._own = own
        self._made: dict[str, Verifier] = {}

    def of(self, benchmark: Benchmark) -> Verifier:
        if self._own is not None:
            return self._own
        name = benchmark.task.verifier
        if name not in self._made:
            self._made[name] = make_verifier(benchmark.task, self._settings.verify)
        return self._made[name]

    def start(self) -> None:
        """Let them load in the background, while something else is done."""
        for verifier in self._made.values():
            start(verifier)

    def __enter__(self) -> "Verifiers":
        return self

    def __exit__(self, *error: object) -> None:
        for verifier in self._made.values():
            verifier.close()


def ask(
    source: Source, benchmark: Benchmark, settings: EvalSettings, verifier: Verifier
) -> tuple[Asked, dict[str, Any]]:
    """Return a benchmark ready to be sampled, and what makes its samples what they are."""
    questions = source.questions(benchmark, settings)
    source.try_out(benchmark, questions)
    record = {"source": benchmark.source, "sha256": benchmark.sha256, **questions.record}
    if orders := benchmark.option_orders:
        record["option_orders"] = orders
    asked = Asked(
        benchmark=benchmark,
        prompts=questions.prompts,
        sampling=questions.sampling,
        verifier=verifier,
        verifier_name=name_of(verifier),
    )
    return asked, record


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """An evaluation that is ready to be drawn: where its samples are, what is asked, and what is on record of both."""

    directory: EvalDirectory
    asked: Sequence[Asked]
    record: Mapping[str, Any]

    def close(self) -> None:
        """Let go of the directory."""
        self.directory.close()


def begin(
    source: Source,
    benchmarks: Sequence[Benchmark],
    settings: EvalSettings,
    verifiers: Verifiers,
    folder: Path,
    *,
    seed: int,
    progress: Progress,
) -> Begun:
    """Begin in ``folder``, or go on with what is there: what another verifier judged is judged again first.

    The folder is locked until what is returned is closed.
    """
    asked, records = [], {}
    for benchmark in benchmarks:
        each, records[benchmark.name] = ask(source, benchmark, settings, verifiers.of(benchmark))
        asked.append(each)
    directory = EvalDirectory(folder)
    identity = {**source.identity(), **settings.drawn, "seed": seed}
    told = {**source.told(), "hub_commits": hub_commits(benchmarks)}
    if skipped := skipped_records(benchmarks):
        told["skipped_records"] = skipped
    for benchmark in benchmarks:
        if benchmark.skipped:
            progress.warn(describe_skipped(benchmark))
    directory.open({**identity, "benchmarks": records}, told=told)
    try:
        for each in asked:
            if again := rejudge(directory.samples, each):
                were, are = verb(again, "was", "were"), verb(again, "is", "are")
                progress.say(f"{each.benchmark.name}: {counted(again, 'sample')} that {were} there {are} judged again")
    except BaseException:
        directory.close()
        raise
    return Begun(directory, asked, {**identity, **told, "credit": settings.credit, "settings": records})


def evaluate_source(
    source: Source,
    benchmarks: Sequence[Benchmark],
    settings: EvalSettings,
    *,
    out: Path,
    n: int,
    ks: Sequence[int],
    taus: Sequence[float],
    seed: int,
    model: str,
    verifier: Verifier | None,
    progress: Progress,
    stop: StopRequest,
) -> Evaluation:
    """Evaluate a model, or go on with an evaluation that is in ``out``: samples that are there are not drawn again.

    Raises Interrupted if the user asks to stop; problems that had all samples of a block are
    then on the disk.
    """
    begun = time.perf_counter()
    with (
        Verifiers(settings, verifier) as verifiers,
        closing(begin(source, benchmarks, settings, verifiers, out, seed=seed, progress=progress)) as ready,
    ):
        directory, asked = ready.directory, ready.asked
        for each in asked:
            if (found := unreadable_of(each.benchmark.problems, each.verifier, progress)).problems:
                progress.warn(f"{each.benchmark.name}: {found.describe()}")
        missing = num_missing(directory.samples, asked, n)
        if missing:
            verifiers.start()
        with progress.work(f"sampling {counted(len(benchmarks), 'task')} × {n}", missing) as advance:
            for each in asked:
                source.draw(directory.samples, each, n, seed=seed, on_finished=advance, check_stop=stop.check)
        samples = first_of(directory, asked, n)
        summary = summarise_samples(samples, ks, taus=taus, seed=seed)
        record = {
            **summary.to_json_object(),
            "model": model,
            "n": n,
            **ready.record,
            "num_drawn_now": missing,
            "seconds": time.perf_counter() - begun,
            **provenance(),
        }
        directory.write_summary(record)
    return Evaluation(out, summary, samples, record, missing)


def first_of(directory: EvalDirectory, asked: Sequence[Asked], n: int) -> pa.Table:
    """Put the samples into one file, and return the first ``n`` of every problem that was asked for."""
    order = {each.benchmark.name: [problem.id for problem in each.benchmark.problems] for each in asked}
    wanted = {(benchmark, problem_id) for benchmark, problem_ids in order.items() for problem_id in problem_ids}
    samples = directory.samples.merge(order)
    keys = zip(*(samples[name].to_pylist() for name in ("benchmark", "problem_id", "index")), strict=True)
    taken = [index < n and (benchmark, problem_id) in wanted for benchmark, problem_id, index in keys]
    return samples.filter(pa.array(taken, pa.bool_()))
