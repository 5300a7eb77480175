"""Gauges of squeezing, measured on a model's samples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from unsqueeze.errors import UserError
from unsqueeze.evaluation.greedy import greedy_logp
from unsqueeze.evaluation.models import Source
from unsqueeze.evaluation.questions import Asked
from unsqueeze.evaluation.summarise import tally_of
from unsqueeze.metrics.diversity import num_distinct, trajectory_similarity
from unsqueeze.metrics.histogram import Bin, accuracy_histogram
from unsqueeze.metrics.intervals import Estimate, bootstrap_mean
from unsqueeze.rollout.types import StopReason
from unsqueeze.store.samples import Samples
from unsqueeze.verify.verdict import Verdict

Entropy = Callable[[Sequence[Any], Sequence[Sequence[str]], Sequence[Sequence[bool]]], float]
"""Function of prompts, their answers, and which of them the model ended: the mean entropy of the next token over all
their positions, nats.
"""

Similarity = Callable[[Sequence[str]], float]
"""Function of the answers to one problem: how alike they are, 1 where they are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The gauges of one model on one set of problems. Log-probs and entropy in nats per token, at temperature 1.

    NaN is what could not be known: entropy without the model, log-probs and lengths that a server does not give.
    ``similarity`` and ``distinct_correct`` are means over problems with 95 % intervals (``metrics.diversity``).

    Samples that were not judged count as wrong; ``avg_at_best`` is the accuracy were they all right. Problems whose
    gold answer cannot be read (``num_unreadable``) are in no number that depends on it.
    """

    num_problems: int
    num_samples: int
    avg: Estimate
    greedy_logp: float
    entropy: float
    similarity: Estimate
    distinct_correct: Estimate
    histogram: list[Bin]
    tokens_mean: float
    tokens_median: float
    tokens_max: float
    share_cut_off: float
    share_unparsable: float
    num_not_judged: int
    num_unreadable: int
    avg_at_best: float

    def to_json_object(self) -> dict[str, Any]:
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        estimates = {name: value.to_json_object() for name, value in values.items() if isinstance(value, Estimate)}
        return values | estimates | {"histogram": {each.label: each.num_problems for each in self.histogram}}


def diagnose_benchmark(
    source: Source,
    asked: Asked,
    samples: Samples,
    *,
    n: int,
    entropy: Entropy | None,
    similarity: Similarity = trajectory_similarity,
    seed: int,
    on_finished: Callable[[int], None],
    check_stop: Callable[[], None],
) -> Diagnosis:
    """Bring every problem to ``n`` stored samples, as an evaluation does, and measure. UserError for n below 2."""
    if n < 2:
        raise UserError(f"n is {n}; give 2 or more samples, similarity compares them.")
    source.draw(samples, asked, n, seed=seed, on_finished=on_finished, check_stop=check_stop)
    problems = asked.benchmark.problems
    table = samples.merge({asked.benchmark.name: [problem.id for problem in problems]})
    table = table.filter(pc.field("benchmark") == asked.benchmark.name)
    table = table.filter(pc.field("index") < n)
    columns = {name: table[name].to_pylist() for name in ("text", "verdict", "num_tokens", "stop_reason")}
    ended = [reason == StopReason.EOS.value for reason in columns["stop_reason"]]
    texts_PN = [columns["text"][place * n : (place + 1) * n] for place in range(len(problems))]
    verdicts_PN = np.array(columns["verdict"]).reshape(len(problems), n)
    correct_PN = verdicts_PN == Verdict.CORRECT.value
    open_PN = np.isin(verdicts_PN, [verdict.value for verdict in Verdict if not verdict.judged])
    tally = tally_of(table)
    readable = set(tally.problem_ids)
    readable_P = np.array([problem.id in readable for problem in problems])
    correct_P, open_P = correct_PN.sum(axis=1)[readable_P], open_PN.sum(axis=1)[readable_P]
    lengths = np.array([math.nan if one is None else one for one in columns["num_tokens"]], dtype=np.float64)
    task = asked.benchmark.task
    distinct_P = [
        num_distinct([task.canonical(problem, text) for text, right in zip(texts, correct_N, strict=True) if right])
        for problem, texts, correct_N in zip(problems, texts_PN, correct_PN, strict=True)
    ]
    similarity_P = [similarity(texts) for texts in texts_PN]
    least_alike = 0.0 if min(similarity_P) >= 0 else -1.0  # n-grams overlap from 0 on, cosines from -1
    return Diagnosis(
        num_problems=len(problems),
        num_samples=int(lengths.size),
        avg=bootstrap_mean(correct_P / n, bounds=(0.0, 1.0), seed=seed),
        greedy_logp=greedy_logp(
            source.sampler,
            asked.prompts,
            asked.sampling,
            on_finished=lambda _: check_stop(),
        ),
        entropy=math.nan
        if entropy is None
        else entropy(asked.prompts, texts_PN, [ended[place * n : (place + 1) * n] for place in range(len(problems))]),
        similarity=bootstrap_mean(np.array(similarity_P), bounds=(least_alike, 1.0), seed=seed),
        distinct_correct=bootstrap_mean(
            np.array(distinct_P, dtype=np.float64)[readable_P], bounds=(0.0, float(n)), seed=seed
        ),
        histogram=accuracy_histogram(np.full(correct_P.size, n), correct_P),
        tokens_mean=float(lengths.mean()),
        tokens_median=float(np.median(lengths)),
        tokens_max=float(lengths.max()),
        share_cut_off=float(np.mean([reason == StopReason.LENGTH.value for reason in columns["stop_reason"]])),
        share_unparsable=float((verdicts_PN == Verdict.UNPARSABLE.value).mean()),
        num_not_judged=int(open_P.sum()),
        num_unreadable=int((~readable_P).sum()),
        avg_at_best=float(np.mean((correct_P + open_P) / n)) if correct_P.size else math.nan,
    )
