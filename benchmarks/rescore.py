"""Scoring stored samples again: Pass@k of 19,200, 128 of each of 150 contest problems, ours beside a plain loop.

    python benchmarks/rescore.py --out docs/results/rescore-2cores.md

The samples are a file of JSON Lines (``verify_answers.py`` says how they are drawn), once with a gold answer and a
response each, which have to be judged first, and once with the verdict too. Every side is a process of its own that
begins with the start of the interpreter and ends with Pass@k of all powers of two, in turns: ``unsqueeze score``, which
gives intervals over problems besides, the same by two calls in Python, and a plain loop with Math-Verify and numpy, in
one process and without intervals (``rescore_sides.py``). Where it has to judge, the loop takes the samples of
``--plain-problems`` problems, drawn with a seed, and rates are compared, in which its start of a second weighs the more
the fewer they are; with verdicts it takes all, and Pass@k of all
sides must agree to 1e-12. What EvalScope and TRL need for judging alone is in ``verify.py``.

CPU time is that of a side's processes together, its judges included; memory is the most that one of them had. Gold
answers come from the folder that UNSQUEEZE_DATA names, else from ``../shared/data``.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launched import launched
from pages import deliver, made_by, median_and_range
from unsqueeze.metrics.summary import powers_of_two_up_to
from verify_answers import SAMPLES, contest_samples, problem_sets

SEED = 20_260_516
TOLERANCE = 1e-12
"""By how much Pass@k of two sides may differ."""
SIDES = Path(__file__).with_name("rescore_sides.py")


@dataclass
class Side:
    """A way to score a file, and what each of its turns took."""

    name: str
    verdicts: str
    num_samples: int
    command: list[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)
    pass_at: dict[int, float] = field(default_factory=dict)

    def run(self) -> None:
        turn = launched(self.command)
        self.seconds.append(turn.seconds)
        self.cpu.append(turn.cpu)
        self.mb.append(turn.mb)
        self.pass_at = _pass_at(json.loads(turn.output))
        print(f"{self.name}, {self.verdicts}: {self.cpu[-1]:.2f} CPU s", file=sys.stderr, flush=True)

    @property
    def rates(self) -> list[float]:
        return [self.num_samples / cpu for cpu in self.cpu]

    def line(self) -> str:
        cells = [
            self.name,
            self.verdicts,
            f"{self.num_samples:,}",
            median_and_range(self.seconds, 2),
            median_and_range(self.cpu, 2),
            median_and_range(self.rates),
            median_and_range(self.mb),
        ]
        return f"| {' | '.join(cells)} |"


def _pass_at(told: Mapping[str, object]) -> dict[int, float]:
    """Pass@k as a side of ours or of ``rescore_sides`` tells it."""
    found = told.get("pass_at", told)
    assert isinstance(found, dict)
    return {int(k): of["mean"] if isinstance(of, dict) else of for k, of in found.items()}


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sides_of(folder: Path, arguments: argparse.Namespace) -> list[Side]:
    """Write the files, have the samples judged once, and return all sides."""
    rows = contest_samples(problem_sets(), seed=SEED, samples=arguments.samples)
    problems = list(dict.fromkeys(row["problem_id"] for row in rows))
    some = set(random.Random(SEED).sample(problems, arguments.plain_problems))
    part = [row for row in rows if row["problem_id"] in some]
    bare, few = write_rows(folder / "samples.jsonl", rows), write_rows(folder / "few.jsonl", part)
    judged = folder / "judged.jsonl"
    unsqueeze, workers = [sys.executable, "-m", "unsqueeze"], str(arguments.workers)
    launched([*unsqueeze, "verify", str(bare), "--out", str(judged), "--workers", workers])
    given = [json.loads(line) for line in judged.read_text(encoding="utf-8").splitlines()]
    write_rows(judged, [row | {"correct": row["verdict"] == "correct"} for row in given])
    score = [*unsqueeze, "score", "--json", "--k", ",".join(map(str, powers_of_two_up_to(arguments.samples)))]
    score += ["--workers", workers]
    own = [sys.executable, str(SIDES)]
    return [
        Side("`unsqueeze score`", "to be judged", len(rows), [*score, str(bare)]),
        Side("`judge`, `score` in Python", "to be judged", len(rows), [*own, "api", str(bare), workers]),
        Side("a plain loop", "to be judged", len(part), [*own, "plain", str(few), "1"]),
        Side("`unsqueeze score`", "stored", len(rows), [*score, str(judged)]),
        Side("a plain loop", "stored", len(rows), [*own, "plain", str(judged), "1"]),
    ]


def ratio(ours: Side, theirs: Side) -> str:
    return median_and_range([a / b for a, b in zip(ours.rates, theirs.rates, strict=True)], 2)


def page(sides: Sequence[Side], arguments: argparse.Namespace) -> str:
    command, python, loop, stored, plain_stored = sides
    apart = max(
        abs(side.pass_at[k] - plain_stored.pass_at[k]) for side in (command, python, stored) for k in loop.pass_at
    )
    if apart > TOLERANCE:
        raise SystemExit(f"Pass@k of two sides differs by {apart:.0e}, more than {TOLERANCE:.0e}.")
    return "\n".join(
        [
            f"# Scoring {command.num_samples:,} stored samples again",
            "",
            f"{made_by('math-verify', 'numpy')} {arguments.turns} turns, {arguments.workers} worker(s) of ours that "
            f"judge, {arguments.samples} samples a problem, seed {SEED}; medians [smallest, largest]. The script says "
            "what is measured.",
            "",
            "| side | verdicts | samples | s | CPU s | samples a CPU second | MB of the largest process |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
            *(side.line() for side in sides),
            "",
            "Samples a CPU second, ours over those of the loop, taken in turn: to be judged, the command "
            f"{ratio(command, loop)}, in Python {ratio(python, loop)}; verdicts stored {ratio(stored, plain_stored)}. "
            f"Pass@k differs by at most {apart:.0e}.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of each of the 150 problems")
    parser.add_argument("--workers", type=int, default=2, help="processes of ours that judge")
    parser.add_argument("--plain-problems", type=int, default=6, help="problems whose samples the loop judges")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, every process would compile every module anew
    with tempfile.TemporaryDirectory() as folder:
        sides = sides_of(Path(folder), arguments)
        for _ in range(arguments.turns):
            for side in sides:
                side.run()
    deliver(page(sides, arguments), arguments.out)


if __name__ == "__main__":
    main()
