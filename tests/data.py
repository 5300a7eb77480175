"""Where tests find the problem sets, which are not part of the repository."""

import os
from pathlib import Path

import pytest

DEFAULT_FOLDER = Path(__file__).parents[1] / "../shared/data"


def problem_set(name: str) -> Path:
    """The JSONL file ``NAME.jsonl`` with ``id``, ``problem``, ``answer`` and ``source`` on every line.

    Looked for in the folder that ``UNSQUEEZE_DATA`` names, else in ``../shared/data`` beside the checkout. The calling
    test is skipped where the file is not there.
    """
    folder = Path(os.environ.get("UNSQUEEZE_DATA") or DEFAULT_FOLDER).resolve()
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"problem set {name}: no {path}; set UNSQUEEZE_DATA to the folder that holds {name}.jsonl")
    return path
