"""How long a suite will take: a short run of its control is timed, and the work of every run is counted."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from unsqueeze.config.load import check_recipe, merged
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import Interrupted, RunError
from unsqueeze.labs.grid import Cell, Job, PlannedPoint, PlannedRun
from unsqueeze.labs.pool import Pool
from unsqueeze.labs.runner import Live, Runner
from unsqueeze.progress import StopRequest
from unsqueeze.store.run_directory import RunDirectory

PROBE_STEPS = 12
PROBE_PROBLEMS = 8

RESAMPLED = 1.7
"""Groups taken to be generated for each that is trained on under dynamic sampling. An assumption: no results page holds
the number, and the time left is corrected by the runs that finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of the parts of a run, as one process of those that run side by side takes them."""

    start_s: float
    """A process until its run begins, and after it has ended."""
    generated_s: float
    """One training rollout: sampled, judged and stored."""
    updated_s: float
    """One row of one optimizer step."""
    evaluated_s: float
    """One sample of an evaluation."""
    rest_s: float
    """One RL step of everything else: gauges, reports, checkpoints."""

    def to_json_object(self) -> dict[str, Any]:
        return asdict(self)


def run_seconds(recipe: Recipe, pace: Pace, *, base: bool, num_train: int, num_test: int, num_validation: int) -> float:
    """Estimate the seconds of a run; ``base``: with the evaluation before training."""
    rl, evaluation = recipe.rl, recipe.evaluation
    rows = rl.prompts_per_step * rl.group_size
    resampled = RESAMPLED if rl.dynamic_sampling is not None and rl.dynamic_sampling.max_resample_times else 1.0
    irl_rows = 0
    if recipe.irl is not None:
        phases = sum(phase.kind == "irl" for phase in recipe.phases(num_train))
        irl_rows = phases * recipe.irl.steps * recipe.irl.batch_size
    steps = (
        set() if evaluation.every_steps is None else {*range(evaluation.every_steps, rl.steps, evaluation.every_steps)}
    )
    evaluated = (len(steps) + 1 + base) * num_test * evaluation.n
    saved = 0 if recipe.checkpoint.every_steps is None else (rl.steps - 1) // recipe.checkpoint.every_steps
    validated = (saved + 1) * num_validation * evaluation.validation_n
    return (
        pace.start_s
        + rl.steps * rows * (resampled * pace.generated_s + pace.updated_s)
        + irl_rows * pace.updated_s
        + (evaluated + validated) * pace.evaluated_s
        + rl.steps * pace.rest_s
    )


def planned_seconds(runs: Sequence[Job], pace: Pace, sizes: Mapping[str, int]) -> dict[str, float]:
    """Estimate the seconds of every run by its digest; equal evaluations before training are made by the first."""
    begun: set[str] = set()
    seconds: dict[str, float] = {}
    for run in runs:
        data = run.recipe.data
        if isinstance(run, PlannedPoint):
            num_samples = (data.num_test or sizes["test"]) * run.recipe.evaluation.n
            seconds[run.digest] = pace.start_s + num_samples * pace.evaluated_s
        elif run.digest not in seconds:
            seconds[run.digest] = run_seconds(
                run.recipe,
                pace,
                base=run.begins not in begun,
                num_train=data.num_train or sizes["train"],
                num_test=data.num_test or sizes["test"],
                num_validation=data.num_validation or 0,
            )
            begun.add(run.begins)
    return seconds


def wall_seconds(seconds: Sequence[float], jobs: int) -> float:
    """Return how long runs of these lengths take, ``jobs`` at a time, each given to whoever is free first."""
    free = [0.0] * max(jobs, 1)
    for each in seconds:
        free[free.index(min(free))] += each
    return max(free)


def probe(recipe: Recipe, slots: Sequence[Mapping[str, str]], stop: StopRequest) -> tuple[Pace, dict[str, int]]:
    """Time a short run of a recipe, as many at once as there will be; return the pace and how many problems there are.

    RunError or Interrupted where it does not come to its end.
    """
    changes: dict[str, Any] = {
        "rl": {"steps": PROBE_STEPS * recipe.rl.steps_per_generation},
        "irl": None,
        "data": {"num_validation": None, "validation_path": None},
        "evaluation": {"every_steps": None},
        "checkpoint": {"every_steps": None},
    }
    raw = merged(recipe.model_dump(exclude={"arms"}), changes)
    raw["data"]["num_test"] = min(raw["data"]["num_test"] or PROBE_PROBLEMS, PROBE_PROBLEMS)
    runs = [
        PlannedRun(Cell("probe"), seed, 1.0, "search", check_recipe(raw | {"seed": seed}, "of the probe"))
        for seed in range(len(slots))
    ]
    with tempfile.TemporaryDirectory(prefix="unsqueeze-lab-") as folder:
        pool = Pool(Path(folder))
        lives = [Live(run) for run in runs]
        Runner(pool, slots).work_off(lives, stop)
        for live in lives:
            if live.state == "failed":
                raise RunError(f"the run by which the time is estimated failed: {live.error}")
            if live.state != "finished":
                raise Interrupted
        paces = [_pace(RunDirectory.open(pool.path(live.run)), live.run.recipe, live.seconds) for live in lives]
        info = RunDirectory.open(pool.path(runs[0])).info["data"]
    return _mean(paces), {"train": info["num_train"], "test": info["num_test"]}


def _pace(directory: RunDirectory, recipe: Recipe, wall_s: float) -> Pace:
    """Take the parts of a finished probe from its journal and metrics."""
    times = {
        (event["event"], event.get("step")): datetime.fromisoformat(event["time"]) for event in directory.journal.read()
    }
    started, ended = times["started", None], times["finished", None]
    # The first evaluation also warms up; the last is what most of them are like.
    first_s, last_s = (float(directory.evals.record(step)["seconds"]) for step in (0, recipe.rl.steps))
    inside_s = (ended - started).total_seconds()
    steps = [record for record in directory.metrics.read() if record["kind"] == "rl"]
    generated_s = sum(
        step.get(name) or 0.0 for step in steps for name in ("generate_s", "verify_s", "logp_s", "store_s")
    )
    updated_s = sum(step["update_s"] for step in steps)
    rows = len(steps) * recipe.rl.prompts_per_step * recipe.rl.group_size
    samples = int(directory.info["data"]["num_test"]) * recipe.evaluation.n
    return Pace(
        start_s=max(wall_s - inside_s, 0.0),
        generated_s=generated_s / rows,
        updated_s=updated_s / rows,
        evaluated_s=last_s / samples,
        rest_s=max(inside_s - first_s - last_s - generated_s - updated_s, 0.0) / len(steps),
    )


def _mean(paces: Sequence[Pace]) -> Pace:
    names = asdict(paces[0])
    return Pace(**{name: fmean(getattr(pace, name) for pace in paces) for name in names})
