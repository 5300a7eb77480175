"""Reading a run of 100,000 rollouts: our readers, which check what they read, beside plain Parquet and JSON Lines.

    python benchmarks/reading.py --out docs/results/reading-2cores.md

The run has 128 rollouts a step, 8 a prompt, each of 12 to 20 tokens with two log-probs a token and a text of some sixty
letters, drawn with a seed and written by the trainer's own writer: a Parquet file a step, with its digest. The same
rows are written as JSON Lines, a file a step, which is the form in which other trainers keep them. Every reader is a
process of its own, in turns; its CPU time counts from when its libraries are loaded, and memory is what its largest
resident size rises by from there. All must find the same number of rollouts and tokens.

*Table* is all columns at once; *groups* are the trainer's own values, a step at a time, as ``unsqueeze report`` reads
them; *columns* are those without texts that demonstrations are chosen by, a step at a time. pyarrow and pandas read the
folder that our writer wrote, and check no digest. The commands count whole: from the start of the interpreter to the
end, ``select`` with what it chooses and writes, ``report`` with its page, which shows 50,000 rollouts at most.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launched import launched
from models import control_of
from pages import deliver, made_by, median_and_range
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict

PROMPTS, GROUP_SIZE, VOCABULARY = 16, 8, 64
Counted = tuple[int, int]
"""Rollouts, and tokens of responses."""


def groups_of(step: int, rng: np.random.Generator) -> list[Group]:
    """Groups of a step."""
    groups = []
    for place in range(PROMPTS):
        number = (step - 1) * PROMPTS + place
        problem = Problem(id=f"p{number % 3000}", prompt=f"Make {number} of 3 7 11 19.", answer="110", task="countdown")
        prompt = rng.integers(0, VOCABULARY, 12, dtype=np.int32)
        rollouts = tuple(_rollout(problem, prompt, number, index, step, rng) for index in range(GROUP_SIZE))
        right_G = rng.random(GROUP_SIZE) < 3 / 8
        verdicts = [Verdict.CORRECT if right else Verdict.WRONG for right in right_G]
        groups.append(
            Group(problem=problem, rollouts=rollouts, judgements=tuple(Judgement(v, "110") for v in verdicts))
        )
    return groups


def _rollout(problem: Problem, prompt: Any, group: int, index: int, step: int, rng: np.random.Generator) -> Rollout:
    length = int(rng.integers(12, 21))
    logp_T = -rng.exponential(0.5, length).astype(np.float32)
    return Rollout(
        problem_id=problem.id,
        group=group,
        index=index,
        prompt_tokens=prompt,
        completion=Completion(
            tokens=rng.integers(0, VOCABULARY, length, dtype=np.int32),
            text=f"3 + 7 = 10; 10 * 11 = 110; 110 - 19 = 91; {rng.integers(2**60)}",
            logp_raw=logp_T,
            logp_behaviour=logp_T,
            stop_reason=StopReason.EOS,
        ),
        policy_version=step - 1,
        phase=0,
        step=step,
    )


def write_run(path: Path, lines: Path, steps: int) -> None:
    """A run of so many steps, and the same rows as JSON Lines."""
    directory = RunDirectory.create(path, {"recipe": control_of(None, None).model_dump(mode="json")})
    lines.mkdir()
    rng = np.random.default_rng(0)
    for step in range(1, steps + 1):
        directory.rollouts.write(step, groups_of(step, rng))
    directory.close()
    import pyarrow.parquet as pq

    for file in sorted((path / "rollouts").iterdir()):
        rows = pq.read_table(file).to_pylist()
        (lines / f"{file.stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_table_of_ours(run: Path, lines: Path) -> Callable[[], Counted]:
    import unsqueeze as uq

    view = uq.open_run(run)
    return lambda: _counted(view.rollouts())


def read_groups(run: Path, lines: Path) -> Callable[[], Counted]:
    import pyarrow.parquet  # noqa: F401

    store = RunDirectory.open(run).rollouts

    def lengths() -> Iterator[int]:
        for step in store.steps():
            yield from (rollout.completion.num_tokens for group in store.read(step) for rollout in group.rollouts)

    return lambda: _count(lengths())


def read_columns(run: Path, lines: Path) -> Callable[[], Counted]:
    import pyarrow.parquet  # noqa: F401

    store = RunDirectory.open(run).rollouts

    def lengths() -> Iterator[int]:
        for step in store.steps():
            yield from (len(tokens) for group in store.read_columns(step) for tokens in group.tokens)

    return lambda: _count(lengths())


def read_by_pyarrow(run: Path, lines: Path) -> Callable[[], Counted]:
    import pyarrow.parquet as pq

    return lambda: _counted(pq.read_table(run / "rollouts"))


def read_by_pandas(run: Path, lines: Path) -> Callable[[], Counted]:
    import pandas as pd  # type: ignore[import-untyped]

    return lambda: _count(map(len, pd.read_parquet(run / "rollouts")["tokens"]))


def read_lines(run: Path, lines: Path) -> Callable[[], Counted]:
    def lengths() -> Iterator[int]:
        for file in sorted(lines.iterdir()):
            with file.open(encoding="utf-8") as rows:
                yield from (len(json.loads(row)["tokens"]) for row in rows)

    return lambda: _count(lengths())


def _counted(table: Any) -> Counted:
    import pyarrow.compute as pc

    return table.num_rows, pc.sum(pc.list_value_length(table["tokens"])).as_py()


def _count(lengths: Iterator[int]) -> Counted:
    number = total = 0
    for length in lengths:
        number, total = number + 1, total + length
    return number, total


READERS: dict[str, Callable[[Path, Path], Callable[[], Counted]]] = {
    "ours, a table": read_table_of_ours,
    "ours, groups": read_groups,
    "ours, columns": read_columns,
    "pyarrow, a table": read_by_pyarrow,
    "pandas, a table": read_by_pandas,
    "JSON Lines, `json.loads`, a line at a time": read_lines,
}
COMMANDS = {"`unsqueeze select`": ("select", "demos.jsonl"), "`unsqueeze report`": ("report", "report.html")}


def read(name: str, run: Path, lines: Path) -> dict[str, Any]:
    """What a reader takes in this process, and what it counts."""
    reader = READERS[name](run, lines)
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    counted = reader()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "mb": peak_mb() - before, "counted": counted}


def peak_mb() -> float:
    """The largest resident memory of this process since it began, in 10^6 bytes; ``getrusage`` has its parent's too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def turn_of(name: str, run: Path, lines: Path) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--part", name, str(run), str(lines)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def turn_of_command(name: str, run: Path) -> dict[str, Any]:
    """A command of ours, whole."""
    command, out = COMMANDS[name]
    turn = launched([sys.executable, "-m", "unsqueeze", command, str(run), "--out", str(run.parent / out)])
    return {"cpu": turn.cpu, "wall": turn.seconds, "mb": turn.mb, "counted": None}


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def page(found: dict[str, list[dict[str, Any]]], run: Path, lines: Path, turns: int) -> str:
    (number, tokens), *_ = (turn["counted"] for taken in found.values() for turn in taken if turn["counted"])
    rows = []
    for name, taken in found.items():
        columns = ([turn[key] for turn in taken] for key in ("cpu", "wall", "mb"))
        each = median_and_range([1e6 * turn["cpu"] / number for turn in taken], 1)
        cells = [median_and_range(column, digits) for column, digits in zip(columns, (2, 2, 0), strict=True)]
        rows.append(f"| {name} | {' | '.join(cells)} | {each} |")
    parquet, text = size_of(run / "rollouts"), size_of(lines)
    return "\n".join(
        [
            f"# Reading a run of {number:,} rollouts",
            "",
            f"{made_by('pyarrow', 'pandas')} {turns} turns; medians [smallest, largest]. The script says what is "
            "measured.",
            "",
            f"{tokens:,} tokens of responses in {len(list(lines.iterdir())):,} files: {parquet / 1e6:.1f} MB of "
            f"Parquet, {parquet / number:.0f} bytes a rollout; {text / 1e6:.1f} MB of JSON Lines, {text / number:.0f} "
            "bytes.",
            "",
            "| reader | CPU s | s | MB more; of commands, in all | CPU µs a rollout |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--commands", nargs="*", choices=list(COMMANDS), default=list(COMMANDS), metavar="COMMAND")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.part:
        name, run, lines = arguments.part
        print(json.dumps(read(name, Path(run), Path(lines))))
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, every process would compile every module anew
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="reading-") as folder:
        run, lines = Path(folder, "run"), Path(folder, "lines")
        write_run(run, lines, -(-arguments.rollouts // (PROMPTS * GROUP_SIZE)))
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in (*READERS, *arguments.commands)}
        for _ in range(arguments.turns):
            for name, taken in found.items():
                taken.append(turn_of(name, run, lines) if name in READERS else turn_of_command(name, run))
                print(f"{name}: {taken[-1]}", file=sys.stderr, flush=True)
        counted = {tuple(turn["counted"]) for taken in found.values() for turn in taken if turn["counted"]}
        assert len(counted) == 1, counted
        deliver(page(found, run, lines, arguments.turns), arguments.out)


if __name__ == "__main__":
    main()
