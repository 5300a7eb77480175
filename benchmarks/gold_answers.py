"""How long ``train --check`` takes over many gold answers, and how long it says nothing.

    python benchmarks/gold_answers.py [--lines 100000]

Writes a JSONL file of so many sums whose gold answers all differ (integers, decimals, fractions, LaTeX), and checks a
recipe on it, with a tiny model of random weights. What the command prints is read through a pipe, so that progress
comes as lines, at most one in 15 s. Printed are its lines with the seconds of the clock and of the processor (all its
processes) at which they came, and the longest silence by both.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from family_reports import llama, saved

FORMS = ("{n}", "{n}.5", "{n}/7", r"\frac{{{n}}}{{11}}", r"\sqrt{{{n}}}", "x = {n}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, count in (("train", lines), ("test", 10)):
            records = (
                {"problem": f"What is {n}, in {split}?", "answer": FORMS[n % len(FORMS)].format(n=n)}
                for n in range(count)
            )
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        saved(folder / "model", llama())
        recipe = {
            "name": "gold",
            "model": {"path": str(folder / "model")},
            "data": {
                "kind": "jsonl",
                "train_path": str(folder / "train.jsonl"),
                "test_path": str(folder / "test.jsonl"),
            },
            "rollout": {"max_tokens": 8},
            "rl": {"prompts_per_step": 2, "steps": 2},
        }
        (folder / "recipe.yaml").write_text(json.dumps(recipe))
        watch([sys.executable, "-m", "unsqueeze", "train", str(folder / "recipe.yaml"), "--check"])


def watch(command: list[str]) -> None:
    """Run a command and print what it says, and when."""
    start, seen = time.monotonic(), [(0.0, 0.0)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        seen.append((time.monotonic() - start, cpu_s(process.pid)))
        print("{:7.1f} s  {:6.1f} s CPU  ".format(*seen[-1]) + line.rstrip(), flush=True)
    silences = [(b - a, d - c) for (a, c), (b, d) in itertools.pairwise(seen)]
    wall, cpu = (max(each) for each in zip(*silences, strict=True))
    print(f"exit code {process.wait()}; longest silence {wall:.1f} s, and {cpu:.1f} s of the processor")


def cpu_s(pid: int) -> float:
    """Seconds of the processor of a process and of all that it started."""
    total = 0.0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            spent = one.cpu_times()
            total += spent.user + spent.system
        spent = process.cpu_times()
        total += spent.children_user + spent.children_system
    except psutil.NoSuchProcess:
        pass
    return total


if __name__ == "__main__":
    main()
