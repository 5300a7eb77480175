"""Algorithm 1, top to bottom: RL over the data, IRL on the rollouts it gave, RL again from the reshaped policy.

A run goes on after a stop by running this loop again from its last checkpoint: what is stored since then (rollouts,
demonstrations, evaluations) is read back instead of made again, and since every random draw is seeded by name, nothing
differs from a run that was never stopped.
"""

from dataclasses import replace

from unsqueeze.algos.schedule import Phase
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.policy.reference import Reference
from unsqueeze.track.tracker import TrackedRun
from unsqueeze.track.tracking import run_id
from unsqueeze.training.checkpoint import is_due, save_checkpoint
from unsqueeze.training.evaluation import evaluate_policy, test_set, validation_set
from unsqueeze.training.generate import generate, generation_steps
from unsqueeze.training.irl_phase import choose_demonstrations, irl_phase
from unsqueeze.training.measure import finish_phase, first_rollouts, mean_nll, start_phase
from unsqueeze.training.phase_report import PhaseReport, PhaseStart
from unsqueeze.training.resume import resume
from unsqueeze.training.rl_step import rl_step
from unsqueeze.training.run import Run
from unsqueeze.training.state import Cursor, Optimizers
from unsqueeze.training.stream import ProblemStream

NLL_ROWS = 128
"""Rows of a phase's own batch on which its report measures the NLL."""


def train(run: Run, *, reference: Reference | None) -> list[PhaseReport]:
    """Run every phase of the recipe that is not done yet; returns the reports of those.

    Evaluations and checkpoints of step s are of the policy that goes on from there: after the IRL phase, where one
    follows step s. Raises Interrupted, with the weights whole, if the user asks to stop.
    """
    optimizers = make_optimizers(run)
    cursor, start = resume(run, optimizers)
    begin_tracking(run, cursor)
    stream = ProblemStream(run.train_problems, seed=run.recipe.seed, position=cursor.problems_taken)
    reports: list[PhaseReport] = []
    if cursor.step == 0:
        evaluate_policy(run, test_set(run), step=0)
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


def begin_tracking(run: Run, cursor: Cursor) -> None:
    """Start the trackers of the recipe, or go on with them behind the lines of metrics that a checkpoint kept.

    The main process alone has any.
    """
    recipe, path = run.recipe, run.directory.path
    if recipe.trackers and run.policy.processes.is_main:
        tracked = TrackedRun(
            id=run_id(path),
            project=recipe.tracking.project,
            name=recipe.tracking.name or f"{recipe.name}/{path.name}",
            path=path,
            recipe=recipe.model_dump(mode="json"),
            first_step=cursor.metrics_lines + 1 if cursor.step else 0,
        )
        run.tracking.open(tracked)


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
    with run.progress.work(f"phase {phase.number}: RL", phase.last_step - phase.first_step + 1) as advance:
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
    """Evaluate and save after the step, where the recipe wants it; both at the end in any case.

    What is saved was validated just before, so that of every checkpoint it is known how good it is.
    """
    is_last = cursor.step == run.recipe.rl.steps
    every_steps = run.recipe.evaluation.every_steps
    if is_last or (every_steps and cursor.step % every_steps == 0):
        evaluate_policy(run, test_set(run), step=cursor.step)
    if is_due(run.recipe.checkpoint, cursor.step, last=is_last, phase_end=not cursor.phase_begun):
        evaluate_policy(run, validation_set(run), step=cursor.step)
        save_checkpoint(run, cursor, stream.position, optimizers, start)


def phase_fields(phase: Phase) -> dict[str, object]:
    return {"phase": phase.number, "kind": phase.kind, "first_step": phase.first_step, "last_step": phase.last_step}
