"""How wide a model still is: what squeezing would show in, measured on its samples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unsqueeze.errors import UserError
from unsqueeze.evaluation.evaluate import greedy_logp
from unsqueeze.metrics.diversity import normalised, num_distinct, trajectory_similarity
from unsqueeze.metrics.histogram import Bin, accuracy_histogram
from unsqueeze.metrics.intervals import Estimate, bootstrap_mean
from unsqueeze.rollout.types import Sampler, Sampling, StopReason
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.countdown import parse_prompt
from unsqueeze.tasks.countdown_solutions import canonical_solution
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.countdown import parse_steps
from unsqueeze.verify.verdict import Verdict, Verifier

Entropy = Callable[[Sequence[Any], Sequence[Sequence[Any]]], float]
"""Of prompts and their completions: the mean entropy of the next token over all their positions, nats."""

Similarity = Callable[[Sequence[str]], float]
"""Of the answers to one problem: how alike they are, 1 where they are the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The gauges of one model on one set of problems. Log-probs and entropy in nats per token, at temperature 1.

    NaN is what could not be known: entropy without the model, log-probs and lengths that a server does not give.
    ``similarity`` and ``distinct_correct`` are means over problems with 95 % intervals (``metrics.diversity``).
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

    def to_json_object(self) -> dict[str, Any]:
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        estimates = {name: value.to_json_object() for name, value in values.items() if isinstance(value, Estimate)}
        return values | estimates | {"histogram": {each.label: each.num_problems for each in self.histogram}}


def diagnose(
    engine: Sampler,
    verifier: Verifier,
    problems: Sequence[Problem],
    prompts: Sequence[Any],
    *,
    n: int,
    sampling: Sampling,
    entropy: Entropy | None,
    similarity: Similarity = trajectory_similarity,
    seed: int,
    on_finished: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Sample n answers to each problem and measure. UserError for n below 2."""
    if n < 2:
        raise UserError(f"diagnose: n is {n}; similarity needs at least 2 answers a problem.")
    groups = engine.generate(prompts, n, sampling, seeds=prompt_seeds(seed, len(prompts)), on_finished=on_finished)
    judgements = verifier.verify(
        [problem for problem in problems for _ in range(n)], [one.text for group in groups for one in group]
    )
    verdicts_PN = np.array([judgement.verdict.value for judgement in judgements]).reshape(len(problems), n)
    correct_PN = verdicts_PN == Verdict.CORRECT.value
    judged_PN = ~np.isin(verdicts_PN, [verdict.value for verdict in Verdict if not verdict.judged])
    judged_P, correct_P = judged_PN.sum(axis=1), correct_PN.sum(axis=1)
    lengths = np.array(
        [math.nan if one.num_tokens is None else one.num_tokens for group in groups for one in group], dtype=np.float64
    )
    distinct_P = [
        num_distinct([solution(problem, one.text) for one, right in zip(group, correct_N, strict=True) if right])
        for problem, group, correct_N in zip(problems, groups, correct_PN, strict=True)
    ]
    similarity_P = [similarity([one.text for one in group]) for group in groups]
    least_alike = 0.0 if min(similarity_P) >= 0 else -1.0  # n-grams overlap from 0 on, cosines from -1
    some_P = judged_P > 0
    return Diagnosis(
        num_problems=len(problems),
        num_samples=int(lengths.size),
        avg=bootstrap_mean(correct_P[some_P] / judged_P[some_P], bounds=(0.0, 1.0), seed=seed),
        greedy_logp=greedy_logp(engine, prompts, max_tokens=sampling.max_tokens, stop=sampling.stop),
        entropy=math.nan if entropy is None else entropy(prompts, groups),
        similarity=bootstrap_mean(np.array(similarity_P), bounds=(least_alike, 1.0), seed=seed),
        distinct_correct=bootstrap_mean(np.array(distinct_P, dtype=np.float64), bounds=(0.0, float(n)), seed=seed),
        histogram=accuracy_histogram(judged_P, correct_P),
        tokens_mean=float(lengths.mean()),
        tokens_median=float(np.median(lengths)),
        tokens_max=float(lengths.max()),
        share_cut_off=float(np.mean([one.stop_reason is StopReason.LENGTH for group in groups for one in group])),
        share_unparsable=float((verdicts_PN == Verdict.UNPARSABLE.value).mean()),
        num_not_judged=int((~judged_PN).sum()),
    )


def solution(problem: Problem, text: str) -> str:
    """A right answer as something that equal solutions share: the canonical form in Countdown, else the bare text."""
    if problem.task != "countdown":
        return normalised(text)
    steps = parse_steps(text)
    assert steps is not None, "a right answer to Countdown is a list of steps"
    return canonical_solution(parse_prompt(problem.prompt)[0], steps)
