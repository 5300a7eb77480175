"""The verdicts on a file of labelled answers: a table by kind, the false corrects, and what else came out otherwise.

    python benchmarks/judging_cases.py ../shared/cases/judging.jsonl
    python benchmarks/judging_cases.py cases.jsonl --credit boxed --all

Each line of the file has ``id``, ``kind``, ``gold``, ``prediction`` and ``want``: ``correct``, ``wrong`` or
``not judged``. An answer that was not found counts as wrong, one that timed out or crashed as not judged.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from unsqueeze.verify.extract import CREDITS, Credit
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Judgement


def outcome(judgement: Judgement) -> str:
    """The judgement in the words of the file."""
    if not judgement.verdict.judged:
        return "not judged"
    return "correct" if judgement.verdict == "correct" else "wrong"


def judged(cases: list[dict[str, str]], credit: Credit, workers: int) -> list[Judgement]:
    with MathVerifier(workers=workers, credit=credit, timeout_s=30) as verifier:
        return verifier.verify_answers([case["gold"] for case in cases], [case["prediction"] for case in cases])


def table(cases: list[dict[str, str]], outcomes: list[str]) -> str:
    """One line a kind: how many cases, as wanted, false corrects."""
    total, right, false = Counter[str](), Counter[str](), Counter[str]()
    for case, found in zip(cases, outcomes, strict=True):
        for kind in (case["kind"], "all"):
            total[kind] += 1
            right[kind] += found == case["want"]
            false[kind] += found == "correct" != case["want"]
    lines = ["| kind | cases | as wanted | false corrects |", "| --- | ---: | ---: | ---: |"]
    kinds = [*sorted(kind for kind in total if kind != "all"), "all"]
    return "\n".join([*lines, *(f"| {kind} | {total[kind]} | {right[kind]} | {false[kind]} |" for kind in kinds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--credit", choices=CREDITS, default="anywhere")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="list the cases that came out as wanted too")
    arguments = parser.parse_args()
    cases = [json.loads(line) for line in arguments.file.read_text(encoding="utf-8").splitlines()]
    judgements = judged(cases, arguments.credit, arguments.workers)
    outcomes = [outcome(judgement) for judgement in judgements]
    print(table(cases, outcomes))
    for case, judgement, found in zip(cases, judgements, outcomes, strict=True):
        if arguments.all or found != case["want"]:
            mark = "FALSE CORRECT" if found == "correct" != case["want"] else found
            print(f"\n{case['id']} {case['kind']}: {mark}, wanted {case['want']} ({judgement.reason})")
            print(f"  gold {case['gold']!r}\n  prediction {case['prediction']!r}\n  found {judgement.extracted!r}")


if __name__ == "__main__":
    main()
