"""Does RL squeeze, and does SPS undo it? The arms of a recipe over several seeds, against the base model.

    python benchmarks/squeezing.py --seeds 0 1 2 --out docs/results/quickstart-2cores.md

Runs ``unsqueeze train RECIPE`` once a seed, each in a directory of its own (one that is there is read, not run again),
and prints a line an arm: the mean over seeds of Avg@n, Pass@k and the greedy log-prob, with the smallest and the
largest; then the difference of every arm with SPS to the one without, of the same seed; then every seed by itself, the
curve of Pass@k, and what the training took.

A recipe without arms gets a control by ``--set 'arms={grpo: {irl: null}, sps: {}}'``.
"""

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

import unsqueeze
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.store.run_directory import RunDirectory

KS = (8, 32, 128)


@dataclass(frozen=True, slots=True)
class Line:
    """One evaluation: percent, percent by k, nats per token, minutes."""

    avg: float
    pass_at: dict[int, float]
    greedy_logp: float
    minutes: float
    curve: dict[int, float]

    def values(self) -> list[float]:
        return [self.avg, *(self.pass_at[k] for k in KS), self.greedy_logp, self.minutes]


DIGITS = [1] * (1 + len(KS)) + [3, 1]
HEADINGS = ["Avg@128", *(f"Pass@{k}" for k in KS), "greedy log-prob", "minutes"]


def train(recipe: str, seed: int, folder: Path, settings: Sequence[str]) -> Path:
    """One run of the recipe with this seed, where it is not there yet; an unfinished one is gone on with."""
    path = folder / f"seed-{seed}"
    command = [sys.executable, "-m", "unsqueeze", "train", recipe, "--run", str(path), "--set", f"seed={seed}"]
    for setting in settings:
        command += ["--set", setting]
    if path.exists():
        command.append("--resume")
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    subprocess.run(command, check=True, env=environment)
    return path


