"""Plants small faults in the code of some rooms, one at a time, and lists those that no test of the room notices.

    make mutants ROOMS="algos metrics"
    make mutants ROOMS=store ARGS="unsqueeze.store.atomic*"

Each room is tried by the tests of its own folder under ``tests/``: a fault that only a test elsewhere would notice is
listed too. mutmut (3.8) plants and counts; it works in ``build/mutants/ROOM/``, remembers there what is done, and goes
on where it was stopped. The survivors, as differences, come to ``build/mutants/ROOM/survivors.diff``. Most of them are
equivalent or concern the words of a message; they are to be read. docs/results/mutants.md has those that were.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("algos", "metrics", "store", "training", "verify", "rollout")
NEEDED = ("benchmarks", "docs", "examples", "scripts", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md")
"""What tests read beside the sources and themselves."""
SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/unsqueeze/{room}/*"]
pytest_add_cli_args_test_selection = ["tests/{room}"]
pytest_add_cli_args = ["-m", "not slow and not gpu and not vllm and not swift", "-p", "no:cacheprovider"]
also_copy = {needed}
# A process that has run tests has threads of torch, and does not survive being forked.
process_isolation = "forkserver"
"""


def workplace(room: str, folder: Path) -> Path:
    """Make the folder that mutmut copies from: links to the checkout, and its pyproject.toml with settings for a room.

    The faults themselves never come near the checkout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tests", *NEEDED):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    settings = SETTINGS.format(room=room, needed=list(NEEDED))
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8") + settings)
    return folder


def survivors(folder: Path) -> list[str]:
    """Return what no test noticed, each as a difference."""
    listed = mutmut(folder, "results", capture=True).stdout.splitlines()
    names = [line.split(":")[0].strip() for line in listed if line.endswith((": survived", ": no tests"))]
    return [mutmut(folder, "show", name, capture=True).stdout for name in names]


def mutmut(folder: Path, *arguments: str, capture: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run mutmut in a workplace."""
    # Properties are tried on the same examples every time, or the same fault would be noticed today and not tomorrow.
    environment = {**os.environ, "CI": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)  # it would put the code without faults first
    program = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=capture, text=True, check=False)


def main(argv: list[str]) -> int:
    """Try every room in turn. Returns the first code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS), metavar="ROOM", help=", ".join(ROOMS))
    parser.add_argument("--fresh", action="store_true", help="forget what was done before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="faults tried at a time")
    parser.add_argument("names", nargs="*", help="only faults of these names, such as 'unsqueeze.algos.selection*'")
    given = parser.parse_args(argv)
    for room in given.rooms:
        folder = ROOT / "build" / "mutants" / room
        if given.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        done = mutmut(workplace(room, folder), "run", "--max-children", str(given.jobs), *given.names)
        if done.returncode:
            return done.returncode
        found = survivors(folder)
        (folder / "survivors.diff").write_text("\n".join(found), encoding="utf-8")
        print(f"{room}: {len(found)} faults that no test noticed, in {folder / 'survivors.diff'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
