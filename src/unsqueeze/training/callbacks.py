"""Code of the user's own that a run calls as it goes."""

from collections.abc import Mapping
from typing import Any

from unsqueeze.metrics.summary import Summary
from unsqueeze.training.phase_report import PhaseReport


class Callback:
    """A subclass overrides what it wants to know of. With several processes every process calls its own.

    What a callback raises ends the run as any error does; what is on disk stays whole. A resumed run repeats the steps
    after its last checkpoint, and calls again.
    """

    def on_step(self, record: Mapping[str, Any]) -> None:
        """An optimizer step is done; the record is its line of metrics."""

    def on_phase(self, report: PhaseReport) -> None:
        """A phase is done and measured."""

    def on_evaluation(self, kind: str, step: int, summary: Summary) -> None:
        """An ``evaluation`` or a ``validation`` after an RL step is done and stored."""
