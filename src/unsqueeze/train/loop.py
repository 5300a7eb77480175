"""Algorithm 1, top to bottom: RL over the data, IRL on the rollouts it gave, RL again from the reshaped policy."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unsqueeze.algos.schedule import Phase
from unsqueeze.evaluate.evaluate import evaluate, greedy_logp
from unsqueeze.train.batch import Row
from unsqueeze.train.irl_phase import choose_demonstrations, irl_steps
from unsqueeze.train.optimize import make_optimizer
from unsqueeze.train.phase_report import PhaseReport, phase_report, snapshot, weight_change
from unsqueeze.train.policy import DTYPES, Policy
from unsqueeze.train.probe import ProbeSamples
from unsqueeze.train.rl_phase import rl_step
from unsqueeze.train.run import Run
from unsqueeze.train.stream import ProblemStream

NLL_ROWS = 128
"""Rows of a phase's own batch on which its report measures the NLL."""


@dataclass(frozen=True, slots=True, eq=False)
class PhaseStart:
    """What is remembered of the moment a phase began, to tell afterwards what it did."""

    weights: Mapping[str, Tensor]
    samples: ProbeSamples
    greedy_logp: float
    version: int
    clock: float


def train(run: Run, *, reference: Policy | None) -> list[PhaseReport]:
    """Run every phase of the recipe; returns the phase reports.

    Evaluations and checkpoints of step s are of the policy that goes on from there: after the IRL phase, where one
    follows step s. Raises Interrupted, with the weights whole, if the user asks to stop.
    """
    stream = ProblemStream(run.train_problems, seed=run.recipe.seed)
    optimizer = make_optimizer(run.policy, run.recipe.rl)
    phases = run.recipe.phases(len(run.train_problems))
    reports: list[PhaseReport] = []
    evaluate_policy(run, step=0)
    for phase in phases:
        run.directory.journal.append("phase_started", **phase_fields(phase), policy_version=run.policy.version)
        start = phase_start(run, phase)
        if phase.kind == "rl":
            irl_follows = run.recipe.irl is not None
            with run.progress.task(f"phase {phase.number}: RL", phase.last_step - phase.first_step + 1) as advance:
                for step in range(phase.first_step, phase.last_step + 1):
                    run.stop.check()
                    problems = stream.take(run.recipe.rl.prompts_per_step)
                    rl_step(run, optimizer, reference, problems, phase=phase.number, step=step)
                    advance(1)
                    if not (irl_follows and step == phase.last_step):
                        finish_step(run, step, stream)
            rows, nll_before = first_rollouts(run, phase)
            report = finish_phase(run, phase, start, rows, nll_before)
        else:
            assert run.recipe.irl is not None
            _, demonstrations = choose_demonstrations(run, run.recipe.irl, phase)
            rows = demonstrations[:NLL_ROWS]
            nll_before = mean_nll(run, rows)
            irl_steps(run, run.recipe.irl, phase, demonstrations)
            report = finish_phase(run, phase, start, rows, nll_before)
            finish_step(run, phase.last_step, stream)
        reports.append(report)
    return reports


def phase_start(run: Run, phase: Phase) -> PhaseStart:
    """Remember the policy as it is now: its weights, samples of it, how peaked it is."""
    return PhaseStart(
        weights=snapshot(run.policy),
        samples=run.probe.sample(run.engine, run.policy, seed=run.seed("probe", phase.number)),
        greedy_logp=probe_greedy_logp(run),
        version=run.policy.version,
        clock=time.perf_counter(),
    )


def finish_phase(run: Run, phase: Phase, start: PhaseStart, own_rows: Sequence[Row], nll_before: float) -> PhaseReport:
    """Measure what the phase did, write it to the journal, and warn if it did nothing."""
    seconds = time.perf_counter() - start.clock
    report = phase_report(
        phase,
        weight_change(run.policy, start.weights),
        num_updates=run.policy.version - start.version,
        seconds=seconds,
        nll=(nll_before, mean_nll(run, own_rows)),
        kl_moved=run.probe.kl_moved(run.policy, start.samples),
        greedy_logp=(start.greedy_logp, probe_greedy_logp(run)),
    )
    run.directory.journal.append("phase_finished", **report.to_json_object())
    warning = report.warning()
    if warning:
        run.progress.warn(warning)
    return report


