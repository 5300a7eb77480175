"""Trainings compared along their paths: every evaluation of a run is a point of the plane (Avg@n, Pass@k)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from unsqueeze.api.judging import Source, tally_of_source, verifier_of
from unsqueeze.errors import UserError
from unsqueeze.evaluation.measured import check_same_problems
from unsqueeze.evaluation.sides import paired_by_seed, sides_of
from unsqueeze.metrics.plane import REFERENCE, Path, PathComparison, PathSummary, Plane
from unsqueeze.metrics.tally import Tally, called_alike
from unsqueeze.progress import Progress, Silent
from unsqueeze.store.evals import EvalWriter


@dataclass(frozen=True, slots=True)
class Paths:
    """The path of every side, and of every side after the first its gaps to the first, by its name.

    ``steps`` are the RL steps of a path's points; None where a side is a single evaluation of no run.
    """

    k: int
    num_problems: int
    steps: Mapping[str, Sequence[int | None]]
    paths: Mapping[str, PathSummary]
    against_first: Mapping[str, PathComparison]

    def to_json_object(self) -> dict[str, object]:
        """Return everything; what is undefined is null."""
        points = {
            name: [
                {"step": step, "avg": point.avg.to_json_object(), "pass_at_k": point.pass_at_k.to_json_object()}
                for step, point in zip(self.steps[name], path.points, strict=True)
            ]
            for name, path in self.paths.items()
        }
        return {
            "k": self.k,
            "n_problems": self.num_problems,
            "paths": {
                name: {
                    "n_seeds": path.num_seeds,
                    "points": points[name],
                    "hypervolume": path.hypervolume.to_json_object(),
                }
                for name, path in self.paths.items()
            },
            "first": next(iter(self.paths)),
            "against_first": {name: each.to_json_object() for name, each in self.against_first.items()},
        }


def compare_paths(
    sides: Sequence[str] | Mapping[str, Source | list[Any]],
    *,
    k: int | None = None,
    reference: tuple[float, float] = REFERENCE,
    by: str = "benchmark",
    credit: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Paths:
    """Compare the paths of runs: hypervolume of each, and gaps in Pass@k at equal Avg@n to the path of the first side.

    ``sides`` are as for ``compare_all``; of a run, every complete evaluation is a point, of several seeds those that
    all of them have. Other samples are a single point. ``k`` is by default the fewest samples of a problem. Intervals
    are over problems and seeds. UserError where there is no problem that all evaluations have.
    """
    shown = progress or Silent()
    found = dict(sides) if isinstance(sides, Mapping) else sides_of(list(sides))
    if len(found) < 2:
        raise UserError(f"compare: two sides or more are needed, and {', '.join(found) or 'nothing'} is given.")
    named = [(name, side if isinstance(side, list) else [side]) for name, side in found.items()]
    sources = dict(zip(found, paired_by_seed(named), strict=True))
    points = {name: _points(name, list(dict.fromkeys(side)), shown) for name, side in sources.items()}
    total = sum(len(each) for of_side in points.values() for each in of_side.values())
    read: list[tuple[str, int | None, Tally]] = []
    with (
        verifier_of(credit, workers, timeout_s, memory_mb) as verifier,
        shown.work("reading evaluations", total) as advance,
    ):
        for name, of_side in points.items():
            for step, files in of_side.items():
                for file in files:
                    read.append((name, step, tally_of_source(file, verifier, None, by, Silent(), skip_bad=skip_bad)))
                    advance(1)
        alike = called_alike([tally for _, _, tally in read])
        for tally in alike:
            check_same_problems(alike[0], tally, verifier)
    tallies: dict[str, dict[int | None, list[Tally]]] = {name: {} for name in found}
    for (name, step, _), tally in zip(read, alike, strict=True):
        tallies[name].setdefault(step, []).append(tally)
    unreadable = {key for tally in alike for key in tally.unreadable}
    everywhere = set.intersection(*(set(tally.keys) for tally in alike)) - unreadable
    keys = [key for key in alike[0].keys if key in everywhere]
    if not keys:
        raise UserError(f"{', '.join(found)} have no problem that all their evaluations hold; evaluate the same ones.")
    paths = {name: _path(of_side, keys) for name, of_side in tallies.items()}
    fewest = min(int(path.num_samples_SFP.min()) for path in paths.values())
    wanted = fewest if k is None else k
    plane = Plane(paths, wanted, strata=[benchmark for benchmark, _ in keys], reference=reference, seed=seed)
    first, *others = paths
    return Paths(
        k=wanted,
        num_problems=len(keys),
        steps={name: list(of_side) for name, of_side in tallies.items()},
        paths={name: plane.summary(name) for name in paths},
        against_first={name: plane.compare(name, first) for name in others},
    )


def _points(name: str, runs: Sequence[Any], progress: Progress) -> dict[int | None, list[Any]]:
    """What to read for every point of a side, one a seed, by its step; None for what is no run."""
    by_run: list[dict[int | None, Any]] = []
    for run in runs:
        writer = EvalWriter(FilePath(run) / "evals") if isinstance(run, str | FilePath) else None
        steps = writer.steps() if writer else []
        by_run.append({step: str(writer.samples_path(step)) for step in steps} if writer and steps else {None: run})
    shared = [step for step in by_run[0] if all(step in each for each in by_run)]
    if not shared:
        raise UserError(f"{name}: its runs have no evaluation after the same step; a path is the mean of its seeds.")
    if left_out := sorted({str(step) for each in by_run for step in each if step not in shared}):
        progress.warn(f"{name}: left out are evaluations that not every seed has, after step {', '.join(left_out)}")
    return {step: [each[step] for each in by_run] for step in shared}


def _path(by_step: Mapping[int | None, Sequence[Tally]], keys: Sequence[tuple[str, str]]) -> Path:
    """The counts of the problems ``keys`` by seed and point."""
    samples, correct = [], []
    for tallies in by_step.values():
        places = [{key: place for place, key in enumerate(tally.keys)} for tally in tallies]
        rows = [[of_seed[key] for key in keys] for of_seed in places]
        samples.append([tally.num_samples_P[row] for tally, row in zip(tallies, rows, strict=True)])
        correct.append([tally.num_correct_P[row] for tally, row in zip(tallies, rows, strict=True)])
    return Path(np.array(correct).swapaxes(0, 1), np.array(samples).swapaxes(0, 1))
