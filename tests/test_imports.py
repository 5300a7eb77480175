"""Imports point inward: the pure rings know no engine, file or process, and asking for help loads no torch."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import unsqueeze

PACKAGE = Path(unsqueeze.__file__).parent

# What each part may import of the others. A new part is entered here on purpose: it says which ring it belongs to.
GROUND = {
    "errors",
    "seeds",
    "credentials",
    "utf8",
    "digests",
    "plain_json",
    "tables",
    "wording",
    "device_errors",
    "hub_errors",
    "progress",
    "extensions",
    "models",
    "recipes",
    "suites",
}
PURE_RING = GROUND | {"algos", "metrics", "config", "cost"}
INWARD: dict[str, set[str]] = {
    # ground
    "errors": set(),
    "seeds": set(),
    "credentials": set(),
    "utf8": set(),
    "digests": set(),
    "plain_json": set(),
    "tables": set(),
    "wording": set(),
    "models": set(),
    "recipes": set(),
    "suites": set(),
    "device_errors": {"errors"},
    "hub_errors": set(),
    "progress": {"errors"},
    "extensions": {"errors"},
    # pure
    "algos": {"errors", "extensions"},
    "metrics": {"errors"},
    "config": {"errors", "credentials", "extensions", "algos"},
    "cost": {"errors", "config"},
    # adapters, each on those before it
    "tasks": {"errors", "wording", "hub_errors", "seeds", "utf8", "digests", "extensions", "config", "metrics"},
    "distributed": {"errors", "progress"},
    "policy": PURE_RING | {"distributed"},
    "verify": {"errors", "seeds", "extensions", "config", "tasks", "distributed"},
    "rollout": PURE_RING | {"tasks", "distributed", "policy", "verify"},
    "store": {"errors", "credentials", "plain_json", "digests", "metrics", "tasks", "distributed", "verify", "rollout"},
    "track": {"errors", "plain_json", "metrics", "store"},
    # for the user's own code
    "losses": {"algos"},
    "testing": {"rollout"},
}
INWARD["interop"] = PURE_RING | {"tasks", "verify", "rollout", "store"}
INWARD["evaluation"] = INWARD["interop"] | {"distributed", "policy", "interop"}
# shell
INWARD["training"] = INWARD["evaluation"] | {"track", "evaluation"}
INWARD["integrations"] = INWARD["training"] | {"training"}
INWARD["labs"] = INWARD["training"] | {"training", "tables"}
INWARD["api"] = INWARD["labs"] | {"labs"}
INWARD["report"] = INWARD["api"] | {"api", "tables", "__version__"}
INWARD["__init__"] = INWARD["api"] | {"api", "report", "losses", "testing"}
INWARD["cli"] = INWARD["api"] | {"api", "report", "__version__"}
INWARD["__main__"] = {"cli"}

# What the pure rings may import of others: an allowlist, so that whatever reads a clock, a file or a process is out.
COMPUTING = {
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "math",
    "operator",
    "random",
    "re",
    "statistics",
    "typing",
}
PURE: dict[str, set[str]] = {
    "algos": COMPUTING | {"inspect", "numpy", "torch", "jaxtyping"},
    "metrics": COMPUTING | {"numpy", "torch", "jaxtyping"},
    "tasks": COMPUTING | {"abc", "zlib", "fractions", "hashlib", "inspect", "json"},
    "config": COMPUTING | {"difflib", "json", "pydantic", "reprlib", "types"},
    "cost": COMPUTING,
}
READS_FILES = {
    "tasks/file_records.py": {"contextlib", "gzip", "io", "pathlib", "pyarrow", "zlib"},
    "tasks/files.py": {"pathlib"},
    "tasks/math_task.py": {"pathlib"},
    "tasks/hub.py": {"datasets", "pathlib"},
    "tasks/gym.py": {"os", "subprocess", "sys"},
    "tasks/gym_making.py": {"contextlib", "reasoning_gym", "sys"},
    "config/load.py": {"pathlib", "importlib", "yaml"},
    "config/shipped.py": {"pathlib", "importlib"},
}
EFFECTS = {"open", "print", "input", "exec", "eval", "compile", "__import__"}


def modules_of(part: str) -> list[Path]:
    return [file for file in sorted(PACKAGE.rglob("*.py")) if part_of(file) == part]


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """The full names that ``file`` imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively; this test reads absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_part_has_its_place() -> None:
    parts = {part_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__"}
    assert parts <= set(INWARD), f"enter {parts - set(INWARD)} into INWARD"
    assert all(modules_of(part) for part in PURE)


@pytest.mark.parametrize("part", sorted(INWARD))
def test_imports_point_inward(part: str) -> None:
    for file in modules_of(part):
        own = {name.split(".")[1] for name in imported(file) if name.startswith("unsqueeze.")}
        assert own <= INWARD[part] | {part}, file


@pytest.mark.parametrize("part", sorted(PURE))
def test_pure_rings_only_compute(part: str) -> None:
    for file in modules_of(part):
        foreign = {name.split(".")[0] for name in imported(file)} - {"unsqueeze"}
        assert foreign <= PURE[part] | READS_FILES.get(file.relative_to(PACKAGE).as_posix(), set()), file


@pytest.mark.parametrize("part", ["algos", "metrics"])
def test_the_maths_opens_and_prints_nothing(part: str) -> None:
    for file in modules_of(part):
        called = {
            node.func.id
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & EFFECTS, file


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code`` has run in a new interpreter."""
    script = f"{code}\nimport sys\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=600)
    return set(result.stdout.split("LOADED")[1].split())


HELP = """
import sys
from unsqueeze.cli.main import main
sys.argv = ["unsqueeze", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end
"""


@pytest.mark.parametrize(
    "code",
    [
        "import unsqueeze",
        "import unsqueeze.config.load",
        HELP.format(arguments=["--help"]),
        HELP.format(arguments=["--version"]),
        HELP.format(arguments=["train", "--help"]),
        HELP.format(arguments=["train", "smoke", "--dry-run"]),
        HELP.format(arguments=["lab"]),
        "import unsqueeze as uq; uq.plan('paper/1.5b-3k-sps-grpo')",
    ],
    ids=["package", "config", "help", "version", "train-help", "dry-run", "labs", "plan"],
)
def test_what_must_be_instant_loads_nothing_heavy(code: str) -> None:
    heavy = {"torch", "transformers", "pyarrow", "pandas", "sympy", "math_verify", "trl", "jaxtyping"}
    found = loaded_by(code) & heavy
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "import unsqueeze.store.run_directory, unsqueeze.store.provenance",
        "import unsqueeze as uq; uq.open_run",
        "import unsqueeze.report.gather",
        "import unsqueeze.labs.lab",
        HELP.format(arguments=["select", "ROLLOUTS", "--out", "DEMOS"]),
    ],
    ids=["store", "a-run", "a-report", "lab", "select"],
)
def test_what_reads_files_loads_no_torch(code: str, tmp_path: Path) -> None:
    rollouts = tmp_path / "rollouts.jsonl"
    rows = [{"prompt": "1 + 1?", "completion": str(n), "reward": float(n == 2), "mean_logp": -n} for n in (1, 2)]
    rollouts.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    code = code.replace("ROLLOUTS", str(rollouts)).replace("DEMOS", str(tmp_path / "demos.jsonl"))
    assert not loaded_by(code) & {"torch", "transformers"}
