"""EvalScope's results as samples: the reviews in its work directory, ``reviews/MODEL/BENCHMARK_SUBSET.jsonl``.

Of a line (EvalScope 1.14): ``sample_score`` holds ``score`` (``value``, ``main_score_name``, ``status``,
``extracted_prediction``), ``group_id`` (the problem), ``generation_index`` and ``sample_metadata``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.sample_files import Record

PROBLEM_ID = "problem_id"
BENCHMARK = "benchmark"
"""Keys that our export writes into the metadata of a prediction, and EvalScope keeps."""


def review_files(folder: Path) -> list[Path]:
    """The reviews in EvalScope's work directory, or in one model's folder of them; none where it is neither."""
    models = sorted(path for path in (folder / "reviews").glob("*") if path.is_dir())
    if len(models) > 1:
        names = ", ".join(path.name for path in models)
        raise UserError(f"{folder} holds reviews of several models ({names}); name one: {models[0]}.")
    reviewed = models[0] if models else folder
    return sorted(reviewed.glob("*.jsonl")) if reviewed.parent.name == "reviews" else []


def is_review(record: Record) -> bool:
    return "sample_score" in record.fields


def sample_of_review(record: Record, stem: str) -> Record:
    """A line of reviews with the fields that scoring reads. UserError where it is not one.

    The problem and the benchmark are those our export named, else the group and the name of the file.
    """
    score = _mapping(record, record.fields["sample_score"])
    metadata = score.get("sample_metadata") or {}
    problem = _mapping(record, metadata).get(PROBLEM_ID, score.get("group_id"))
    judged = _mapping(record, score.get("score"))
    fields = {
        "problem_id": score.get("sample_id") if problem is None else problem,
        "benchmark": metadata.get(BENCHMARK, stem),
        "correct": _main_value(record, judged),
        "extracted": judged.get("extracted_prediction"),
    }
    return Record(record.where, fields, record.line)


def _main_value(record: Record, judged: Mapping[str, Any]) -> bool | None:
    """Tell whether it is right; None where EvalScope has no usable score of it."""
    values = _mapping(record, judged.get("value", {}))
    if judged.get("status", "success") != "success" or not values:
        return None
    name = judged.get("main_score_name") or next(iter(values))
    value = values.get(name)
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise UserError(
        f"{record.where}: EvalScope's score {name!r} is {value!r}; only scores of 0 or 1 can be counted as answers."
    )


def _mapping(record: Record, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise UserError(f"{record.where}: this is no review as EvalScope 1.14 writes them (sample_score.score.value).")
