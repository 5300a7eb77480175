"""The arms of a recipe, one after the other, and the table that sets them side by side."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from unsqueeze.cli.progress import TerminalProgress
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.train.loop import train
from unsqueeze.train.phase_report import PhaseReport
from unsqueeze.train.progress import Interrupted, StopRequest
from unsqueeze.train.setup import load_parts, start_run

TABLE_KS = (8, 32, 128)


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One line of the final table, from the evaluations stored in the arm's directory."""

    name: str
    path: Path
    before: dict[str, Any]
    after: dict[str, Any]
    minutes: float
    reports: list[PhaseReport]


def train_arms(recipe: Recipe, arms: Mapping[str, Recipe], directory: Path, console: Console) -> bool:
    """Train every arm and print the table. False if the user stopped it.

    All arms are loaded once before the first is trained, so that a mistake in the last is found in the first second.
    """
    paths = {name: directory / name if recipe.arms else directory for name in arms}
    for path in (directory, *paths.values()):
        if (path / "run.json").exists():
            raise UserError(f"{path} holds a run already; name another directory with --run.")
    for arm in arms.values():
        load_parts(arm)
    stop = StopRequest()
    results: list[ArmResult] = []
    with TerminalProgress(console) as progress, stop.listening():
        for name, arm in arms.items():
            progress.say(
                f"{name}: {arm.rl.steps} RL steps of {arm.rl.prompts_per_step} × {arm.rl.group_size} rollouts"
                f" in {paths[name]}"
            )
            try:
                results.append(train_arm(name, arm, paths[name], progress, stop))
            except Interrupted:
                progress.warn(f"stopped as asked. What was done is in {paths[name]}.")
                return False
    console.print(results_table(results))
    for result in results:
        for report in result.reports:
            if warning := report.warning():
                progress.warn(f"{result.name}: {warning}")
        console.print(f"{result.name}: {result.path}", markup=False, highlight=False, soft_wrap=True)
    return True


def train_arm(name: str, recipe: Recipe, path: Path, progress: TerminalProgress, stop: StopRequest) -> ArmResult:
    """Train one arm in its directory; on a stop, journal it and let the exception through."""
    start = time.perf_counter()
    parts = load_parts(recipe)
    run = start_run(recipe, parts, path, progress=progress, stop=stop, extra={"arm": name})
    try:
        reports = train(run, reference=parts.reference)
        run.directory.journal.append("finished", seconds=time.perf_counter() - start)
    except (Interrupted, KeyboardInterrupt):
        run.directory.journal.append("interrupted", policy_version=run.policy.version)
        raise Interrupted from None
    finally:
        run.judge.close()
        run.engine.close()
        run.directory.close()
    return ArmResult(
        name=name,
        path=path,
        before=run.directory.evals.summary(0),
        after=run.directory.evals.summary(recipe.rl.steps),
        minutes=(time.perf_counter() - start) / 60,
        reports=reports,
    )


def results_table(results: Sequence[ArmResult]) -> Table:
    """base, then a line an arm: Avg@n, Pass@k with 95 % intervals over problems, greedy log-prob, minutes."""
    first = results[0].before
    num_samples = max(map(int, first["pass_at"]))
    ks = sorted({k for k in TABLE_KS if k < num_samples} | {num_samples})
    table = Table(
        title=f"{first['n_problems']} held-out problems, {num_samples} samples each, temperature {first['temperature']}"
    )
    table.add_column("")
    for heading in (f"Avg@{num_samples}", *(f"Pass@{k}" for k in ks)):
        table.add_column(f"{heading} [95 %]", justify="right")
    table.add_column("greedy log-prob", justify="right")
    table.add_column("minutes", justify="right")
    table.add_row("base", *_cells(first, ks), "")
    for result in results:
        table.add_row(result.name, *_cells(result.after, ks), f"{result.minutes:.1f}")
    return table


def _cells(summary: Mapping[str, Any], ks: Sequence[int]) -> list[str]:
    avg = f"{summary['avg']:.3f} [{summary['avg_low']:.3f}, {summary['avg_high']:.3f}]"
    passes = [summary["pass_at"][str(k)] for k in ks]
    return [
        avg,
        *(f"{e['mean']:.3f} [{e['low']:.3f}, {e['high']:.3f}]" for e in passes),
        f"{summary['greedy_logp']:.3f}",
    ]
