"""Judging 19,200 answers, side by side: ours against TRL's reward, EvalScope and Math-Verify itself.

    python benchmarks/verify.py --out docs/results/verify-2cores.md
    python benchmarks/verify.py --evalscope-python /path/to/venv/bin/python

Sides run in turn, again and again, each in processes of its own, all with the same number of workers. A rival that is
too slow for the whole file is timed on a seeded part of it, and the table says so; rates are answers a second, so that
parts compare. EvalScope needs an environment of its own (``pip install evalscope==1.14.1``), or else is left out.
Problem answers come from the folder that UNSQUEEZE_DATA names, else from ``../shared/data``.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import deliver, made_by
from verify_answers import SAMPLES, contest_samples, distinct_latex_pairs, problem_sets

HERE = Path(__file__).resolve().parent
SEED = 20_260_516


def run_side(python: str, side: str, path: Path, workers: int) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [python, str(HERE / "verify_sides.py"), side, str(path), str(workers)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise SystemExit(f"{side} failed:\n{result.stderr[-2000:]}")
    return dict(json.loads(result.stdout.splitlines()[-1]))


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Side:
    """One judge on one file: its runs, and what they come to."""

    def __init__(self, name: str, side: str, python: str, path: Path, num_answers: int, workers: int) -> None:
        self.name, self.side, self.python, self.path = name, side, python, path
        self.num_answers, self.workers = num_answers, workers
        self.runs: list[dict[str, float]] = []

    def run(self) -> None:
        self.runs.append(run_side(self.python, self.side, self.path, self.workers))
        print(f"{self.name}: {self.runs[-1]}", file=sys.stderr, flush=True)

    def rates(self, key: str) -> list[float]:
        return [self.num_answers / run[key] for run in self.runs if key in run]

    def rate(self, key: str) -> str:
        rates = self.rates(key)
        return f"{statistics.median(rates):,.0f} [{min(rates):,.0f}, {max(rates):,.0f}]" if rates else "–"

    def median(self, key: str) -> float:
        return statistics.median(self.rates(key))


def table(sides: list[Side]) -> str:
    lines = [
        "| judge | answers timed | workers | correct | cold, answers/s | warm, answers/s | warm, answers/CPU-second |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for side in sides:
        cells = [side.name, f"{side.num_answers:,}", str(side.workers), f"{side.runs[-1]['correct']:,.0f}"]
        lines.append(f"| {' | '.join([*cells, *map(side.rate, ('cold', 'warm', 'cpu'))])} |")
    return "\n".join(lines)


def ratio(one: Side, other: Side, key: str) -> str:
    """The ratio of medians, and those of the runs made next to each other."""
    pairs = [a / b for a, b in zip(one.rates(key), other.rates(key), strict=True)]
    return f"{one.median(key) / other.median(key):.1f}× [{min(pairs):.1f}, {max(pairs):.1f}]"


def made_how(repeats: int, evalscope: str | None) -> str:
    said = f"{made_by('math-verify', 'trl', 'sympy')} Seed {SEED}; medians of {repeats} turns [smallest, largest]."
    if evalscope:
        code = "import importlib.metadata as m; print(m.version('evalscope'), m.version('math-verify'))"
        output = subprocess.run([evalscope, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        said += f" EvalScope is {output[0]}, with math-verify {output[1]}."
    return said


def report(everyday: list[Side], distinct: list[Side], repeats: int, evalscope: str | None) -> str:
    ours, anywhere, *rivals = everyday
    peak = max(run["peak_mb"] for side in (ours, anywhere) for run in side.runs)
    ours_distinct, plain_distinct = distinct
    lines = [
        f"# Judging answers: ours against TRL{', EvalScope' if evalscope else ''} and Math-Verify",
        "",
        made_how(repeats, evalscope),
        "",
        f"## {ours.num_answers:,} answers of 150 contest problems",
        "",
        table(everyday),
        "",
        "*Cold* counts from the start of the interpreter. *Warm*: everything loaded, no answer known yet. The same",
        f"file again with the same judge: {ours.rate('again')} answers/s. The rivals run in as many processes, each",
        "with its share of the answers; those timed on a part take a seeded part of the same file. CPU time (of all",
        "processes of a side, added up) is there because it does not depend on what else the machine does.",
        "",
    ]
    for rival in rivals:
        for side in (ours, anywhere):
            warm, cpu, cold = (ratio(side, rival, key) for key in ("warm", "cpu", "cold"))
            lines.append(f"- {side.name} against {rival.name}: warm **{warm}**, by CPU time **{cpu}**, cold {cold}")
    lines += [
        "",
        f"Peak memory of our run with {ours.workers} workers (resident, all processes added up, shared pages counted",
        f"in each of them): {peak:.0f} MB.",
        "",
        f"## {ours_distinct.num_answers:,} all-distinct LaTeX answers, one worker",
        "",
        table(distinct),
        "",
        f"Ours against sequential Math-Verify: warm **{ratio(ours_distinct, plain_distinct, 'warm')}**, by CPU time",
        f"**{ratio(ours_distinct, plain_distinct, 'cpu')}**, cold {ratio(ours_distinct, plain_distinct, 'cold')}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalscope-python", help="the Python of an environment with evalscope")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each of the 150 problems")
    parser.add_argument("--trl-part", type=int, default=1920, help="answers TRL is timed on")
    parser.add_argument("--evalscope-part", type=int, default=240, help="answers EvalScope is timed on")
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    folder = problem_sets()
    with tempfile.TemporaryDirectory() as scratch:
        rows = contest_samples(folder, seed=SEED, samples=arguments.samples)
        mixed = random.Random(SEED).sample(rows, len(rows))

        def side(name: str, kind: str, python: str, chosen: list[dict[str, str]], workers: int) -> Side:
            path = write_rows(Path(scratch, f"{kind}-{workers}-{len(chosen)}.jsonl"), chosen)
            return Side(name, kind, python, path, len(chosen), workers)

        everyday = [
            side("unsqueeze, credit boxed", "ours-boxed", sys.executable, rows, arguments.workers),
            side("unsqueeze, credit anywhere", "ours-anywhere", sys.executable, rows, arguments.workers),
            side("TRL accuracy_reward", "trl", sys.executable, mixed[: arguments.trl_part], arguments.workers),
        ]
        if arguments.evalscope_python:
            part = mixed[: arguments.evalscope_part]
            everyday.append(side("EvalScope", "evalscope", arguments.evalscope_python, part, arguments.workers))
        else:
            print("EvalScope is left out: no --evalscope-python given.", file=sys.stderr)
        pairs = distinct_latex_pairs(folder, arguments.distinct, seed=SEED)
        distinct = [
            side("unsqueeze, credit anywhere", "ours-anywhere", sys.executable, pairs, 1),
            side("Math-Verify, sequential", "math-verify", sys.executable, pairs, 1),
        ]
        for _ in range(arguments.repeats):
            for one in (*everyday, *distinct):
                one.run()
        text = report(everyday, distinct, arguments.repeats, arguments.evalscope_python)
    deliver(text, arguments.out)


if __name__ == "__main__":
    main()
