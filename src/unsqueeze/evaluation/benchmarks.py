"""Find the problems of a task: Countdown, a benchmark known by name, a data set of the hub, or a data file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unsqueeze.digests import sha256_of
from unsqueeze.errors import UserError
from unsqueeze.extensions import TASKS, is_place
from unsqueeze.tasks import gym
from unsqueeze.tasks.file_records import stem
from unsqueeze.tasks.files import load_file_problems
from unsqueeze.tasks.hub import PREFIX, HubSource, load_hub_problems, parse_source
from unsqueeze.tasks.known import KNOWN, KnownSet, find_known, format_of
from unsqueeze.tasks.problem import Problem, content_sha256
from unsqueeze.tasks.records import BadRecordError, Reader, or_plain, plain
from unsqueeze.tasks.styles import Asks
from unsqueeze.tasks.task import Task, task_named
from unsqueeze.verify.choice import gold_letter
from unsqueeze.wording import counted, verb

MOST_NAMED = 5
PREFIXES = (PREFIX, gym.PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A set of problems under a name.

    ``sha256`` is that of its file, or of the problems where they come from the hub; None where they are made.
    ``commit`` is that of a data set of the hub.
    """

    name: str
    task: Task
    problems: tuple[Problem, ...]
    source: str
    sha256: str | None
    asks: Asks
    commit: str | None = None
    skipped: tuple[str, ...] = ()
    """What is wrong with the records that were left out (``Where.skip_bad``)."""

    @property
    def option_orders(self) -> dict[str, str]:
        """Order in which options were shuffled, by problem: ``2031`` shows the right one, which is 0, as B."""
        orders = ((problem.id, problem.option_order) for problem in self.problems)
        return {problem_id: "".join(map(str, order)) for problem_id, order in orders if order is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Places in which tasks are looked for, and the fields of those whose format is not known by their name.

    ``skip_bad`` leaves out records that hold no problem, which are otherwise an error.
    """

    data_dir: Path
    limit: int | None = None
    problem_field: str = "problem"
    answer_field: str = "answer"
    skip_bad: bool = False

    @property
    def reader(self) -> Reader:
        return plain(self.problem_field, self.answer_field)


def load_benchmarks(tasks: Sequence[str], where: Where) -> list[Benchmark]:
    """Return the benchmarks of these names. UserError for a name given twice."""
    if not tasks:
        raise UserError(
            f"no task was given; name one: countdown, {', '.join(known.name for known in KNOWN)}, a JSONL file, NAME "
            f"for NAME.jsonl in the data directory, {PREFIX}OWNER/NAME:SPLIT, or package.module:Class of your own."
        )
    if where.limit is not None and where.limit < 1:
        raise UserError(f"limit is {where.limit}; give 1 or more problems.")
    try:
        benchmarks = [load_benchmark(task, where) for task in tasks]
    except BadRecordError as error:
        raise UserError(f"{error} Or leave such records out, counted, with --skip-bad (skip_bad=True).") from error
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two tasks are called {name!r}; results are kept by name, so rename one of the files.")
    return benchmarks


def load_benchmark(task: str, where: Where) -> Benchmark:
    """The benchmark of one task. UserError naming what is there where it is not found."""
    is_own = is_place(task) and not Path(task).is_file() and not task.startswith(PREFIXES)
    if is_own or (task in TASKS and task_named(task).named_is_enough):
        return _made(task_named(task), where.limit)
    if task.startswith(gym.PREFIX):
        return _from_gym(task, where.limit)
    if task.startswith(PREFIX):
        name, _, revision = task.removeprefix(PREFIX).partition("@")
        if known := find_known(name):
            source = replace(known.hub, revision=revision or None)
            return _from_hub(source, known.name, or_plain(known.reader), known.id_field, where)
        source = parse_source(task)
        reader, id_field = format_of(source, where.problem_field, where.answer_field)
        return _from_hub(source, source.name, reader, id_field, where)
    if Path(task).is_file():
        return _from_file(Path(task), stem(Path(task)), where.reader, None, where)
    if known := find_known(task):
        return _load_known(known, where)
    path = _find_file((task, task.lower().replace("-", "_")), where.data_dir)
    if path is None:
        raise UserError(
            f"task {task}: neither a known name (eval --list-tasks), nor a file, nor found as {_looked(task, where)}."
        )
    return _from_file(path, path.stem, where.reader, None, where)


def _made(task: Task, limit: int | None) -> Benchmark:
    """The held-out problems of a task that makes its own."""
    problems = tuple(task.held_out(limit))
    return Benchmark(
        name=task.name.rpartition(":")[2],
        task=task,
        problems=problems,
        source="made",
        sha256=None if task.judged_in_place else content_sha256(problems),
        asks=task.asks,
    )


def _load_known(known: KnownSet, where: Where) -> Benchmark:
    """Load from the data directory, else from the hub."""
    reader = or_plain(known.reader)
    if path := _find_file(known.file_names, where.data_dir):
        return _from_file(path, known.name, reader, known.id_field, where)
    try:
        return _from_hub(known.hub, known.name, reader, known.id_field, where)
    except UserError as error:
        raise UserError(
            f"task {known.name}: put its problems at {where.data_dir / known.name}.jsonl, a line of `problem` and "
            f"`answer` each (or the hub's own fields), or get access: {error}"
        ) from error


def _from_file(path: Path, name: str, reader: Reader, id_field: str | None, where: Where) -> Benchmark:
    skipped: list[str] | None = [] if where.skip_bad else None
    problems = load_file_problems(path, reader=reader, id_field=id_field, limit=where.limit, skipped=skipped)
    return _benchmark(name, problems, str(path), sha256_of(path), skipped=skipped)


def _from_hub(source: HubSource, name: str, reader: Reader, id_field: str | None, where: Where) -> Benchmark:
    skipped: list[str] | None = [] if where.skip_bad else None
    loaded = load_hub_problems(source, reader=reader, id_field=id_field, name=name, skipped=skipped)
    return _benchmark(name, loaded.problems[: where.limit], str(source), loaded.sha256, loaded.commit, skipped)


def _from_gym(task: str, limit: int | None) -> Benchmark:
    name, size, seed = gym.parse_gym(task)
    problems = tuple(gym.gym_problems(name, size, seed, limit))
    return Benchmark(
        name=f"{name}:{size}:{seed}",
        task=task_named("reasoning_gym"),
        problems=problems,
        source=f"{gym.PREFIX}{name}:{size}:{seed}",
        # Another version of the package may make other problems.
        sha256=content_sha256(problems),
        asks="tags",
    )


def _benchmark(
    name: str,
    problems: Iterable[Problem],
    source: str,
    sha256: str,
    commit: str | None = None,
    skipped: Sequence[str] | None = None,
) -> Benchmark:
    """Letters are asked for where every gold answer is one."""
    there = tuple(problems)
    letters = all(gold_letter(problem.answer) for problem in there)
    return Benchmark(
        name=name,
        task=task_named("math"),
        problems=there,
        source=source,
        sha256=sha256,
        asks="choice" if letters else "math",
        commit=commit,
        skipped=tuple(skipped or ()),
    )


def own_benchmark(name: str, problems: Sequence[Problem], source: str) -> Benchmark:
    """Problems of the user's own as a benchmark."""
    there = tuple(problems)
    if not there:
        raise UserError(f"{name}: no problems; give one or more.")
    if twice := [problem_id for problem_id, count in Counter(each.id for each in there).items() if count > 1]:
        raise UserError(
            f"{name}: {counted(len(twice), 'id', 'is', 'are')} given to several problems, such as {twice[0]!r}; "
            f"results are kept by id, so give every problem its own."
        )
    return Benchmark(
        name=name,
        task=task_named(there[0].task),
        problems=there,
        source=source,
        sha256=content_sha256(there),
        asks=task_named(there[0].task).asks,
    )


def hub_commits(benchmarks: Iterable[Benchmark]) -> dict[str, str]:
    """The commits that benchmarks of the hub were read at, by name."""
    return {each.name: each.commit for each in benchmarks if each.commit is not None}


def skipped_records(benchmarks: Iterable[Benchmark]) -> dict[str, int]:
    """How many records were left out of each benchmark that any were left out of, by name."""
    return {each.name: len(each.skipped) for each in benchmarks if each.skipped}


def describe_skipped(benchmark: Benchmark) -> str:
    """Say how many records are left out, and what is wrong with the first of them."""
    told, count = benchmark.skipped, len(benchmark.skipped)
    more = f" And {count - MOST_NAMED:,} more." if count > MOST_NAMED else ""
    return (
        f"{benchmark.name}: {counted(count, 'record')} of {benchmark.source} {verb(count, 'holds', 'hold')} no problem "
        f"and {verb(count, 'is', 'are')} left out: {' '.join(told[:MOST_NAMED])}{more}"
    )


def _find_file(names: Sequence[str], data_dir: Path) -> Path | None:
    """The first ``NAME.jsonl`` that the data directory holds."""
    paths = (data_dir / f"{name}.jsonl" for name in names)
    return next((path for path in paths if path.is_file()), None)


def _looked(task: str, where: Where) -> str:
    folder = where.data_dir
    found = sorted(path.stem for path in folder.glob("*.jsonl")) if folder.is_dir() else []
    there = f"{folder} holds {', '.join(found)}" if found else f"the data directory {folder} holds no .jsonl file"
    return f"{task}.jsonl; {there}"
