"""n answers to every problem, judged, and what they add up to."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unsqueeze.metrics.summary import Summary, powers_of_two_up_to, summarise
from unsqueeze.rollout.types import Answer, Completion, Engine, Sampler, Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.store.evals import EvalSample
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict, Verifier


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every sample, what they add up to, and the mean log-prob of the greedy answers (nats per token, Table 6)."""

    samples: list[EvalSample]
    summary: Summary
    greedy_logp: float
    num_not_judged: int

    def to_json_object(self) -> dict[str, object]:
        return self.summary.to_json_object() | {
            "greedy_logp": self.greedy_logp,
            "num_samples": len(self.samples),
            "num_not_judged": self.num_not_judged,
        }


def evaluate(
    engine: Engine,
    verifier: Verifier,
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[int]],
    *,
    n: int,
    sampling: Sampling,
    seed: int,
    on_finished: Callable[[int], None] | None = None,
) -> Evaluation:
    """Sample n answers to each problem, judge them, and estimate Avg@n and Pass@k for k = 1, 2, 4, …, n.

    ``prompts`` are the token ids of the problems, in their order. Answers that could not be judged are left out of the
    estimates and counted.
    """
    groups = engine.generate(prompts, n, sampling, seeds=prompt_seeds(seed, len(prompts)), on_finished=on_finished)
    judgements = verifier.verify(
        [problem for problem in problems for _ in range(n)],
        [completion.text for completions in groups for completion in completions],
    )
    placed = [
        (problem, index, completion)
        for problem, completions in zip(problems, groups, strict=True)
        for index, completion in enumerate(completions)
    ]
    samples = [
        eval_sample(problem, index, completion, judgement)
        for (problem, index, completion), judgement in zip(placed, judgements, strict=True)
    ]
    judged_PN = np.array([sample.verdict.judged for sample in samples]).reshape(len(problems), n)
    correct_PN = np.array([sample.verdict is Verdict.CORRECT for sample in samples]).reshape(len(problems), n)
    summary = summarise(judged_PN.sum(axis=1), correct_PN.sum(axis=1), powers_of_two_up_to(n), seed=seed % 2**32)
    return Evaluation(
        samples=samples,
        summary=summary,
        greedy_logp=greedy_logp(engine, prompts, max_tokens=sampling.max_tokens, stop=sampling.stop),
        num_not_judged=int((~judged_PN).sum()),
    )


def eval_sample(problem: Problem, index: int, completion: Completion | Answer, judgement: Judgement) -> EvalSample:
    """One judged answer as it is stored."""
    return EvalSample(
        problem_id=problem.id,
        index=index,
        text=completion.text,
        verdict=judgement.verdict,
        extracted=judgement.extracted,
        reason=judgement.reason,
        num_tokens=completion.num_tokens,
        mean_logp=completion.mean_logp,
        stop_reason=completion.stop_reason,
    )


def greedy_logp(engine: Sampler, prompts: Sequence[Any], *, max_tokens: int, stop: tuple[str, ...] = ()) -> float:
    """Mean log-prob of the greedy answers: over an answer's tokens, then over prompts; nats per token (Table 6).

    NaN where a server gives no log-probs.
    """
    groups = engine.generate(
        prompts, 1, Sampling(max_tokens=max_tokens, temperature=0.0, stop=stop), seeds=prompt_seeds(0, len(prompts))
    )
    means = [completions[0].mean_logp for completions in groups]
    return float(np.mean([math.nan if mean is None else mean for mean in means]))
