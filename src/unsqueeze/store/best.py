"""Find the best checkpoint: read off the stored evaluations on validation problems, so there is no record to lose."""

import math
from dataclasses import dataclass

from unsqueeze.errors import RunError
from unsqueeze.metrics.summary import Summary
from unsqueeze.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best checkpoint, and on what it was chosen: Avg@n, and Pass@n between equals, of the validation problems."""

    step: int
    num_problems: int
    n: int
    avg: float
    pass_at_n: float

    @property
    def rank(self) -> tuple[float, float, int]:
        """Greater is better: by Avg@n, then Pass@n, then the earlier step. What is not known is worst."""
        return (_or_worst(self.avg), _or_worst(self.pass_at_n), -self.step)


def best_checkpoint(directory: RunDirectory) -> Best | None:
    """The best of the checkpoints that are there and were validated; None without validation problems.

    RunError naming a stored evaluation that is damaged.
    """
    steps = set(directory.checkpoints.steps()) & set(directory.validation.steps())
    try:
        candidates = [_candidate(step, directory.validation.summary(step)) for step in sorted(steps)]
    except RunError as error:
        raise RunError(
            f"{directory.validation.folder} holds an evaluation that cannot be read: {error!s:.300} The best "
            f"checkpoint is chosen by them; move that file out of the run directory, and its checkpoint is not one of "
            f"the candidates."
        ) from error
    return max(candidates, key=lambda candidate: candidate.rank, default=None)


def _candidate(step: int, summary: Summary) -> Best:
    n = max(summary.pass_at)
    return Best(
        step=step,
        num_problems=summary.n_problems,
        n=n,
        avg=summary.avg.mean,
        pass_at_n=summary.pass_at[n].mean,
    )


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
