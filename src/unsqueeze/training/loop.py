"""Algorithm 1, top to bottom: RL over the data, IRL on the rollouts it gave, RL again from the reshaped policy.

A run goes on after a stop by running this loop again from its last checkpoint: what is stored since then (rollouts,
demonstrations, evaluations) is read back instead of made again, and since every random draw is seeded by name, nothing
differs from a run that was never stopped.
"""

from collections.abc import Sequence
from dataclasses import replace

from unsqueeze.algos.schedule import Phase, cycles
from unsqueeze.policy.batch import Row
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.policy.reference import Reference
from unsqueeze.training.base_rollouts import right_base_rows
from unsqueeze.training.checkpoint import is_due, save_checkpoint
from unsqueeze.training.demonstrations import choose_demonstrations
from unsqueeze.training.evaluation import evaluate_policy, test_set, validation_set
from unsqueeze.training.gauges import gauge_start
from unsqueeze.training.generate import generate, generation_steps
from unsqueeze.training.irl_phase import irl_phase
from unsqueeze.training.measure import finish_phase, first_rollouts, mean_nll, mean_nll_at, num_nll_rows, start_phase
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.phase_start import PhaseStart, snapshot
from unsqueeze.training.resume import resume
from unsqueeze.training.rl_step import rl_step
from unsqueeze.training.run import Run
from unsqueeze.training.state import Optimizers
from unsqueeze.training.stream import ProblemStream
from unsqueeze.training.tracked import begin_tracking


def train(run: Run, *, reference: Reference | None) -> list[PhaseReport]:
    """Run every phase of the recipe that is not done yet; returns the reports of those.

    Evaluations and checkpoints of step s are of the policy that goes on from there: after the IRL phase, where one
    follows step s. Raises Interrupted, with the weights whole, if the user asks to stop.
    """
    if 0 not in run.directory.evals.steps() and run.directory.checkpoints.latest() is not None:
        evaluate_policy(run, test_set(run), step=0)  # it was lost, and the weights are still those training began with
    training = Training(run, reference)
    if run.policy.processes.is_main:
        begin_tracking(run.tracking, run.recipe, run.directory.path, training.cursor)
    if training.cursor.step == 0:
        evaluate_policy(run, test_set(run), step=0)
        gauge_start(run)
    for cycle in cycles(run.recipe.phases(len(run.train_problems)), done=training.cursor.phase):
        if cycle.rl is not None:
            training.rl(cycle.rl)  # Eq. 3: policy gradients on verifiable rewards
        if cycle.irl is not None:
            training.irl(cycle.irl)  # Eq. 4: likelihood of the phase's own unlikely rollouts (L2TE)
        training.finish_step()
    if training.cursor.step not in run.directory.evals.steps():
        evaluate_policy(run, test_set(run), step=training.cursor.step)  # likewise, of a run that was done
    return training.reports


