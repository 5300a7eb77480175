"""Evaluations of a run in training, on its test problems and on its validation problems, stored apart."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unsqueeze.errors import RunError
from unsqueeze.evaluation.benchmarks import Benchmark
from unsqueeze.evaluation.calls import ROWS_A_CALL, have_of, whole
from unsqueeze.evaluation.draw import draw
from unsqueeze.evaluation.greedy import greedy_logp
from unsqueeze.evaluation.questions import Asked
from unsqueeze.evaluation.summarise import describe_unjudged, summarise_samples
from unsqueeze.metrics.summary import Summary, powers_of_two_up_to
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.samples import EvalSample
from unsqueeze.tasks.hub import PREFIX, parse_source
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.generate import check_judged
from unsqueeze.training.run import Run
from unsqueeze.verify.verdict import Verdict
from unsqueeze.verify.verifiers import name_of


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
    """Return the problems that the run's results are measured on; nothing is chosen by it."""
    return HeldOut(
        name="evaluation",
        event="evaluated",
        benchmark=_benchmark(run, run.recipe.data.test_path),
        problems=run.test_problems,
        n=run.recipe.evaluation.n,
        store=run.directory.evals,
    )


def validation_set(run: Run) -> HeldOut:
    """Return the problems that the best checkpoint is chosen by; may be empty."""
    return HeldOut(
        name="validation",
        event="validated",
        benchmark=_benchmark(run, run.recipe.data.validation_path or run.recipe.data.train_path),
        problems=run.validation_problems,
        n=run.recipe.evaluation.validation_n,
        store=run.directory.validation,
    )


def _benchmark(run: Run, path: str | None) -> str:
    if path is None:
        return run.task.name
    return parse_source(path).name if path.startswith(PREFIX) else Path(path).stem


def evaluate_policy(run: Run, held_out: HeldOut, *, step: int) -> None:
    """Avg@n, Pass@k and the greedy log-prob on held-out problems, stored; one that is stored is not made again.

    Samples are stored as they come: an evaluation that was stopped goes on with those it lacks.
    """
    if not held_out.problems:
        return
    if step in held_out.store.steps():
        run.tracking.evaluation(held_out.name, step, held_out.store.summary(step))
        return
    begun = time.perf_counter()
    run.engine.sync(run.policy)
    asked = asked_of(run, held_out)
    seed = run.seed(held_out.name, step)
    draw_samples(run, held_out, asked, step, seed)
    ids = [problem.id for problem in held_out.problems]
    samples = held_out.store.merge(step, held_out.benchmark, ids)
    try:
        check_judged(list(map(Verdict, samples["verdict"].to_pylist())), f"the {held_out.name} after step {step}")
    except RunError:
        held_out.store.discard(step)
        raise
    summary = summarise_samples(samples, powers_of_two_up_to(held_out.n), seed=seed % 2**32)
    peaked = greedy_logp(
        run.engine,
        asked.prompts,
        asked.sampling,
        on_finished=lambda _: run.stop.check_alone(),
    )
    summary = replace(summary, greedy_logp=peaked, benchmarks={})
    record = summary.to_json_object() | {
        "step": step,
        "policy_version": run.policy.version,
        "temperature": run.recipe.evaluation.temperature,
        "seconds": time.perf_counter() - begun,
    }
    held_out.store.finish(step, record)
    run.directory.journal.append(held_out.event, step=step, avg=summary.avg.mean, greedy_logp=peaked)
    run.tracking.evaluation(held_out.name, step, summary)
    run.progress.gauge(peaked)
    run.progress.say(f"step {step}, {held_out.name}: {describe_evaluation(summary)}")
    for callback in run.callbacks:
        callback.on_evaluation(held_out.name, step, summary)


def asked_of(run: Run, held_out: HeldOut) -> Asked:
    """Return the problems as an evaluation asks them."""
    benchmark = Benchmark(
        name=held_out.benchmark,
        task=run.task,
        problems=tuple(held_out.problems),
        source="run",
        sha256=None,
        asks=run.task.asks,
    )
    return Asked(
        benchmark=benchmark,
        prompts=[run.prompt_tokens(problem) for problem in held_out.problems],
        sampling=run.evaluation_sampling,
        verifier=run.verifier,
        verifier_name=name_of(run.verifier),
    )


def draw_samples(run: Run, held_out: HeldOut, asked: Asked, step: int, seed: int) -> None:
    """Bring every problem to n samples on the disk, and show what is known of them so far."""
    problems, n = held_out.problems, held_out.n
    have = have_of([problem.id for problem in problems], held_out.store.keys(step, held_out.benchmark))
    rows = run.recipe.rollout.max_rows * run.policy.processes.size
    # Where the engine samples from the training weights, a call is what is lost when a run is killed, and what is drawn
    # after that is what would have been, to the bit.
    has_own_weights = run.engine.policy_version is not None
    rows *= ROWS_A_CALL if has_own_weights else 1
    calls = whole(have, n, [len(prompt) for prompt in asked.prompts], rows, seed)
    seen: Counter[Verdict] = Counter()

    def on_judged(samples: Sequence[EvalSample]) -> None:
        seen.update(sample.verdict for sample in samples)
        readable = seen.total() - seen[Verdict.UNREADABLE_GOLD]
        share = seen[Verdict.CORRECT] / readable if readable else math.nan
        run.progress.step({"kind": "evaluation", "avg": share, "num_samples": seen.total()})

    label = f"step {step}: {held_out.name} on {len(problems)} problems × {n}"
    with run.progress.work(label, len(problems) * n) as advance:
        advance(sum(map(len, have)))
        draw(
            StepSink(held_out.store, step),
            run.engine,
            asked,
            calls,
            on_finished=advance,
            on_judged=on_judged,
            check_stop=run.stop.check,
            agree=run.policy.processes.any if run.policy.processes.size > 1 else None,
            in_parts=has_own_weights,
        )


@dataclass(frozen=True, slots=True)
class StepSink:
    """Stores samples under a step."""

    store: EvalWriter
    step: int

    def add(self, samples: Sequence[EvalSample]) -> None:
        self.store.add(self.step, samples)


def describe_evaluation(summary: Summary) -> str:
    """Describe it for a person while it trains."""
    largest = summary.max_k
    estimate = summary.pass_at[largest]
    known = estimate.low == estimate.low
    interval = f" [{estimate.low:.3f}, {estimate.high:.3f}]" if known else ""
    return (
        f"Avg {summary.avg.mean:.3f}, Pass@{largest} {estimate.mean:.3f}{interval}, "
        f"greedy log-prob {summary.greedy_logp:.3f} nats/token"
        + "".join(f"; {words}" for words in describe_unjudged(summary))
    )
