"""What a report is about, as values: runs, evaluations, and how they compare."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unsqueeze.config.recipe import Recipe
from unsqueeze.metrics.comparison import Comparison
from unsqueeze.metrics.summary import Summary
from unsqueeze.metrics.tally import Tally
from unsqueeze.training.phase_report import PhaseReport

Role = Literal["control", "irl", "other"]
"""A side without IRL that others are measured by, one with IRL phases, or anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """An evaluation: of a run after an RL step, or by itself (``step`` None), with the counts of every problem."""

    step: int | None
    summary: Summary
    tally: Tally | None
    samples: Path | None
    similarity: float | None = None
    """Mean similarity of the answers to one problem (``metrics.diversity``); None where texts are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeReading:
    """Gauges of squeezing after an RL step, nats per token; ``phase`` is None before training."""

    step: int
    phase: int | None
    kind: str | None
    greedy_logp: float | None
    entropy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCost:
    """Time and tokens that the optimizer steps of a phase took, by what they were spent on."""

    phase: int
    kind: str
    sampled_tokens: int
    generate_s: float
    verify_s: float
    update_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run, or one evaluation or file of samples, as far as it can be read."""

    label: str
    path: Path
    seed: int | None = None
    recipe: Recipe | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    is_training: bool = False
    status: str = ""
    is_done: bool = True
    checkpoints: Sequence[Checkpoint] = ()
    validations: Mapping[int, Summary] = field(default_factory=dict)
    best_step: int | None = None
    gauges: Sequence[GaugeReading] = ()
    phases: Sequence[PhaseReport] = ()
    costs: Sequence[PhaseCost] = ()
    metrics: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Columns of the lines of metrics that are drawn, one value an RL step."""
    minutes: float | None = None
    warnings: Sequence[str] = ()
    missing: Sequence[str] = ()

    @property
    def last(self) -> Checkpoint | None:
        """The last evaluation there is."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def before(self) -> Checkpoint | None:
        """The evaluation of the model that training began with."""
        first = self.checkpoints[0] if self.checkpoints else None
        return first if first is not None and first.step == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What has one name: a run, or several trainings that differ in their seed, or an evaluation."""

    name: str
    role: Role
    runs: Sequence[RunRecord]

    @property
    def measured(self) -> list[RunRecord]:
        """The runs that have an evaluation."""
        return [run for run in self.runs if run.last is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrasted:
    """A comparison and whom it is of: ``other`` minus ``first``, and how many problems ``first`` solved of those both
    have (pairs of a problem and a seed where there are several seeds; None where that is not known).
    """

    first: str
    other: str
    comparison: Comparison
    num_solved_first: int | None


BASE = "base"
"""The name of the model that training began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a page shows but for rollouts."""

    title: str
    sides: Sequence[Side]
    against_base: Sequence[Contrasted]
    against_first: Sequence[Contrasted]
    notes: Sequence[str] = ()

    @property
    def runs(self) -> Iterator[tuple[Side, RunRecord]]:
        """Every run with its side."""
        return ((side, run) for side in self.sides for run in side.runs)

    @property
    def trainings(self) -> list[RunRecord]:
        return [run for _, run in self.runs if run.is_training]

    @property
    def ks(self) -> list[int]:
        """The ks that every evaluation has."""
        sets = [set(each.summary.pass_at) for _, run in self.runs for each in run.checkpoints]
        return sorted(set.intersection(*sets)) if sets else []

    @property
    def n(self) -> int:
        """The most samples a problem has."""
        return max((each.summary.max_samples for _, run in self.runs for each in run.checkpoints), default=0)
