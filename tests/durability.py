"""What is waited for on its way to the disk, in order."""

import os
from pathlib import Path
from typing import Any

import pytest


def record_durability(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Every fsync and every rename from now on: ("fsync", what is waited for), ("rename", the new name)."""
    events: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))

    def recording_replace(source: Any, target: Any, **where: Any) -> None:
        replace(source, target, **where)
        events.append(("rename", Path(target)))

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    return events
