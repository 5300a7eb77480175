"""What ``unsqueeze train`` says before it trains: that everything was tried, and what the run will need."""

import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.estimate import Estimate
from unsqueeze.cost.units import in_bytes, in_time
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.training.preflight import free_space, preflight
from unsqueeze.training.setup import load_parts


def check_arms(
    arms: Mapping[str, Recipe], paths: Mapping[str, Path], console: Console, processes: Processes = ONE
) -> None:
    """Try every arm before the first is trained, so that a mistake in the last is found in the first seconds.

    Raises UserError or RunError saying what is wrong.
    """
    for name, arm in arms.items():
        begun = time.perf_counter()
        with processes.agreeing():
            parts = load_parts(arm, processes)
        estimate = preflight(arm, parts, paths[name])
        seconds = time.perf_counter() - begun
        for line in plan_lines(arm, estimate, paths[name], seconds):
            console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)


def plan_lines(recipe: Recipe, estimate: Estimate, path: Path, seconds: float) -> list[str]:
    """The plan of one arm in a few lines."""
    work, disk = estimate.workload, estimate.disk
    rl, irl = recipe.rl, recipe.irl
    phases = f"{work.rl_phases} RL" + (f" and {work.irl_phases} IRL" if irl else "")
    updates = f", {work.irl_updates} IRL updates" if irl else ""
    return [
        f"{phases} phase{'s' if work.rl_phases + work.irl_phases > 1 else ''}: {rl.steps} RL steps of "
        f"{rl.prompts_per_step} × {rl.group_size} rollouts{updates}; {work.evaluations} evaluations of "
        f"{work.problems_per_evaluation} × {recipe.evaluation.n} samples; {work.checkpoints} "
        f"checkpoint{'s' if work.checkpoints > 1 else ''}",
        f"estimated: {in_bytes(estimate.memory.peak)} of memory, {in_time(estimate.duration.total)} "
        f"({estimate.duration.irl_share:.1%} of RL's for IRL), {in_bytes(disk.total)} of disk "
        f"({in_bytes(free_space(path))} free); how: docs/planning.md",
        f"tried in {seconds:.1f} s: data, prompts, model, gold answers, a generation, a loss",
    ]
