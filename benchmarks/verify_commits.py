"""Judge the same answers with the code of two commits in turn, and compare the CPU seconds.

    python benchmarks/verify_commits.py 974c8fa
    python benchmarks/verify_commits.py BEFORE AFTER --repeats 5

AFTER is the working tree where it is not given. Answers are those of benchmarks/verify.py: every other one of the
contest answers, with credit ``boxed`` and ``anywhere``, and distinct pairs of LaTeX answers. One worker; CPU seconds
of the verifier and its workers once they are loaded, with no answer known yet: medians, and the ratios of runs made
next to each other. Problem answers come from the folder that UNSQUEEZE_DATA names, else from ``../shared/data``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from same_numbers import ROOT, checkout, commit_of
from verify import SEED, write_rows
from verify_answers import contest_samples, distinct_latex_pairs
from verify_sides import cpu_seconds, read


def measure(path: str, credit: str) -> None:
    """Print the CPU seconds of judging a file, and how many answers are correct."""
    from unsqueeze.verify.math_verifier import MathVerifier

    rows = read(path)
    golds, responses = [row["gold"] for row in rows], [row["prediction"] for row in rows]
    with MathVerifier(workers=1, credit=credit, timeout_s=120) as verifier:  # type: ignore[arg-type]
        verifier.verify_answers(["\\pi"] * 2, ["\\boxed{\\pi}", "\\boxed{2\\pi}"])
        begun = cpu_seconds()
        correct = sum(judgement.verdict == "correct" for judgement in verifier.verify_answers(golds, responses))
        print(json.dumps({"cpu": cpu_seconds() - begun, "correct": correct}))


def run(source: Path, path: Path, credit: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(path), credit]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", help="a commit")
    parser.add_argument("after", nargs="?", help="a commit; default: the working tree")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--distinct", type=int, default=500)
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "CREDIT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    if arguments.before is None:
        parser.error("name the commit to compare with")
    folder = Path(os.environ.get("UNSQUEEZE_DATA") or ROOT.parent / "shared" / "data")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        sides = {"before": checkout(arguments.before, work / "before"), "after": ROOT}
        if arguments.after:
            sides["after"] = checkout(arguments.after, work / "after")
        contest = write_rows(work / "contest.jsonl", contest_samples(folder, seed=SEED)[::2])
        pairs = write_rows(work / "pairs.jsonl", distinct_latex_pairs(folder, arguments.distinct, seed=SEED))
        files = {
            "contest answers, boxed": (contest, "boxed"),
            "contest answers, anywhere": (contest, "anywhere"),
            "distinct LaTeX pairs, anywhere": (pairs, "anywhere"),
        }
        runs: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(arguments.repeats):
            for name, (path, credit) in files.items():
                for side, source in sides.items():
                    runs.setdefault((name, side), []).append(run(source, path, credit))
                    print(f"{name}, {side}: {runs[name, side][-1]}", file=sys.stderr, flush=True)
        print(
            f"{commit_of(sides['before'])} and {commit_of(sides['after'])}, CPU seconds, medians of {arguments.repeats}"
        )
        print("| answers | before | after | after / before | pairs |\n| --- | ---: | ---: | ---: | --- |")
        for name in files:
            before, after = ([each["cpu"] for each in runs[name, side]] for side in sides)
            medians = statistics.median(before), statistics.median(after)
            ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(before, after, strict=True))
            cells = (name, f"{medians[0]:.2f}", f"{medians[1]:.2f}", f"{medians[1] / medians[0]:.2f}", ratios)
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
