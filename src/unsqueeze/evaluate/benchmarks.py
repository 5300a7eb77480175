"""Which problems a task means: Countdown, a JSONL file, or the name of one in a data directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.store.provenance import sha256_of
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.tasks.jsonl import load_jsonl_problems
from unsqueeze.tasks.problem import Problem, TaskKind

COUNTDOWN = "countdown"
COUNTDOWN_PROBLEMS = 96
"""How many held-out problems the quickstart evaluates on; the first 96 of any larger number are these."""
COUNTDOWN_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A set of problems under a name. ``sha256`` is that of its file; None where the problems are made."""

    name: str
    kind: TaskKind
    problems: tuple[Problem, ...]
    source: str
    sha256: str | None


def load_benchmarks(tasks: Sequence[str], *, data_dir: Path, limit: int | None = None) -> list[Benchmark]:
    """The benchmarks that ``--task`` names, the first ``limit`` problems of each. UserError for a name given twice."""
    if not tasks:
        raise UserError(
            f"no --task was given; name one: {COUNTDOWN}, a JSONL file, or NAME for NAME.jsonl in --data-dir."
        )
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: give 1 or more problems.")
    benchmarks = [load_benchmark(task, data_dir=data_dir, limit=limit) for task in tasks]
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two tasks are called {name!r}; results are kept by name, so rename one of the files.")
    return benchmarks


def load_benchmark(task: str, *, data_dir: Path, limit: int | None = None) -> Benchmark:
    """The benchmark of one task. UserError naming what is there where it is not found."""
    if task == COUNTDOWN:
        _, problems = countdown_problems(0, limit or COUNTDOWN_PROBLEMS, COUNTDOWN_SEED)
        return Benchmark(name=COUNTDOWN, kind="countdown", problems=tuple(problems), source="made", sha256=None)
    path = find_file(task, data_dir)
    return Benchmark(
        name=path.stem,
        kind="math",
        problems=tuple(load_jsonl_problems(path, limit=limit)),
        source=str(path),
        sha256=sha256_of(path),
    )


def find_file(task: str, data_dir: Path) -> Path:
    """The file a task names: a path that exists, or ``TASK.jsonl`` in the data directory (hyphens for underscores)."""
    if Path(task).is_file():
        return Path(task)
    for name in (task, task.lower().replace("-", "_")):
        if (data_dir / f"{name}.jsonl").is_file():
            return data_dir / f"{name}.jsonl"
    found = sorted(path.stem for path in data_dir.glob("*.jsonl")) if data_dir.is_dir() else []
    there = f"{data_dir} holds {', '.join(found)}" if found else f"--data-dir {data_dir} holds no .jsonl file"
    raise UserError(f"--task {task}: neither {COUNTDOWN}, nor a file, nor found as {task}.jsonl; {there}.")
