"""Train shipped recipes with the code of two commits and compare every number: metrics, rollouts, evaluations, weights.

    python benchmarks/same_numbers.py BEFORE [AFTER] --recipes smoke quickstart --out docs/results/same-numbers.md

A change of structure must not change a bit. AFTER is the working tree where it is not given. Both run in this
environment, one after the other, from a checkout of the commit beside the runs (kept in --work, where a finished run is
not made again). Timings are left out of the comparison; columns that were renamed are compared under their new names.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pages import ROOT, made_by

RENAMED = {"logp_behaviour": "logp_raw", "logp_sampling": "logp_behaviour", "logp_policy": "logp_proximal"}
"""Columns of rollouts: the names in files that have a column ``logp_sampling``, and those of today."""
TIMED = ("seconds", "share_of_rl_seconds", "made_in")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", help="a commit; default: the working tree")
    parser.add_argument("--recipes", nargs="+", default=["smoke"])
    parser.add_argument("--work", type=Path, help="a folder for checkouts and runs; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a Markdown page for the result")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="same-numbers-"))
    sides = {"before": checkout(options.before, work / "before"), "after": ROOT}
    if options.after:
        sides["after"] = checkout(options.after, work / "after")
    lines, differing = [], 0
    for recipe in options.recipes:
        runs = {
            side: train(source, recipe, work / f"{side}-{commit_of(source)}" / recipe) for side, source in sides.items()
        }
        for name, differences in compare(runs["before"], runs["after"]):
            differing += len(differences)
            verdict = "equal, bit for bit" if not differences else "; ".join(differences[:3])
            lines.append(f"| {recipe} | {name} | {verdict} |")
            print(lines[-1], flush=True)
    if options.out:
        commits = {side: commit_of(source) for side, source in sides.items()}
        options.out.write_text(page(commits, lines), encoding="utf-8")
    sys.exit(1 if differing else 0)


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit in a folder of their own."""
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)], check=True)
    full = subprocess.run(["git", "-C", str(ROOT), "rev-parse", commit], check=True, capture_output=True, text=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", full.stdout.strip()], check=True)
    return folder


def commit_of(source: Path) -> str:
    """The commit of a checkout, marked where its files differ from it."""
    git = ["git", "-C", str(source)]
    commit = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], check=True, capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "src"], check=True, capture_output=True, text=True)
    return commit.stdout.strip() + ("-modified" if changed.stdout.strip() else "")


def train(source: Path, recipe: str, run: Path) -> Path:
    """The run of a recipe by the code in ``source``; one that is finished stays."""
    if not (run / "finished").exists():
        command = [sys.executable, "-m", "unsqueeze", "train", recipe, "--run", str(run)]
        command += ["--resume"] * run.exists()
        subprocess.run(command, check=True, cwd=source, env=os.environ | {"PYTHONPATH": str(source / "src")})
        (run / "finished").touch()
    return run


def compare(before: Path, after: Path) -> Iterator[tuple[str, list[str]]]:
    """Every file of numbers in two runs of a recipe: its name, and in what it differs."""
    for pattern, differences in (
        ("metrics.jsonl", lines_differ),
        ("rollouts/*.parquet", tables_differ),
        ("demos/*.parquet", tables_differ),
        ("evals/*.parquet", tables_differ),
        ("evals/*.json", evaluations_differ),
        ("checkpoints/*/policy/*.safetensors", bytes_differ),
        ("checkpoints/*/state/*.safetensors", bytes_differ),
    ):
        names = [
            {str(path.relative_to(run)) for path in run.rglob("*") if path.match(pattern)} for run in (before, after)
        ]
        found = [f"{name} is only in one" for name in sorted(names[0] ^ names[1])]
        shared = sorted(names[0] & names[1])
        for name in shared:
            found += [f"{name}: {what}" for what in differences(before / name, after / name)]
        yield f"{len(shared)} × {pattern}", found


def lines_differ(before: Path, after: Path) -> list[str]:
    """What a line of the first says, the same line of the second must say; it may say more."""
    old, new = ([untimed(json.loads(line)) for line in path.read_text().splitlines()] for path in (before, after))
    if len(old) == len(new):
        new = [{key: value for key, value in b.items() if key in a} for a, b in zip(old, new, strict=True)]
    return [] if old == new else [first_difference(old, new)]


def evaluations_differ(before: Path, after: Path) -> list[str]:
    """What the first says, the second must say; it may say more, also where the first had null."""
    old, new = (untimed(json.loads(path.read_text())) for path in (before, after))
    return [
        f"{key} is {new.get(key)!r}, was {value!r}"
        for key, value in old.items()
        if value is not None and new.get(key) != value
    ]


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in record.items() if not key.endswith("_s") and key not in TIMED and key != "crc32"
    }


def first_difference(before: list[Any], after: list[Any]) -> str:
    if len(before) != len(after):
        return f"{len(before)} and {len(after)} lines"
    number, old, new = next((i, a, b) for i, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return f"line {number}: {', '.join(keys)}"


def tables_differ(before: Path, after: Path) -> list[str]:
    old, new = (renamed(pq.read_table(path)) for path in (before, after))
    columns = [name for name in old.column_names if name in new.column_names]
    missing = [f"no column {name}" for name in old.column_names if name not in new.column_names]
    return missing + [name for name in columns if not old[name].equals(new[name])]


def renamed(table: pa.Table) -> pa.Table:
    """The table with the names of today."""
    if "logp_sampling" not in table.column_names:
        return table
    return table.rename_columns([RENAMED.get(name, name) for name in table.column_names])


def bytes_differ(before: Path, after: Path) -> list[str]:
    return [] if before.read_bytes() == after.read_bytes() else ["other bytes"]


def page(commits: dict[str, str], lines: list[str]) -> str:
    head = "| recipe | files | |\n| --- | --- | --- |"
    return (
        f"# Before {commits['before']} and after {commits['after']}: the same numbers\n\n{made_by('torch')}\n\n"
        "Each recipe trained with the code of both commits in one environment, one after the other; timings left out,\n"
        "renamed columns compared under their new names.\n\n" + "\n".join([head, *lines]) + "\n"
    )


if __name__ == "__main__":
    main()
