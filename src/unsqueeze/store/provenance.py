"""Provenance of a run: versions, commit, machine, command line, data. The facts that go into ``run.json``."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from unsqueeze.credentials import without_credentials

PACKAGES = (
    "unsqueeze",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pyarrow",
    "math-verify",
    "sympy",
)


def provenance() -> dict[str, Any]:
    """Package versions, the commit of this package's source (None outside a checkout), the machine and the command."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git": git_state(Path(__file__).parents[1]),
        "platform": platform.platform(),
        "argv": [without_credentials(argument) for argument in sys.argv],
    }


def git_state(source: Path) -> dict[str, Any] | None:
    """The commit that the files in ``source`` belong to and whether they differ from it; None if git tracks them not.

    An installed copy inside somebody's checkout is not tracked there, so that checkout's commit is not taken for ours.
    """
    try:
        _git(source, "ls-files", "--error-unmatch", "__init__.py")
        return {
            "commit": _git(source, "rev-parse", "HEAD"),
            "modified": bool(_git(source, "status", "--porcelain", ".")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
