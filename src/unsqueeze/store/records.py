"""JSON files of one object each: written atomically, with a checksum of themselves, checked when read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError
from unsqueeze.plain_json import dumps
from unsqueeze.store.atomic import write_atomically
from unsqueeze.store.seal import sealed, unsealed


def write_record(path: Path, record: Mapping[str, Any], *, replace: bool = False) -> None:
    """Write ``record`` to ``path``. RunError if it exists and ``replace`` is off, or cannot be written."""
    write_atomically(path, dumps(sealed(record), indent=2).encode() + b"\n", replace=replace)


def read_record(path: Path) -> dict[str, Any]:
    """Read the JSON object at ``path``. RunError naming the file if it is missing or damaged."""
    try:
        record = json.loads(path.read_bytes())
        if isinstance(record, dict):
            return unsealed(record)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    raise RunError(f"{path} holds no JSON object; the file was damaged.")