class Training:
    """Progress of a run, and what goes with it from phase to phase."""

    def __init__(self, run: Run, reference: Reference | None) -> None:
        self.run = run
        self.reference = reference
        self.optimizers = make_optimizers(run)
        self.cursor, self.start = resume(run, self.optimizers, self._kept_reference)
        if self.start is not None:
            run.watch.stopwatch = self.start.stopwatch
        self.stream = ProblemStream(run.train_problems, seed=run.recipe.seed, position=self.cursor.problems_taken)
        self.base_rows = right_base_rows(run)
        self.reports: list[PhaseReport] = []

    @property
    def _kept_reference(self) -> Reference | None:
        """The reference, where it belongs to the state of the run: others are known from elsewhere."""
        return None if self.run.recipe.rl.reset is None else self.reference

    def rl(self, phase: Phase) -> None:
        """Take the RL steps of a phase that are not done yet, and report what they did."""
        run, start = self.run, self._begin(phase)
        if self.reference is not None and run.recipe.rl.reference == "iteration":
            self.reference.set_weights(start.weights)
        generations = generation_steps(
            phase.first_step, phase.last_step, self.cursor.step, run.recipe.rl.steps_per_generation
        )
        with run.progress.work(f"phase {phase.number}: RL", phase.last_step - phase.first_step + 1) as advance:
            advance(max(0, self.cursor.step - phase.first_step + 1))
            for steps in generations:
                run.stop.check()
                batches = generate(run, self.stream, steps, phase=phase.number)
                for batch in (batch for batch in batches if batch.step > self.cursor.step):
                    run.stop.check()
                    self._reset(batch.step)
                    coefficient = rl_step(
                        run,
                        self.optimizers.rl,
                        self.reference,
                        batch,
                        phase,
                        self.cursor.entropy_coefficient,
                        self.base_rows,
                    )
                    advance(1)
                    self.cursor = replace(
                        self.cursor,
                        step=batch.step,
                        phase=phase.number,
                        phase_begun=True,
                        entropy_coefficient=coefficient,
                    )
                    if batch.step < phase.last_step:
                        self.finish_step()
        rows = first_rollouts(run, phase, num_nll_rows(run))
        with start.stopwatch.running():
            nll_before = mean_nll_at(run, start, rows)
        self._end(phase, rows, nll_before)

    def irl(self, phase: Phase) -> None:
        """Choose demonstrations, take the IRL updates, and report what they did."""
        start = self._begin(phase)
        demonstrations = choose_demonstrations(self.run, phase, self.reference)
        rows = demonstrations[: num_nll_rows(self.run)]
        with start.stopwatch.running():
            nll_before = mean_nll(self.run, rows)
        irl_phase(self.run, phase, start, demonstrations, self.optimizers.irl)
        self._end(phase, rows, nll_before)

    def finish_step(self) -> None:
        """Evaluate and save after the step, where the recipe wants it; both at the end in any case.

        What is saved was validated just before, so that of every checkpoint it is known how good it is.
        """
        run, step = self.run, self.cursor.step
        is_last = step == run.recipe.rl.steps
        every_steps = run.recipe.evaluation.every_steps
        if is_last or (every_steps and step % every_steps == 0):
            evaluate_policy(run, test_set(run), step=step)
        if is_due(run.recipe.checkpoint, step, last=is_last, phase_end=not self.cursor.phase_begun):
            evaluate_policy(run, validation_set(run), step=step)
            save_checkpoint(run, self.cursor, self.stream.position, self.optimizers, self.start, self._kept_reference)

    def _reset(self, step: int) -> None:
        """Before a step that follows a multiple of ``rl.reset.every_steps``: the policy as it is becomes the reference,
        and the RL optimizer forgets.
        """
        settings = self.run.recipe.rl.reset
        if settings is None or step == 1 or (step - 1) % settings.every_steps:
            return
        if self.reference is not None:
            self.reference.set_weights(snapshot(self.run.policy))
        if settings.optimizer:
            self.optimizers.rl.state.clear()
        self.run.directory.journal.append("reset", step=step, optimizer=settings.optimizer)

    def _begin(self, phase: Phase) -> PhaseStart:
        """Remember the policy as it is, unless a stopped run goes on inside the phase."""
        if self.start is None:
            version = self.run.policy.version
            self.run.directory.journal.append("phase_started", **phase_fields(phase), policy_version=version)
            self.start = start_phase(self.run, phase)
        return self.start

    def _end(self, phase: Phase, rows: Sequence[Row], nll_before: float) -> None:
        assert self.start is not None
        self.reports.append(finish_phase(self.run, phase, self.start, rows, nll_before))
        if not phase.complete:
            return  # the last checkpoint is one inside the phase, from which a longer run goes on
        self.start = None
        self.cursor = replace(self.cursor, phase=phase.number + 1, phase_begun=False)


def make_optimizers(run: Run) -> Optimizers:
    """The RL optimizer, and the IRL optimizer where its state lives on from phase to phase."""
    irl = run.recipe.irl
    return Optimizers(
        rl=make_optimizer(run.policy, run.recipe.rl),
        irl=make_optimizer(run.policy, irl) if irl and irl.optimizer_state == "persistent" else None,
    )


def phase_fields(phase: Phase) -> dict[str, object]:
    return {"phase": phase.number, "kind": phase.kind, "first_step": phase.first_step, "last_step": phase.last_step}
