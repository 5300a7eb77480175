"""The interface of a tracker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """One run in one service. Whatever it raises switches it off, and nothing else."""

    def last_step(self, kind: str) -> int | None:
        """The last step of which the service holds values under ``kind/``; None where it has none or cannot tell."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hold these values, named ``kind/name``, under a step. Steps never fall."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """The run as trackers know it. ``id`` is its own for ever: a resumed run goes on under it.

    Values under steps from ``first_step`` on are about to come; what a service holds of those is of work that was lost
    with a killed process and is done again.
    """

    id: str
    project: str
    name: str
    path: Path
    recipe: Mapping[str, Any]
    first_step: int
