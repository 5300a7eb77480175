"""Find where a stopped run goes on, and the way out where something needed for that is damaged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.algos.schedule import Phase
from unsqueeze.errors import RunError
from unsqueeze.policy.policy import DTYPES
from unsqueeze.policy.reference import Reference
from unsqueeze.store.atomic import atomic_directory
from unsqueeze.training.checkpoint import remove_old_checkpoints
from unsqueeze.training.generate import generation_steps, stored_generation
from unsqueeze.training.phase_start import PhaseStart
from unsqueeze.training.run import Run
from unsqueeze.training.state import WEIGHTS, Cursor, Optimizers, load_state, save_policy, whole_state
from unsqueeze.training.stored import policy_fault


def resume(run: Run, optimizers: Optimizers, reference: Reference | None = None) -> tuple[Cursor, PhaseStart | None]:
    """Go on at the last checkpoint, with the metrics cut back to it, or at the very beginning. ``reference``: one that
    belongs to the state.

    Lines of metrics that are lost are warned of: nothing depends on them. RunError if a file needed from there on is
    damaged: it names the file and the newest checkpoint that is whole.
    """
    step = run.directory.checkpoints.latest()
    try:
        cursor, start = restore(run, optimizers, step, reference)
    except RunError as error:
        raise RunError(f"{error} {way_out(run, optimizers)}") from error
    kept = num_metrics(run, cursor)
    if kept < cursor.metrics_lines:
        run.progress.warn(
            f"{run.directory.metrics.path} has {kept} of the {cursor.metrics_lines} lines that were written up to step "
            f"{cursor.step}; the others are lost, and training goes on without them."
        )
    run.directory.metrics.truncate(kept)
    if step is not None:
        _write_policy_again(run, step, optimizers)
    remove_old_checkpoints(run)
    return cursor, start


def num_metrics(run: Run, cursor: Cursor) -> int:
    """Count the lines of metrics up to where training goes on, as far as they are there. RunError for a broken one."""
    phase = cursor.phase if cursor.phase_begun else cursor.phase - 1

    def belongs(line: Mapping[str, Any]) -> bool:
        return (line.get("phase"), line.get("step")) <= (phase, cursor.step)

    metrics = run.directory.metrics
    try:
        return metrics.num_leading(belongs, cursor.metrics_lines)
    except (RunError, TypeError) as error:
        said = error if isinstance(error, RunError) else f"{metrics.path} has a line without phase and step."
        raise RunError(
            f"{said} Training does not depend on this file: move it out of the run directory, and the resumed run goes "
            f"on without the metrics of the steps before."
        ) from error


def _write_policy_again(run: Run, step: int, optimizers: Optimizers) -> None:
    """Export the policy of the checkpoint just resumed from, where its export is missing or damaged."""
    folder = run.directory.checkpoints.path(step) / "policy"
    if run.policy.processes.on_main(lambda: policy_fault(folder)) is None:
        return
    weights = whole_state(run.policy, optimizers, None)[WEIGHTS]

    def write() -> None:
        if folder.exists():
            folder.replace(folder.with_name("policy.damaged"))
        with atomic_directory(folder) as aside:
            save_policy(aside, run.policy, DTYPES[run.recipe.checkpoint.dtype], weights)

    run.policy.processes.on_main(write)


def restore(
    run: Run, optimizers: Optimizers, step: int | None, reference: Reference | None = None
) -> tuple[Cursor, PhaseStart | None]:
    """Weights, optimizers, reference and cursor of the checkpoint after ``step``; nothing on disk changes.

    RunError if the checkpoint, or a rollout its phase still needs, is damaged.
    """
    if step is None:
        return Cursor(entropy_coefficient=run.recipe.rl.surrogate.entropy_coefficient), None
    folder = run.directory.checkpoints.path(step) / "state"
    cursor, start = load_state(folder, run.policy, optimizers, reference)
    phases = run.recipe.phases(len(run.train_problems))
    _check_place(folder / "state.json", cursor, step, phases)
    if cursor.phase_begun:
        firsts = generation_steps(phases[cursor.phase].first_step, cursor.step, 0, run.recipe.rl.steps_per_generation)
        # L2TE reads all rollouts of the phase, a plain RL phase the first ones for its report.
        for steps in firsts if run.recipe.irl else firsts[:1]:
            stored_generation(run, steps[0])
    return cursor, start


def _check_place(path: Path, cursor: Cursor, step: int, phases: Sequence[Phase]) -> None:
    """RunError naming the field of the file ``path`` that is not what it is after ``step`` of a run of these phases."""
    phase = sum(phase.complete and phase.last_step <= step for phase in phases)
    begun = phase < len(phases) and phases[phase].first_step <= step
    for name, expected in {"step": step, "phase": phase, "phase_begun": begun}.items():
        if getattr(cursor, name) != expected:
            raise RunError(
                f"{path} cannot be resumed from, it was edited or moved: {name} is {getattr(cursor, name)}, and after "
                f"step {step} it is {expected}."
            )


def way_out(run: Run, optimizers: Optimizers) -> str:
    """Say which checkpoints to move away so that the run can go on. Leaves the policy anyhow: the run cannot go on."""
    checkpoints = run.directory.checkpoints
    steps = checkpoints.steps()
    for step in reversed(steps[:-1]):
        try:
            restore(run, optimizers, step)
        except RunError:
            continue
        later = ", ".join(checkpoints.path(other).name for other in steps if other > step)
        return (
            f"Checkpoint {checkpoints.path(step).name} is whole: move {later} out of {checkpoints.folder}, and "
            f"the resumed run goes on from there with the rollouts that are stored."
        )
    return (
        f"No older checkpoint can be gone on from: move all that is in {checkpoints.folder} elsewhere, and "
        f"the resumed run repeats everything from its beginning with the rollouts that are stored."
    )
