"""Names that carry a number: ``step-000012.parquet``, ``irl-001.parquet``."""

import re
from pathlib import Path


def step_file(step: int, suffix: str = "") -> str:
    """``step-000012`` and the suffix. Six digits keep the names in order up to a million steps."""
    return f"step-{step:06d}{suffix}"


def numbered(folder: Path, kind: str, suffix: str = "") -> list[int]:
    """The numbers of the complete ``KIND-NUMBER SUFFIX`` entries of ``folder``, rising; none if there is no folder."""
    if not folder.is_dir():
        return []
    pattern = re.compile(rf"{re.escape(kind)}-(\d+){re.escape(suffix)}")
    return sorted(int(match[1]) for entry in folder.iterdir() if (match := pattern.fullmatch(entry.name)))
