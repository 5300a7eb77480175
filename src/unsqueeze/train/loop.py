"""Algorithm 1, top to bottom: RL over the data, IRL on the rollouts it gave, RL again from the reshaped policy.

A run goes on after a stop by running this loop again from its last checkpoint: what is stored since then (rollouts,
demonstrations, evaluations) is read back instead of made again, and since every random draw is seeded by name, nothing
differs from a run that was never stopped.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from unsqueeze.algos.schedule import Phase
from unsqueeze.evaluate.evaluate import evaluate
from unsqueeze.train.generate import check_judged, generate, generation_steps
from unsqueeze.train.irl_phase import choose_demonstrations, irl_phase
from unsqueeze.train.measure import finish_phase, first_rollouts, mean_nll, start_phase
from unsqueeze.train.optimize import make_optimizer
from unsqueeze.train.phase_report import PhaseReport, PhaseStart
from unsqueeze.train.policy import DTYPES
from unsqueeze.train.reference import Reference
from unsqueeze.train.resume import resume
from unsqueeze.train.rl_step import rl_step
from unsqueeze.train.run import Run
from unsqueeze.train.state import Cursor, Optimizers, save_policy, save_state
from unsqueeze.train.stream import ProblemStream

NLL_ROWS = 128
"""Rows of a phase's own batch on which its report measures the NLL."""


def train(run: Run, *, reference: Reference | None) -> list[PhaseReport]:
    """Run every phase of the recipe that is not done yet; returns the reports of those.

    Evaluations and checkpoints of step s are of the policy that goes on from there: after the IRL phase, where one
    follows step s. Raises Interrupted, with the weights whole, if the user asks to stop.
    """
    optimizers = make_optimizers(run)
    cursor, start = resume(run, optimizers)
    stream = ProblemStream(run.train_problems, seed=run.recipe.seed, position=cursor.problems_taken)
    reports: list[PhaseReport] = []
    if cursor.step == 0:
        evaluate_policy(run, step=0)
    phases = run.recipe.phases(len(run.train_problems))
    for phase in phases[cursor.phase :]:
        if start is None:
            run.directory.journal.append("phase_started", **phase_fields(phase), policy_version=run.policy.version)
            start = start_phase(run, phase)
        if phase.kind == "rl":
            cursor = rl_phase(run, phase, start, cursor, stream, optimizers, reference)
            rows, nll_before = first_rollouts(run, phase, NLL_ROWS)
        else:
            demonstrations = choose_demonstrations(run, phase)
            rows = demonstrations[:NLL_ROWS]
            nll_before = mean_nll(run, rows)
            irl_phase(run, phase, start, demonstrations, optimizers.irl)
        reports.append(finish_phase(run, phase, start, rows, nll_before))
        start = None
        cursor = replace(cursor, phase=phase.number + 1, phase_begun=False)
        irl_follows = any(later.kind == "irl" and later.last_step == cursor.step for later in phases[cursor.phase :])
        if not irl_follows:
            finish_step(run, cursor, stream, optimizers, start)
    return reports


def rl_phase(
    run: Run,
    phase: Phase,
    start: PhaseStart,
    cursor: Cursor,
    stream: ProblemStream,
    optimizers: Optimizers,
    reference: Reference | None,
) -> Cursor:
    """The RL steps of a phase that are not done yet; returns how far training is."""
    if reference is not None and run.recipe.rl.reference == "iteration":
        reference.set_weights(start.weights)
    generations = generation_steps(phase.first_step, phase.last_step, cursor.step, run.recipe.rl.steps_per_generation)
    with run.progress.task(f"phase {phase.number}: RL", phase.last_step - phase.first_step + 1) as advance:
        advance(max(0, cursor.step - phase.first_step + 1))
        for steps in generations:
            run.stop.check()
            batches = generate(run, stream, steps, phase=phase.number)
            for batch in (batch for batch in batches if batch.step > cursor.step):
                run.stop.check()
                rl_step(run, optimizers.rl, reference, batch, phase=phase.number)
                advance(1)
                cursor = replace(cursor, step=batch.step, phase=phase.number, phase_begun=True)
                if batch.step < phase.last_step:
                    finish_step(run, cursor, stream, optimizers, start)
    return cursor


def make_optimizers(run: Run) -> Optimizers:
    """The RL optimizer, and the IRL optimizer where its state lives on from phase to phase."""
    irl = run.recipe.irl
    return Optimizers(
        rl=make_optimizer(run.policy, run.recipe.rl),
        irl=make_optimizer(run.policy, irl) if irl and irl.optimizer_state == "persistent" else None,
    )


def finish_step(
    run: Run, cursor: Cursor, stream: ProblemStream, optimizers: Optimizers, start: PhaseStart | None
) -> None:
    """Evaluate and save after the step, where the recipe wants it; both at the end in any case."""
    is_last = cursor.step == run.recipe.rl.steps
    evaluation, checkpoint = run.recipe.evaluation, run.recipe.checkpoint
    if is_last or (evaluation.every_steps and cursor.step % evaluation.every_steps == 0):
        evaluate_policy(run, step=cursor.step)
    if is_last or (checkpoint.every_steps and cursor.step % checkpoint.every_steps == 0):
        save_checkpoint(run, cursor, stream, optimizers, start)


def evaluate_policy(run: Run, *, step: int) -> None:
    """Avg@n, Pass@k and the greedy log-prob on the held-out problems, stored; one that is stored is not made again."""
    if step in run.directory.evals.steps():
        return
    settings = run.recipe.evaluation
    begun = time.perf_counter()
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
    check_judged([sample.verdict for sample in evaluation.samples], f"the evaluation after step {step}")
    summary = evaluation.to_json_object() | {
        "step": step,
        "policy_version": run.policy.version,
        "temperature": settings.temperature,
        "seconds": time.perf_counter() - begun,
    }
    run.directory.evals.write(step, evaluation.samples, summary)
    run.directory.journal.append("evaluated", step=step, avg=summary["avg"], greedy_logp=summary["greedy_logp"])
    run.progress.gauge(evaluation.greedy_logp)
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


def save_checkpoint(
    run: Run, cursor: Cursor, stream: ProblemStream, optimizers: Optimizers, start: PhaseStart | None
) -> None:
    """The policy in Hugging Face format and the state to go on from, complete or absent; older ones may go."""
    if cursor.step in run.directory.checkpoints.steps():
        return
    dtype = DTYPES[run.recipe.checkpoint.dtype]
    cursor = replace(
        cursor,
        policy_version=run.policy.version,
        problems_taken=stream.position,
        metrics_lines=len(run.directory.metrics.read()),
    )

    def write(aside: Path) -> None:
        save_policy(aside / "policy", run.policy, dtype)
        save_state(aside / "state", cursor, run.policy, optimizers, start)

    path = run.directory.checkpoints.save(cursor.step, write)
    run.directory.journal.append("checkpoint", step=cursor.step, policy_version=cursor.policy_version, path=path.name)
    if run.recipe.checkpoint.keep_last is not None:
        run.directory.checkpoints.retain(run.recipe.checkpoint.keep_last)


def phase_fields(phase: Phase) -> dict[str, object]:
    return {"phase": phase.number, "kind": phase.kind, "first_step": phase.first_step, "last_step": phase.last_step}
