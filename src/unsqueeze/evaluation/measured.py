"""Settings under which samples were measured, read from beside them, and in what two sides differ."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.evaluation.evaluate import Evaluation
from unsqueeze.evaluation.settings import recipe_of
from unsqueeze.store.run_directory import RunDirectory

NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "credit",
    "max_tokens",
    "prompt_style",
    "mode",
    "template",
    "system",
    "opening",
)
"""Settings that a comparison must not mix: what is drawn, how problems are put, who judges."""


def measured_by(source: Any) -> dict[str, Any]:
    """Return the settings of a run, of an evaluation's directory, or of an evaluation; nothing for other samples."""
    if isinstance(source, Evaluation):
        return of_record(source.record)
    if not isinstance(source, str | Path):
        return {}
    path = Path(source)
    if path.is_file():
        path = path.parent
    if (path / "summary.json").is_file():
        return of_record(_read(path / "summary.json"))
    for folder in (path, path.parent):
        if (folder / "run.json").is_file():
            return of_run(RunDirectory.open(folder))
    return {}


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read them from the record of an evaluation; what differs between its benchmarks is left out."""
    parts = [part for part in record.get("settings", {}).values() if isinstance(part, Mapping)]
    found = {name: record[name] for name in NAMES if name in record}
    for name in NAMES:
        values = [part[name] for part in parts if name in part]
        if values and all(value == values[0] for value in values):
            found[name] = values[0]
    return found


def of_run(run: RunDirectory) -> dict[str, Any]:
    """Read them from the recipe of a run."""
    try:
        recipe = recipe_of(run)
    except UserError:
        return {}  # a run of another version may still be compared
    if recipe is None:
        return {}
    return {
        "temperature": recipe.evaluation.temperature,
        "top_p": recipe.evaluation.top_p,
        "top_k": recipe.evaluation.top_k,
        "credit": recipe.verify.credit,
        "max_tokens": recipe.rollout.max_tokens,
    }


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Say in which settings that are known of both sides they differ."""
    for name in NAMES:
        if name in first and name in second and first[name] != second[name]:
            yield f"{name} {json.dumps(first[name])} and {json.dumps(second[name])}"


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
