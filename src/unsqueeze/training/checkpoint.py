"""Save checkpoints when they are due, and remove those that need not stay."""

from collections.abc import Set
from dataclasses import asdict, replace
from pathlib import Path

from unsqueeze.config.run_settings import CheckpointSettings
from unsqueeze.policy.policy import DTYPES
from unsqueeze.policy.reference import Reference
from unsqueeze.store.best import best_checkpoint
from unsqueeze.training.phase_start import PhaseStart
from unsqueeze.training.run import Run
from unsqueeze.training.state import WEIGHTS, Cursor, Optimizers, save_policy, save_state, whole_state


def is_due(settings: CheckpointSettings, step: int, *, last: bool, phase_end: bool) -> bool:
    """Tell whether a checkpoint is to be saved after ``step``: every so many, at phase ends if asked for, and at the
    end.
    """
    regular = settings.every_steps is not None and step % settings.every_steps == 0
    return last or regular or (settings.keep_phase_ends and phase_end)


def save_checkpoint(
    run: Run,
    cursor: Cursor,
    position: int,
    optimizers: Optimizers,
    start: PhaseStart | None,
    reference: Reference | None = None,
) -> None:
    """The policy in Hugging Face format and the state to go on from, complete or absent; older ones may go.

    ``position`` counts the problems that were handed out. ``reference``: one that belongs to the state.
    """
    if cursor.step in run.directory.checkpoints.steps():
        return
    cursor = replace(
        cursor,
        policy_version=run.policy.version,
        problems_taken=position,
        metrics_lines=run.directory.metrics.num_lines(),
    )

    state = whole_state(run.policy, optimizers, start, reference)

    def write(aside: Path) -> None:
        save_policy(aside / "policy", run.policy, DTYPES[run.recipe.checkpoint.dtype], state[WEIGHTS])
        save_state(aside / "state", cursor, state, start)

    run.directory.metrics.sync()
    path = run.directory.checkpoints.save(cursor.step, write)
    run.directory.journal.append("checkpoint", step=cursor.step, policy_version=cursor.policy_version, path=path.name)
    best = best_checkpoint(run.directory)
    if best is not None and best.step == cursor.step:
        run.directory.journal.append("best", **asdict(best))
    remove_old_checkpoints(run)


def remove_old_checkpoints(run: Run) -> None:
    """Remove what neither ``checkpoint.keep_last`` nor ``lasting_steps`` keeps."""
    if run.recipe.checkpoint.keep_last is not None:
        run.directory.checkpoints.retain(run.recipe.checkpoint.keep_last, lasting_steps(run))


def lasting_steps(run: Run) -> Set[int]:
    """Steps whose checkpoints stay whatever follows: the best by the validation problems, and phase ends if asked."""
    best = best_checkpoint(run.directory)
    steps = set() if best is None else {best.step}
    if run.recipe.checkpoint.keep_phase_ends:
        steps |= {phase.last_step for phase in run.recipe.phases(len(run.train_problems))}
    return steps
