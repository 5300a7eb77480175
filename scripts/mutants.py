"""Plants small faults in the code of some rooms, one at a time, and lists those that no test of the room notices.

    make mutants ROOMS="algos metrics"
    make mutants ROOMS=verify ARGS="--sample 40 --seed 1"
    make mutants ROOMS=store ARGS="'unsqueeze.store.atomic*'"

mutmut (3.8) makes the faults. Each is written into a copy of the checkout, ``build/mutants/copy/``, and tried there by
pytest in a process of its own. mutmut's own way, a fault that is switched on by an environment variable, reaches no
process whose environment is empty, which is what workers that judge have.

A fault is tried by the test files of its room that name its module or, where none does, one that imports it; with
``--whole-room`` what survives them is tried by all the others of the room, too. Each of these files first has to pass
without a fault. What was done stands in ``build/mutants/ROOM.jsonl``, and is not done again. The survivors, as
differences, come to ``ROOM.diff`` beside it. Most of them are equivalent or concern the words of a message; they are to
be read. docs/results/mutants.md has those that were.

A fault may be one that kills or deletes what it should not. So all this is done on Linux, as root, by ``unshare``,
where no other process is seen and nothing can be written outside ``build/mutants/``.
"""

import argparse
import fnmatch
import importlib
import importlib.util
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from difflib import unified_diff
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "mutants"
ROOMS = ("algos", "metrics", "store", "training", "verify", "rollout")
NEEDED = ("benchmarks", "docs", "examples", "scripts", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md")
"""What tests read beside the sources and themselves."""
PYTEST = (
    *("-x", "-q", "-m", "not slow and not gpu and not vllm and not swift and not browser", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # what is loaded beforehand has plugins
)
PRELOADED = ("torch", "transformers", "pyarrow.parquet", "pydantic", "sympy", "hypothesis", "beartype", "jaxtyping")
"""What most tests import and no fault is in. None of it starts a thread, so that the process may be forked."""
ALONE = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-ec")
IN_ONE_FOLDER = """
mount --bind "$0" "$0"
mount --bind /dev/null /dev/null
mount -o remount,bind,ro /
exec "$@"
"""
MOST_DATA = 6 << 30
"""Bytes that a process of a try may have: a fault may take a limit of memory away."""
UNNOTICED = ("survived", "no tests")
"""Outcomes of faults that are listed: all tests passed, or none could run here, as those of vLLM where it is not."""


@dataclass(frozen=True)
class Fault:
    """One change of one function: its name, ``MODULE:FUNCTION:NUMBER``, its file, that file with it, the difference."""

    name: str
    file: str
    source: str
    diff: str


@dataclass(frozen=True)
class Tried:
    """What came of a fault, ``noticed``, ``timed out`` or one of ``UNNOTICED``, and by which files it was tried."""

    name: str
    diff: str
    outcome: str
    tests: list[str]
    seconds: float


class Faults:
    """All faults that mutmut makes in a room."""

    def __init__(self, room: str, root: Path) -> None:
        from libcst import FunctionDef
        from mutmut.mutation.file_mutation import create_mutations

        self._root, self._made = root, {}
        for path in sorted((root / "src/unsqueeze" / room).rglob("*.py")):
            file = str(path.relative_to(root))
            whole, mutations, *_ = create_mutations(file, path.read_text(encoding="utf-8"))
            numbers: dict[str, int] = {}
            for one in mutations:
                if isinstance(function := one.contained_by_top_level_function, FunctionDef):
                    place = f"{_module(Path(file))}:{function.name.value}"
                    numbers[place] = numbers.get(place, 0) + 1
                    self._made[f"{place}:{numbers[place]}"] = (file, whole, one)

    def names(self) -> list[str]:
        """Return the names, in the order of files and lines."""
        return list(self._made)

    def write_out(self, name: str) -> Fault:
        """Return a fault as the whole source of its file."""
        file, whole, one = self._made[name]
        wrong = whole.code_for_node(whole.deep_replace(one.original_node, one.mutated_node))
        right = (self._root / file).read_text(encoding="utf-8")
        lines = unified_diff(right.splitlines(), wrong.splitlines(), file, file, lineterm="", n=2)
        return Fault(name, file, wrong, "\n".join(lines))


def chosen(names: Sequence[str], patterns: Sequence[str], sample: int | None, seed: int) -> list[str]:
    """Return the names that match any pattern (all without one): each, or a random sample in the order it was drawn.

    The first few of a larger sample of the same seed are the smaller one.
    """
    among = [name for name in names if not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)]
    if sample is None:
        return among
    random.Random(seed).shuffle(among)
    return among[:sample]


def tests_of(file: str, room: str, root: Path) -> list[str]:
    """Return the test files of a room that name a module, else those that name one which imports it, and so on."""
    tests = {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in sorted((root / "tests" / room).rglob("test_*.py"))
    }
    sources = {_module(path.relative_to(root)): path for path in sorted((root / "src").rglob("*.py"))}
    said = {module: path.read_text(encoding="utf-8") for module, path in sources.items()}
    known, ring = set[str](), {_module(Path(file))}
    while ring:
        found = [test for test, text in tests.items() if any(_names(text, module) for module in ring)]
        if found:
            return found
        known |= ring
        ring = {module for module, text in said.items() if any(_names(text, one) for one in ring)} - known
    return list(tests)


def _names(text: str, module: str) -> bool:
    """Tell whether a text names a module: whole, or as ``from PACKAGE import NAME``."""
    package, _, name = module.rpartition(".")
    return bool(re.search(rf"\b{re.escape(module)}\b(?!\.)|from {re.escape(package)} import .*\b{name}\b", text))


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")


@contextmanager
def planted(folder: Path, fault: Fault) -> Iterator[None]:
    """Have a fault in a copy of the checkout."""
    path = folder / fault.file
    right = path.read_text(encoding="utf-8")
    try:
        _write(path, fault.source)
        yield
    finally:
        _write(path, right)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # What was compiled is told from what is new by size and second alone.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


class Workplace:
    """A copy of the checkout, in which faults are tried by test files, each try in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._took_s: dict[str, float] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("src", "tests", "pyproject.toml", *NEEDED):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name)
            else:
                shutil.copy(ROOT / name, folder / name)

    def seconds(self, tests: Sequence[str]) -> float:
        """Return how long test files take without a fault. SystemExit where one fails."""
        for test in tests:
            if test not in self._took_s:
                start = time.monotonic()
                if self._pytest([test], None) not in (0, 5):  # 5: every test of the file is left out
                    raise SystemExit(f"{test} does not pass without a fault: see {self.folder / 'output'}.")
                self._took_s[test] = time.monotonic() - start
        return sum(self._took_s[test] for test in tests)

    def outcome(self, fault: Fault, tests: Sequence[str]) -> str:
        """Try a fault by test files, the quick ones first."""
        limit_s = 20 + 4 * self.seconds(tests)
        with planted(self.folder, fault):
            code = self._pytest(sorted(tests, key=lambda test: self._took_s[test]), limit_s)
        return "timed out" if code is None else {0: "survived", 5: "no tests"}.get(code, "noticed")

    def _pytest(self, tests: Sequence[str], limit_s: float | None) -> int | None:
        """Return pytest's exit code. None: it was stopped after so many seconds."""
        child = os.fork()
        if child == 0:
            self._run(tests)
        deadline = float("inf") if limit_s is None else time.monotonic() + limit_s
        status = None
        while status is None and time.monotonic() < deadline:
            time.sleep(0.05)
            status = _ended(child)
        # Whatever the try has started is in this space of processes, and nothing else is.
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        return status

    def _run(self, tests: Sequence[str]) -> None:
        """Run pytest in this process, and end it. The package tried is that of the copy, or the process fails."""
        code = 70
        try:
            # The copy was not there when this program began: its folder is taken for one that holds nothing.
            importlib.invalidate_caches()
            package = importlib.util.find_spec("unsqueeze")
            assert package is not None, "the package is nowhere"
            assert Path(str(package.origin)).is_relative_to(self.folder), package
            os.setsid()
            os.chdir(self.folder)
            output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA))
            import pytest

            code = int(pytest.main([*PYTEST, *tests]))
        except BaseException:  # noqa: BLE001 - this process is a copy, and must not go on as the other
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _ended(child: int) -> int | None:
    """Return the exit code of a child that has ended; orphans, which come to the first of their space, are cleared."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def try_room(room: str, given: argparse.Namespace, workplace: Workplace) -> None:
    """Try the chosen faults of a room that were not tried before, and write its survivors."""
    record = PLACE / f"{room}.jsonl"
    if given.fresh:
        record.unlink(missing_ok=True)
    faults = Faults(room, workplace.folder)
    names = chosen(faults.names(), given.names, given.sample, given.seed)
    print(f"{room}: {len(names)} of {len(faults.names())} faults", flush=True)
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    done = {(one.name, one.diff): one for one in (Tried(**json.loads(line)) for line in lines)}
    everything = [
        str(path.relative_to(workplace.folder))
        for path in sorted((workplace.folder / "tests" / room).rglob("test_*.py"))
    ]
    found = []
    for number, name in enumerate(names, 1):
        fault = faults.write_out(name)
        if (name, fault.diff) not in done:
            start, tests = time.monotonic(), tests_of(fault.file, room, workplace.folder)
            outcome = workplace.outcome(fault, tests)
            if outcome in UNNOTICED and given.whole_room and len(tests) < len(everything):
                of_others = workplace.outcome(fault, [test for test in everything if test not in tests])
                outcome = outcome if of_others == "no tests" else of_others
                tests = everything
            one = Tried(name, fault.diff, outcome, tests, round(time.monotonic() - start, 1))
            with record.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(one)) + "\n")
            done[name, fault.diff] = one
            print(f"{number}/{len(names)} {outcome} {name} ({one.seconds} s)", flush=True)
        found.append(done[name, fault.diff])
    survived = [one for one in found if one.outcome in UNNOTICED]
    listed = "\n".join(f"# {one.name}, {one.outcome}, tried by {' '.join(one.tests)}\n{one.diff}\n" for one in survived)
    (PLACE / f"{room}.diff").write_text(listed, encoding="utf-8")
    print(f"{room}: {len(survived)} of {len(found)} faults that no test noticed, in {PLACE / room}.diff", flush=True)


def go_alone(argv: Sequence[str]) -> None:
    """Become the first process of a space of its own, in which nothing but the folder of faults can be written."""
    (PLACE / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "CI": "1",  # properties are tried on the same examples every time
        "HF_HUB_OFFLINE": "1",
        "HOME": str(PLACE / "tmp"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(PLACE / "copy/src"),
        "TMPDIR": str(PLACE / "tmp"),
        "UNSQUEEZE_DATA": os.environ.get("UNSQUEEZE_DATA", str(ROOT.parent / "shared/data")),
    }
    program = [*ALONE, IN_ONE_FOLDER, str(PLACE), sys.executable, __file__, "--alone", *argv]
    os.execvp(program[0], program)


def main(argv: Sequence[str]) -> None:
    """Try every room in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS), metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--sample", type=int, metavar="N", help="only so many faults of each room, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--whole-room", action="store_true", help="survivors are tried by all tests of the room")
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    parser.add_argument("names", nargs="*", help="only faults of these names, such as 'unsqueeze.algos.selection:*'")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if not given.alone:
        go_alone(argv)
    for name in PRELOADED:
        importlib.import_module(name)
    workplace = Workplace(PLACE / "copy")
    for room in given.rooms:
        try_room(room, given, workplace)


if __name__ == "__main__":
    main(sys.argv[1:])
