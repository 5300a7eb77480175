"""Evaluations of a run in training, on its test problems and on its validation problems, stored apart."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unsqueeze.evaluation.evaluate import evaluate
from unsqueeze.store.evals import EvalWriter
from unsqueeze.tasks.hub import PREFIX, parse_source
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.generate import check_judged
from unsqueeze.training.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Problems never trained on, n answers to be sampled for each.

    ``name`` goes into the seeds and the messages, ``benchmark`` into the samples: as ``unsqueeze eval`` would call it.
    """

    name: str
    event: str
    benchmark: str
    problems: Sequence[Problem]
    n: int
    store: EvalWriter


def test_set(run: Run) -> HeldOut:
    """What the run's results are measured on; nothing is chosen by it."""
    return HeldOut(
        name="evaluation",
        event="evaluated",
        benchmark=_benchmark(run, run.recipe.data.test_path),
        problems=run.test_problems,
        n=run.recipe.evaluation.n,
        store=run.directory.evals,
    )


def validation_set(run: Run) -> HeldOut:
    """What the best checkpoint is chosen by; may be empty."""
    return HeldOut(
        name="validation",
        event="validated",
        benchmark=_benchmark(run, run.recipe.data.validation_path or run.recipe.data.train_path),
        problems=run.validation_problems,
        n=run.recipe.evaluation.validation_n,
        store=run.directory.validation,
    )


def _benchmark(run: Run, path: str | None) -> str:
    if run.recipe.data.kind == "countdown" or path is None:
        return "countdown"
    return parse_source(path).name if path.startswith(PREFIX) else Path(path).stem


def evaluate_policy(run: Run, held_out: HeldOut, *, step: int) -> None:
    """Avg@n, Pass@k and the greedy log-prob on held-out problems, stored; one that is stored is not made again."""
    if not held_out.problems:
        return
    if step in held_out.store.steps():
        run.tracking.evaluation(held_out.name, held_out.store.summary(step))
        return
    begun = time.perf_counter()
    run.engine.sync(run.policy)
    label = f"step {step}: {held_out.name} on {len(held_out.problems)} problems × {held_out.n}"
    with run.progress.work(label, len(held_out.problems) * held_out.n) as advance:

        def on_finished(count: int) -> None:
            run.stop.check_alone()
            advance(count)

        evaluation = evaluate(
            run.engine,
            run.verifier,
            held_out.problems,
            [run.prompt_tokens(problem) for problem in held_out.problems],
            n=held_out.n,
            sampling=run.evaluation_sampling,
            seed=run.seed(held_out.name, step),
            on_finished=on_finished,
        )
    check_judged([sample.verdict for sample in evaluation.samples], f"the {held_out.name} after step {step}")
    summary = evaluation.to_json_object() | {
        "step": step,
        "policy_version": run.policy.version,
        "temperature": run.recipe.evaluation.temperature,
        "seconds": time.perf_counter() - begun,
    }
    held_out.store.write(
        step,
        evaluation.samples,
        summary,
        benchmark=held_out.benchmark,
        golds={problem.id: problem.answer for problem in held_out.problems},
    )
    run.directory.journal.append(held_out.event, step=step, avg=summary["avg"], greedy_logp=summary["greedy_logp"])
    run.tracking.evaluation(held_out.name, summary)
    run.progress.gauge(evaluation.greedy_logp)
    run.progress.say(f"step {step}, {held_out.name}: {describe_evaluation(summary)}")


def describe_evaluation(summary: Mapping[str, object]) -> str:
    """What a person reads of it while it trains."""
    pass_at = summary["pass_at"]
    assert isinstance(pass_at, Mapping)
    largest = max(pass_at, key=int)
    estimate = pass_at[largest]
    return (
        f"Avg {summary['avg']:.3f}, Pass@{largest} {estimate['mean']:.3f} "
        f"[{estimate['low']:.3f}, {estimate['high']:.3f}], greedy log-prob {summary['greedy_logp']:.3f} nats/token"
    )
