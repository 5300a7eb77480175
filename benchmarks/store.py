"""What it costs that nothing is lost: the store's share of an RL step of the quickstart.

    python benchmarks/store.py --out docs/results/store-cpu.md

Trains the quickstart's control (16 prompts × 8 rollouts, the embedded model) several times for some steps, by the loop
itself, and times inside it whatever writes: rollouts (Parquet, fsynced, renamed), the line of metrics, the journal. A
step is the time from one line of metrics to the next; the first two of a run warm up. Saving a checkpoint is timed
apart and spread over the 100 steps between two of them. Both the clock's time and the CPU's are taken: the first has
the waiting for the disk in it, the second does not mind a busy machine. A cell gives the median over the runs, smallest
and largest.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pages import deliver, made_by, median_and_range
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.journal import JsonLines
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.training.loop import train
from unsqueeze.training.setup import load_parts, open_directory, put_together

WARM_UP = 2
CHECKPOINT_EVERY = 100
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "CPU": time.process_time}


class Watch:
    """Seconds spent in the store so far, by kind and clock, and where each step ended."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(((kind, clock) for kind in ("step", "checkpoint") for clock in CLOCKS), 0.0)
        self.step_ends: list[dict[tuple[str, str], float]] = []

    def timed(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            begun = {clock: now() for clock, now in CLOCKS.items()}
            result = function(*arguments, **keywords)
            for clock, now in CLOCKS.items():
                self.spent[kind, clock] += now() - begun[clock]
            if function is APPEND and arguments[0].path.name == "metrics.jsonl":
                self.step_ends.append(dict(self.spent) | {("now", clock): now() for clock, now in CLOCKS.items()})
            return result

        return call


APPEND = JsonLines.append
WRITE = RolloutWriter.write
SAVE = Checkpoints.save


def measure(recipe: Recipe, path: Path) -> dict[tuple[str, str], float]:
    """One run: seconds a step of ("store", clock) and ("step", clock), and of ("checkpoint", clock) for saving one."""
    watch = Watch()
    parts = load_parts(recipe)
    JsonLines.append = watch.timed(APPEND, "step")  # type: ignore[method-assign]
    RolloutWriter.write = watch.timed(WRITE, "step")  # type: ignore[method-assign]
    Checkpoints.save = watch.timed(SAVE, "checkpoint")  # type: ignore[method-assign]
    try:
        with closing(open_directory(recipe, parts, path)) as directory:
            train(
                put_together(recipe, parts, directory, progress=Silent(), stop=StopRequest()), reference=parts.reference
            )
    finally:
        JsonLines.append, RolloutWriter.write, Checkpoints.save = APPEND, WRITE, SAVE  # type: ignore[method-assign]
    first, last = watch.step_ends[WARM_UP - 1], watch.step_ends[-1]
    steps = len(watch.step_ends) - WARM_UP
    return {
        (name, clock): (last[key, clock] - first[key, clock]) / steps
        for clock in CLOCKS
        for name, key in (("store", "step"), ("step", "now"))
    } | {("checkpoint", clock): watch.spent["checkpoint", clock] for clock in CLOCKS}


def report(runs: list[dict[tuple[str, str], float]], steps: int) -> str:
    """The result as Markdown."""
    lines = [
        "# What the store takes of an RL step",
        "",
        f"{made_by('torch', 'pyarrow')} {len(runs)} runs of {steps} steps after {WARM_UP} that warm up; median "
        "[smallest, largest].",
        "",
        "| clock | a step, ms | store, ms | store, % of the step | with checkpoints, % | a checkpoint, ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for clock in CLOCKS:
        columns = [
            [1e3 * run["step", clock] for run in runs],
            [1e3 * run["store", clock] for run in runs],
            [100 * run["store", clock] / run["step", clock] for run in runs],
            [
                100 * (run["store", clock] + run["checkpoint", clock] / CHECKPOINT_EVERY) / run["step", clock]
                for run in runs
            ],
            [1e3 * run["checkpoint", clock] for run in runs],
        ]
        cells = [median_and_range(column, 2) for column in columns]
        lines.append(f"| {clock} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps of a run, after those that warm up")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    without_progress_bars()
    settings = [
        f"rl.steps={arguments.steps + WARM_UP}",
        *("evaluation.n=1", "data.num_test=4", "checkpoint.every_steps=null"),
    ]
    recipe = arms_of(load_recipe("quickstart", settings), "quickstart")["grpo"]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="store-") as folder:
        runs = [measure(recipe, Path(folder, str(number))) for number in range(arguments.runs)]
    deliver(report(runs, arguments.steps), arguments.out)


if __name__ == "__main__":
    main()
