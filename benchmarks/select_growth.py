"""Choosing demonstrations among more and more rollouts: CPU time and memory of `unsqueeze select`.

    python benchmarks/select_growth.py --out docs/results/select-growth-cpu.md

The rollouts are one file of JSON Lines, eight a problem, with texts of some sixty letters and a likelihood, in the
order in which a run draws them. Each size is chosen from in a process of its own, once; its peak of memory is that
process's, Python and its libraries included.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import deliver, made_by

SIZES = (10_000, 100_000, 1_000_000)
GROUP_SIZE = 8


def write_rollouts(path: Path, number: int) -> None:
    """Write so many rollouts, three in eight right on average."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as out:
        for place in range(number):
            problem = place // GROUP_SIZE
            row = {
                "problem_id": f"p{problem}",
                "prompt": f"Make {problem} of 3 7 11 19.",
                "completion": f"3 + 7 = 10; 10 * 11 = 110; 110 - 19 = 91; {draw.getrandbits(64)}",
                "reward": float(draw.random() < 3 / 8),
                "mean_logp": -draw.expovariate(2.0),
            }
            out.write(json.dumps(row) + "\n")


def select(rollouts: Path, out: Path) -> tuple[float, float]:
    """CPU seconds and the peak of memory, in MB, of one `unsqueeze select`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "unsqueeze", "select", str(rollouts), "--out", str(out)], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"select ended with status {os.waitstatus_to_exitcode(status)}.")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="ROLLOUTS")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        rollouts, demonstrations = Path(folder, "rollouts.jsonl"), Path(folder, "demos.jsonl")
        for number in arguments.sizes:
            write_rollouts(rollouts, number)
            seconds, megabytes = select(rollouts, demonstrations)
            with demonstrations.open("rb") as chosen:
                num_chosen = sum(1 for _ in chosen)
            lines.append(
                f"| {number:,} | {rollouts.stat().st_size / 1e6:,.0f} | {num_chosen:,} | {seconds:.1f} | "
                f"{1e6 * seconds / number:.0f} | {megabytes:,.0f} |"
            )
    page = "\n".join(
        [
            "# Choosing among more and more rollouts",
            "",
            f"{made_by('pyarrow')} Each size once.",
            "",
            "| rollouts | file, MB | chosen | CPU, s | µs a rollout | memory at its peak, MB |",
            "| ---: | ---: | ---: | ---: | ---: | ---: |",
            *lines,
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