def probe_greedy_logp(run: Run) -> float:
    """The mean log-prob of greedy answers to the watched prompts, nats per token; also shown."""
    value = greedy_logp(run.engine, run.probe.prompts, max_tokens=run.probe.max_tokens)
    run.progress.gauge(value)
    return value


def finish_step(run: Run, step: int, stream: ProblemStream) -> None:
    """Evaluate and save after step ``step``, where the recipe wants it; both at the end in any case."""
    is_last = step == run.recipe.rl.steps
    evaluation, checkpoint = run.recipe.evaluation, run.recipe.checkpoint
    if is_last or (evaluation.every_steps and step % evaluation.every_steps == 0):
        evaluate_policy(run, step=step)
    if is_last or (checkpoint.every_steps and step % checkpoint.every_steps == 0):
        save_checkpoint(run, step, stream)


def evaluate_policy(run: Run, *, step: int) -> None:
    """Avg@n, Pass@k and the greedy log-prob on the held-out problems, stored; samples and summary."""
    settings = run.recipe.evaluation
    start = time.perf_counter()
    label = f"step {step}: evaluation on {len(run.test_problems)} problems × {settings.n}"
    with run.progress.task(label, len(run.test_problems) * settings.n) as advance:

        def on_finished(count: int) -> None:
            run.stop.check()
            advance(count)

        evaluation = evaluate(
            run.engine,
            run.judge,
            run.test_problems,
            [run.prompt_tokens(problem) for problem in run.test_problems],
            n=settings.n,
            sampling=run.evaluation_sampling,
            seed=run.seed("evaluation", step),
            on_finished=on_finished,
        )
    summary = evaluation.to_json_object() | {
        "step": step,
        "policy_version": run.policy.version,
        "temperature": settings.temperature,
        "seconds": time.perf_counter() - start,
    }
    run.directory.evals.write(step, evaluation.samples, summary)
    run.directory.journal.append("evaluated", step=step, avg=summary["avg"], greedy_logp=summary["greedy_logp"])
    run.progress.say(describe_evaluation(summary))


def describe_evaluation(summary: Mapping[str, object]) -> str:
    """One line a person reads while it trains."""
    pass_at = summary["pass_at"]
    assert isinstance(pass_at, Mapping)
    largest = max(pass_at, key=int)
    estimate = pass_at[largest]
    return (
        f"step {summary['step']}: Avg {summary['avg']:.3f}, Pass@{largest} {estimate['mean']:.3f} "
        f"[{estimate['low']:.3f}, {estimate['high']:.3f}], greedy log-prob {summary['greedy_logp']:.3f} nats/token"
    )


def save_checkpoint(run: Run, step: int, stream: ProblemStream) -> None:
    """The policy in Hugging Face format, complete or absent."""
    dtype = DTYPES[run.recipe.checkpoint.dtype]
    path = run.directory.checkpoints.save(step, lambda aside: run.policy.save(aside / "policy", dtype=dtype))
    run.directory.journal.append(
        "checkpoint", step=step, policy_version=run.policy.version, position=stream.position, path=path.name
    )


def first_rollouts(run: Run, phase: Phase) -> tuple[list[Row], float]:
    """The first rollouts of an RL phase, with their mean NLL under the policy that sampled them (nats per token)."""
    rollouts = [rollout for group in run.directory.rollouts.read(phase.first_step) for rollout in group.rollouts]
    rollouts = rollouts[:NLL_ROWS]
    rows = [
        Row(prompt_tokens=rollout.prompt_tokens, tokens=rollout.completion.tokens, weight=0.0) for rollout in rollouts
    ]
    logp_M = np.concatenate([rollout.completion.logp_behaviour for rollout in rollouts])
    return rows, -float(np.mean(logp_M, dtype=np.float64))


@torch.no_grad()
def mean_nll(run: Run, rows: Sequence[Row]) -> float:
    """Mean NLL of the rows' tokens under the policy as it is, nats per token; NaN without rows."""
    if not rows:
        return float("nan")
    logp = run.policy.score(rows, max_tokens=run.recipe.rl.tokens_per_microbatch)
    return -float(np.mean(np.concatenate(logp), dtype=np.float64))


def phase_fields(phase: Phase) -> dict[str, object]:
    return {"phase": phase.number, "kind": phase.kind, "first_step": phase.first_step, "last_step": phase.last_step}
