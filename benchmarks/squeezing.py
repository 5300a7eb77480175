"""Does RL squeeze, and does SPS undo it? The arms of a recipe over several seeds, against the base model.

    python benchmarks/squeezing.py --seeds 0 1 2 --out docs/results/quickstart-2cores.md

Runs ``unsqueeze train RECIPE`` once a seed, each in a directory of its own (one that is there is read, not run again),
and prints a line an arm: the mean over seeds of Avg@n, Pass@k and the greedy log-prob, with the smallest and the
largest; then every seed by itself, and each arm's paired difference to the first one.
"""

import argparse
import os
import platform
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

    def values(self) -> list[float]:
        return [self.avg, *(self.pass_at[k] for k in KS), self.greedy_logp, self.minutes]


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
        avg=100 * summary["avg"],
        pass_at={k: 100 * summary["pass_at"][str(k)]["mean"] for k in KS},
        greedy_logp=summary["greedy_logp"],
        minutes=sum(e["seconds"] for e in events if e["event"] in ("finished", "interrupted")) / 60 if step else 0.0,
    )


def spread(lines: Sequence[Line]) -> list[str]:
    """Mean and [smallest, largest] of every column."""
    columns = zip(*(one.values() for one in lines), strict=True)
    digits = [1] * (1 + len(KS)) + [3, 1]
    return [
        f"{sum(column) / len(column):.{d}f} [{min(column):.{d}f}, {max(column):.{d}f}]"
        for column, d in zip(columns, digits, strict=True)
    ]


def differences(ours: Sequence[Line], control: Sequence[Line]) -> list[str]:
    """Mean and [smallest, largest] over seeds of the difference of two arms of equal seed."""
    rows = [
        [a - b for a, b in zip(one.values(), other.values(), strict=True)]
        for one, other in zip(ours, control, strict=True)
    ]
    digits = [1] * (1 + len(KS)) + [3, 1]
    return [
        f"{sum(column) / len(column):+.{d}f} [{min(column):+.{d}f}, {max(column):+.{d}f}]"
        for column, d in zip(zip(*rows, strict=True), digits, strict=True)
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    head = ["", *HEADINGS]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def provenance(recipe: str, seeds: Sequence[int], settings: Sequence[str]) -> str:
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    return (
        f"Recipe `{recipe}`{' with ' + ', '.join(settings) if settings else ''}, seeds {', '.join(map(str, seeds))}; "
        f"commit {commit.stdout.strip()}, unsqueeze {unsqueeze.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU cores."
    )


def report(recipe: str, paths: dict[int, Path], settings: Sequence[str]) -> str:
    """All tables as Markdown."""
    loaded = load_recipe(recipe, settings)
    arms = arms_of(loaded, recipe)
    lines: dict[str, list[Line]] = {"base": []}
    single: list[list[str]] = []
    for seed, path in paths.items():
        directories = {name: RunDirectory.open(path / name if loaded.arms else path) for name in arms}
        found = {"base": line(next(iter(directories.values())), 0)}
        found |= {name: line(directory, arms[name].rl.steps) for name, directory in directories.items()}
        for name, one in found.items():
            lines.setdefault(name, []).append(one)
            cells = [f"{value:.3f}" if i == len(KS) + 1 else f"{value:.1f}" for i, value in enumerate(one.values())]
            single.append([f"{name}, seed {seed}", *cells])
    control, *others = arms
    parts = [
        provenance(recipe, list(paths), settings),
        "Mean over seeds [smallest, largest]; Avg and Pass in %, log-probs in nats per token.",
        table([[name, *spread(of_seeds)] for name, of_seeds in lines.items()]),
    ]
    if others:
        parts += [
            f"Difference to `{control}` of the same seed, mean [smallest, largest].",
            table([[name, *differences(lines[name], lines[control])] for name in others]),
        ]
    return "\n\n".join([*parts, "Every seed.", table(single)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/squeezing"), help="where the runs go")
    parser.add_argument("--parallel", type=int, default=1, help="seeds trained at once, each on a thread of its own")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="a.b=v")
    parser.add_argument("--out", type=Path, help="also write the tables to this Markdown file")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.parallel) as pool:
        paths = pool.map(
            lambda seed: train(arguments.recipe, seed, arguments.runs, arguments.settings), arguments.seeds
        )
        by_seed = dict(zip(arguments.seeds, paths, strict=True))
    text = report(arguments.recipe, by_seed, arguments.settings)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
