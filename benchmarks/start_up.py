"""How long one waits for the first signs of life: help, the first line of a training, its first rollouts.

    python benchmarks/start_up.py --out docs/results/start-up.md

Each is a process of its own, started anew in turn, the files of the package warm in the file cache. What counts is the
CPU time of the process until then, which other work on the machine lengthens less than the clock: of all its threads,
to a hundredth of a second. The first rollouts are on the disk when they count. The processes see one thread
(``OMP_NUM_THREADS=1``).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pages import deliver, made_by, median_and_range

TICKS = os.sysconf("SC_CLK_TCK")
LIMIT_S = 600


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, its threads included, and its children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def until(arguments: list[str], reached: Callable[[subprocess.Popen[str]], bool]) -> float:
    """CPU seconds of the command when ``reached`` says yes; the process is killed then."""
    command = [sys.executable, "-m", "unsqueeze", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if not reached(process):
            raise SystemExit(f"{' '.join(command)} did not come so far")
        return cpu_s(process.pid)
    finally:
        process.kill()
        process.wait()


def help_s() -> float:
    """CPU seconds of the whole of ``unsqueeze --help``."""
    before = os.times()
    subprocess.run([sys.executable, "-m", "unsqueeze", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def first_line_s(folder: Path) -> float:
    def reached(process: subprocess.Popen[str]) -> bool:
        assert process.stdout is not None
        return bool(process.stdout.readline())

    return until(["train", "smoke", "--run", str(folder)], reached)


def first_rollouts_s(folder: Path) -> float:
    def reached(process: subprocess.Popen[str]) -> bool:
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end and process.poll() is None:
            if any(folder.glob("**/rollouts/step-*.parquet")):
                return True
            time.sleep(0.01)
        return False

    return until(["train", "smoke", "--run", str(folder)], reached)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, every process would compile every module anew
    help_s()  # the files come into the cache
    with tempfile.TemporaryDirectory() as temporary:
        folders = (Path(temporary) / str(place) for place in range(2 * arguments.turns + 1))
        first_rollouts_s(next(folders))
        turns = [
            (help_s(), first_line_s(next(folders)), first_rollouts_s(next(folders))) for _ in range(arguments.turns)
        ]
    names = ("`unsqueeze --help`", "`unsqueeze train smoke`: its first line", "… its first rollouts on the disk")
    lines = [
        "# Start-up",
        "",
        f"{made_by('torch', 'transformers')} {arguments.turns} turns. The script says what is measured.",
        "",
        "| until | CPU seconds: median [smallest, largest] |",
        "| --- | ---: |",
        *(
            f"| {name} | {median_and_range(taken, 2)} |"
            for name, taken in zip(names, zip(*turns, strict=True), strict=True)
        ),
    ]
    page = "\n".join(lines) + "\n"
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
