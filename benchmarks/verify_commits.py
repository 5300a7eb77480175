"""Judge the same answers with the code of two commits in turn, and compare the CPU seconds.

    python benchmarks/verify_commits.py 16cc1ce
    python benchmarks/verify_commits.py BEFORE AFTER --repeats 5

AFTER is the working tree where it is not given. Answers are those of benchmarks/verify.py: every eighth of the contest
answers, with credit ``boxed`` and ``anywhere``, and 200 distinct pairs of LaTeX answers. Each side is one process with
one worker and no memory of verdicts; its first round, in which the parser's tables grow, is left out. Problem answers
come from the folder that UNSQUEEZE_DATA names, else from ``../shared/data``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pages import ROOT, made_by
from same_numbers import checkout, commit_of
from verify import SEED, write_rows
from verify_answers import contest_samples, distinct_latex_pairs, problem_sets
from verify_sides import cpu_seconds, read


def serve() -> None:
    """Judge the files that standard input names with their credit; print the CPU seconds of each."""
    from unsqueeze.verify.math_verifier import MathVerifier

    verifiers: dict[str, Any] = {}
    for line in sys.stdin:
        path, credit = json.loads(line)
        if credit not in verifiers:
            verifiers[credit] = MathVerifier(workers=1, credit=credit, timeout_s=300, cache_size=0)
            verifiers[credit].verify_answers(["\\pi"] * 2, ["\\boxed{\\pi}", "\\boxed{2\\pi}"])
        rows = read(path)
        golds, responses = [row["gold"] for row in rows], [row["prediction"] for row in rows]
        begun = cpu_seconds()
        verifiers[credit].verify_answers(golds, responses)
        print(cpu_seconds() - begun, flush=True)


def started(source: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def seconds(side: subprocess.Popen[str], path: Path, credit: str) -> float:
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write(json.dumps([str(path), credit]) + "\n")
    side.stdin.flush()
    return float(side.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", help="a commit")
    parser.add_argument("after", nargs="?", help="a commit; default: the working tree")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    if arguments.before is None:
        parser.error("name the commit to compare with")
    folder = problem_sets()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        sources = [checkout(arguments.before, work / "before")]
        sources.append(checkout(arguments.after, work / "after") if arguments.after else ROOT)
        contest = write_rows(work / "contest.jsonl", contest_samples(folder, seed=SEED)[::8])
        pairs = write_rows(work / "pairs.jsonl", distinct_latex_pairs(folder, 1000, seed=SEED)[:200])
        files = {
            "contest answers, boxed": (contest, "boxed"),
            "contest answers, anywhere": (contest, "anywhere"),
            "distinct LaTeX pairs, anywhere": (pairs, "anywhere"),
        }
        sides = [started(source) for source in sources]
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in files}
        for turn in range(arguments.repeats + 1):
            for name, (path, credit) in files.items():
                before, after = (seconds(side, path, credit) for side in sides)
                print(f"{name}: {before:.2f} {after:.2f}", file=sys.stderr, flush=True)
                if turn:
                    taken[name].append((before, after))
        for side in sides:
            side.communicate()
        print(made_by("math-verify", "sympy"))
        print(f"CPU seconds of {' and '.join(map(commit_of, sources))}, medians of {arguments.repeats} rounds\n")
        print("| answers | before | after | after / before | of each round |\n| --- | ---: | ---: | ---: | --- |")
        for name, rounds in taken.items():
            medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
            ratios = ", ".join(f"{after / before:.2f}" for before, after in rounds)
            cells = (name, f"{medians[0]:.2f}", f"{medians[1]:.2f}", f"{medians[1] / medians[0]:.2f}", ratios)
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
