"""An evaluation that stores its samples as they come and only draws those it lacks."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from unsqueeze.evaluation.benchmarks import Benchmark
from unsqueeze.evaluation.calls import BLOCK, missing_calls
from unsqueeze.evaluation.evaluate import eval_sample
from unsqueeze.evaluation.sample_store import SampleStore
from unsqueeze.evaluation.tallying import as_vote
from unsqueeze.metrics.summary import summaries_by_benchmark, summarise_tally
from unsqueeze.metrics.tally import Tallier
from unsqueeze.rollout.types import Answer, Completion, Engine, Sampling, StopReason
from unsqueeze.seeds import derive_seed, prompt_seeds
from unsqueeze.verify.verdict import Verdict, Verifier

STORED_AFTER_S = 5.0
"""A sample waits at most about so long, and one call of the engine, to be judged and for its part to be written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A benchmark with the prompts of its problems, how to sample, and who judges.

    A prompt is what the model is given: token ids, or for a server a text or a chat.
    """

    benchmark: Benchmark
    prompts: Sequence[Any]
    sampling: Sampling
    verifier: Verifier
    verifier_name: str


def num_missing(store: SampleStore, asked: Sequence[Asked], n: int) -> int:
    """How many samples are to be drawn to bring every problem to ``n``."""
    return sum(len(missing_of(store, each, n)) for each in asked)


def missing_of(store: SampleStore, asked: Asked, n: int) -> list[tuple[int, int]]:
    """The place of the problem and the index of every sample that is lacked, first all of index 0, then all of 1, …"""
    seen = store.keys(asked.benchmark.name)
    problems = asked.benchmark.problems
    return [
        (place, index)
        for index in range(n)
        for place, problem in enumerate(problems)
        if (problem.id, index) not in seen
    ]


def have_of(store: SampleStore, asked: Asked) -> list[int]:
    """How many samples every problem has: 0 to h − 1 without a gap."""
    seen = store.keys(asked.benchmark.name)
    counts = []
    for problem in asked.benchmark.problems:
        have = 0
        while (problem.id, have) in seen:
            have += 1
        counts.append(have)
    return counts


def draw_missing(
    store: SampleStore,
    engine: Engine,
    asked: Asked,
    n: int,
    *,
    seed: int,
    max_rows: int,
    on_finished: Callable[[int], None] | None = None,
) -> None:
    """Bring every problem of a benchmark to ``n`` judged samples on the disk.

    The seed of a call comes from the problem it begins with and the number of its first sample: what is drawn does not
    depend on where an evaluation was interrupted.
    """
    problems = asked.benchmark.problems
    with Storing(store, asked) as storing:
        for call in missing_calls(have_of(store, asked), n, max(1, max_rows // BLOCK)):
            first = problems[call.places[0]].id
            groups = engine.generate(
                [asked.prompts[place] for place in call.places],
                call.count,
                asked.sampling,
                seeds=prompt_seeds(
                    derive_seed(seed, "eval", asked.benchmark.name, first, call.start), len(call.places)
                ),
                on_finished=on_finished,
            )
            storing.take(
                (place, call.start + number, completion)
                for place, completions in zip(call.places, groups, strict=True)
                for number, completion in enumerate(completions)
            )


class Storing:
    """Judges what was drawn and puts it on the disk: at once where drawing is slow, else every few seconds.

    A part costs milliseconds however small it is, as long as a quick model takes for its samples. Whatever ends the
    drawing, all that was drawn is judged and stored.
    """

    def __init__(self, store: SampleStore, asked: Asked) -> None:
        self._store = store
        self._asked = asked
        self._waiting: list[tuple[int, int, Completion | Answer]] = []
        self._last = time.monotonic()

    def take(self, drawn: Iterable[tuple[int, int, Completion | Answer]]) -> None:
        """The place of the problem of each sample, the index of the sample, and the sample; in any order."""
        self._waiting += drawn
        self.flush_when_due()

    def flush_when_due(self) -> None:
        if time.monotonic() - self._last >= STORED_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Verifier and store what waits."""
        drawn, self._waiting = sorted(self._waiting, key=itemgetter(0, 1)), []
        if drawn:
            problems = [self._asked.benchmark.problems[place] for place, _, _ in drawn]
            judgements = self._asked.verifier.verify(problems, [one.text for _, _, one in drawn])
            samples = [
                eval_sample(problem, index, one, judgement)
                for problem, (_, index, one), judgement in zip(problems, drawn, judgements, strict=True)
            ]
            golds = [problem.answer for problem in problems]
            self._store.add(self._asked.benchmark.name, samples, golds, self._asked.verifier_name)
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()


def rejudge(store: SampleStore, asked: Asked) -> int:
    """Judge again, without sampling, what another verifier has judged; returns how many samples."""
    problems = {problem.id: problem for problem in asked.benchmark.problems}

    def judged(problem_ids: list[str], texts: list[str]) -> Any:
        return asked.verifier.verify([problems[problem_id] for problem_id in problem_ids], texts)

    return store.rejudge(asked.benchmark.name, list(problems), asked.verifier_name, judged)


def summarise_samples(samples: pa.Table, ks: Sequence[int], *, seed: int) -> dict[str, Any]:
    """What the samples of a store add up to: over all benchmarks, stratified by them, and each under ``benchmarks``."""
    tallier = Tallier()
    columns = (samples[name].to_pylist() for name in ("benchmark", "problem_id", "correct", "extracted"))
    for (benchmark, problem_id, correct, extracted), count in Counter(zip(*columns, strict=True)).items():
        tallier.add(problem_id, correct, benchmark=benchmark, answer=as_vote(extracted), count=count)
    tally = tallier.tally()
    whole = summarise_tally(tally, ks, seed=seed)
    names = tally.strata
    parts = summaries_by_benchmark(tally, ks, seed=seed) or dict.fromkeys(names, whole)
    return {
        **whole.to_json_object(),
        **counts(samples),
        "benchmarks": {
            name: parts[name].to_json_object() | counts(samples.filter(pc.field("benchmark") == name)) for name in names
        },
    }


def counts(samples: pa.Table) -> dict[str, Any]:
    """How many samples there are, how long they are, and how many were cut off, unparsable or not judged."""
    mean_tokens = pc.mean(samples["num_tokens"]).as_py()
    return {
        "num_samples": samples.num_rows,
        "num_not_judged": samples["correct"].null_count,
        "num_unparsable": samples.filter(pc.field("verdict") == Verdict.UNPARSABLE.value).num_rows,
        "num_cut_off": samples.filter(pc.field("stop_reason") == StopReason.LENGTH.value).num_rows,
        "mean_tokens": math.nan if mean_tokens is None else mean_tokens,
    }