def line(directory: RunDirectory, step: int) -> Line:
    """The evaluation after ``step`` of one arm."""
    summary = directory.evals.summary(step)
    events = directory.journal.read()
    return Line(
        avg=100 * summary.avg.mean,
        pass_at={k: 100 * summary.pass_at[k].mean for k in KS},
        greedy_logp=summary.greedy_logp if summary.greedy_logp is not None else math.nan,
        minutes=sum(e["seconds"] for e in events if e["event"] in ("finished", "interrupted")) / 60 if step else 0.0,
        curve={k: 100 * estimate.mean for k, estimate in summary.pass_at.items()},
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What one arm's training took; ``peak_gb`` is the device's memory, where there is a device."""

    tokens_per_s: float
    step_s: float
    irl_share: float | None
    peak_gb: float | None

    def cells(self) -> list[str]:
        share = "" if self.irl_share is None else f"{100 * self.irl_share:.1f} %"
        peak = "" if self.peak_gb is None else f"{self.peak_gb:.1f}"
        return [f"{self.tokens_per_s:,.0f}", f"{self.step_s:.2f}", share, peak]


COST_HEADINGS = ["", "generated tokens/s", "s an RL step (median)", "IRL / RL time", "peak device memory, GB"]


def cost(directory: RunDirectory) -> Cost:
    """From the lines of metrics and the phase reports of one arm."""
    steps = [record for record in directory.metrics.read() if record["kind"] == "rl"]
    shares = [e["share_of_rl_seconds"] for e in directory.journal.read() if e.get("share_of_rl_seconds") is not None]
    peaks = [record["peak_device_mb"] for record in steps if record.get("peak_device_mb") is not None]
    return Cost(
        tokens_per_s=sum(s["sampled_tokens"] for s in steps) / sum(s["generate_s"] for s in steps),
        step_s=statistics.median(s["generate_s"] + s["verify_s"] + s["store_s"] + s["update_s"] for s in steps),
        irl_share=statistics.median(shares) if shares else None,
        peak_gb=max(peaks) / 1024 if peaks else None,
    )


def spread(lines: Sequence[Line]) -> list[str]:
    """Mean and [smallest, largest] of every column."""
    columns = zip(*(one.values() for one in lines), strict=True)
    return [
        f"{sum(column) / len(column):.{d}f} [{min(column):.{d}f}, {max(column):.{d}f}]"
        for column, d in zip(columns, DIGITS, strict=True)
    ]


def differences(ours: Sequence[Line], control: Sequence[Line]) -> list[str]:
    """Mean and [smallest, largest] over seeds of the difference of two arms of equal seed."""
    rows = [
        [a - b for a, b in zip(one.values(), other.values(), strict=True)]
        for one, other in zip(ours, control, strict=True)
    ]
    return [
        f"{sum(column) / len(column):+.{d}f} [{min(column):+.{d}f}, {max(column):+.{d}f}]"
        for column, d in zip(zip(*rows, strict=True), DIGITS, strict=True)
    ]


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ("", *HEADINGS)) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *rows])


def provenance(recipes: Sequence[str], seeds: Sequence[int], settings: Sequence[str], at_step: int | None) -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    step = "" if at_step is None else f" after RL step {at_step}"
    changed = f" with {', '.join(settings)}" if settings else ""
    return (
        f"Recipe {', '.join(f'`{recipe}`' for recipe in recipes)}{step}{changed}, "
        f"seeds {', '.join(map(str, seeds))}; commit {commit.stdout.strip()}, unsqueeze {unsqueeze.__version__}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPU cores."
    )


def control_of(arm: str) -> str | None:
    """The arm without SPS that an arm is held against: ``dapo`` for ``dapo-sps``, ``grpo`` for ``sps`` and its kin."""
    if arm.endswith("-sps"):
        return arm.removesuffix("-sps")
    return "grpo" if arm.startswith("sps") else None


@dataclass(frozen=True, slots=True)
class Results:
    """By arm, in the order of the seeds; the base model is an arm of its own, without a cost."""

    lines: dict[str, list[Line]]
    costs: dict[str, list[Cost]]


def collect(recipe: str, paths: dict[int, Path], settings: Sequence[str], at_step: int | None) -> Results:
    """Every arm of a recipe, from the directories of its runs."""
    loaded = load_recipe(recipe, settings)
    lines: dict[str, list[Line]] = {}
    costs: dict[str, list[Cost]] = {}
    for path in paths.values():
        for i, (name, arm) in enumerate(arms_of(loaded, recipe).items()):
            directory = RunDirectory.open(path / name if loaded.arms else path)
            if i == 0:
                lines.setdefault("base", []).append(line(directory, 0))
            lines.setdefault(name, []).append(line(directory, at_step or arm.rl.steps))
            costs.setdefault(name, []).append(cost(directory))
    return Results(lines, costs)


def curves(lines: dict[str, list[Line]]) -> str:
    """Pass@k for every k, the mean over seeds."""
    ks = sorted(next(iter(lines.values()))[0].curve)
    rows = [
        [name, *(f"{statistics.fmean(one.curve[k] for one in of_seeds):.1f}" for k in ks)]
        for name, of_seeds in lines.items()
    ]
    return table(rows, ["Pass@k", *map(str, ks)])


def report(results: Results, seeds: Sequence[int]) -> str:
    """All tables as Markdown."""
    lines = results.lines
    pairs = [(name, control_of(name)) for name in lines]
    changes = [
        [f"{name} − {control}", *differences(lines[name], lines[control])]
        for name, control in pairs
        if control is not None and control in lines
    ]
    single = [
        [f"{name}, seed {seed}", *(f"{value:.{d}f}" for value, d in zip(one.values(), DIGITS, strict=True))]
        for name, of_seeds in lines.items()
        for seed, one in zip(seeds, of_seeds, strict=True)
    ]
    parts = [
        "Mean over seeds [smallest, largest]; Avg and Pass in %, log-probs in nats per token.",
        table([[name, *spread(of_seeds)] for name, of_seeds in lines.items()]),
    ]
    if changes:
        parts += ["Differences of equal seeds, mean [smallest, largest].", table(changes)]
    parts += ["Every seed.", table(single), "The curve, mean over seeds.", curves(lines)]
    costs = [
        [f"{name}, seed {seed}", *one.cells()]
        for name, of_seeds in results.costs.items()
        for seed, one in zip(seeds, of_seeds, strict=True)
    ]
    return "\n\n".join([*parts, "What it took.", table(costs, COST_HEADINGS)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipes", nargs="+", default=["quickstart"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/squeezing"), help="where the runs go")
    parser.add_argument("--parallel", type=int, default=1, help="runs at once, each on a thread of its own")
    parser.add_argument("--at-step", type=int, help="tell the evaluation after this RL step instead of the last")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="a.b=v")
    parser.add_argument("--out", type=Path, help="also write the tables to this Markdown file")
    arguments = parser.parse_args()
    recipes, seeds, settings = arguments.recipes, arguments.seeds, arguments.settings
    jobs = [(recipe, seed) for recipe in recipes for seed in seeds]
    with ThreadPoolExecutor(arguments.parallel) as pool:
        paths = pool.map(lambda job: train(job[0], job[1], arguments.runs / job[0], settings), jobs)
        by_job = dict(zip(jobs, paths, strict=True))
    results = Results({}, {})
    for recipe in recipes:
        more = collect(recipe, {seed: by_job[recipe, seed] for seed in seeds}, settings, arguments.at_step)
        results = Results(more.lines | results.lines, more.costs | results.costs)
    text = provenance(recipes, seeds, settings, arguments.at_step) + "\n\n" + report(results, seeds)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
