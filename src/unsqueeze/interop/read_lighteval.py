"""lighteval's results as samples: its details, ``details/MODEL/DATE/details_TASK_DATE.parquet``, a row a problem.

Of a row (lighteval 0.13): ``doc`` (``id``, ``task_name``, ``choices``, ``gold_index``, ``specific``),
``model_response`` (``text``, a list of answers, and ``text_post_processed``, the same without their reasoning where
lighteval took it out), and ``metric``, values of the whole row by name (``pass@k:k=1&n=1``, ``avg@n:n=64``, ``em``).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.sample_files import Record
from unsqueeze.verify.extract import last_boxed

OURS = "unsqueeze"
"""Field in which our export keeps the benchmark and the verdict of every sample: ``doc.specific.unsqueeze``."""

COLUMNS = (
    "doc.id",
    "doc.task_name",
    "doc.choices",
    "doc.gold_index",
    f"doc.specific.{OURS}",
    "metric",
    "model_response.text",
    "model_response.text_post_processed",
)
"""Columns that are read; the tokens beside them are many times as much."""

VERDICTS = ("pass@k", "gpqa_pass@k", "avg@n", "extractive_match", "em", "acc")
"""Metrics that are the verdict where a problem has one answer, the first that is there first."""


def details_files(folder: Path) -> list[Path]:
    """The details in lighteval's output folder, or in one model's or one date's of it; none where it is none.

    UserError where they are of several models or dates.
    """
    root = folder / "details"
    found = root.rglob("details_*.parquet") if root.is_dir() else folder.glob("details_*.parquet")
    files = sorted(found) or sorted(folder.glob("*/details_*.parquet"))
    folders = sorted({path.parent for path in files})
    if len(folders) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in folders[:5])
        raise UserError(f"{folder} holds lighteval's details of several models or dates ({names}); name one of these.")
    return files


def is_details(record: Record) -> bool:
    return {"doc", "model_response"} <= record.fields.keys()


def samples_of_details(record: Record, stem: str) -> Iterator[Record]:
    """The answers of a row of details with the fields that scoring reads. UserError where it is not one.

    A verdict is lighteval's where the problem has one answer, and ours where our export kept it. Of several answers
    lighteval keeps a mean, which does not say which were right: those are left to be judged against the gold answer.
    """
    doc = _mapping(record, record.fields["doc"])
    ours = _mapping(record, (doc.get("specific") or {})).get(OURS) or {}
    benchmark = _mapping(record, ours).get("benchmark")
    named = {
        "problem_id": doc.get("id"),
        "benchmark": (doc.get("task_name") or stem) if benchmark is None else benchmark,
    }
    texts = _texts(record)
    kept = ours.get("correct")
    if kept is not None and (not isinstance(kept, list) or len(kept) != len(texts)):
        raise UserError(f"{record.where}: doc.specific.{OURS}.correct does not say of every text whether it is right.")
    verdict = _verdict(record) if len(texts) < 2 else None
    if kept is not None:
        outcomes: list[dict[str, Any]] = [{"correct": each} for each in kept]
    elif verdict is not None:
        outcomes = [{"correct": verdict}]
    elif not texts:
        raise UserError(f"{record.where}: no text to judge, and none of the metrics {', '.join(VERDICTS)}.")
    else:
        gold = _gold(record, doc)
        outcomes = [{"gold": gold, "prediction": text} for text in texts]
    for outcome in outcomes:
        yield Record(record.where, named | outcome)


def _texts(record: Record) -> list[str]:
    response = _mapping(record, record.fields["model_response"])
    texts = response.get("text_post_processed")
    if texts is None:
        texts = response.get("text") or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _not_details(record)
    return texts


def _verdict(record: Record) -> bool | None:
    """Return the verdict of the metrics on the one answer; None where none of them is a verdict."""
    metrics = _mapping(record, record.fields.get("metric") or {})
    values = {name.partition(":")[0]: (name, value) for name, value in metrics.items() if value is not None}
    found = next((values[name] for name in VERDICTS if name in values), None)
    if found is None:
        return None
    name, value = found
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise UserError(
        f"{record.where}: lighteval's metric {name!r} is {value!r}; of one answer only 0 or 1 can be counted."
    )


def _gold(record: Record, doc: Mapping[str, Any]) -> str:
    """The gold answer; of a worked solution, what it ends with."""
    indices, choices = doc.get("gold_index"), doc.get("choices")
    indices = indices if isinstance(indices, list) else [indices]
    if not isinstance(choices, list) or not all(isinstance(i, int) and 0 <= i < len(choices) for i in indices):
        raise _not_details(record)
    golds = {str(choices[index]) for index in indices}
    if len(golds) != 1:
        raise UserError(
            f"{record.where}: {len(golds)} gold answers; only a problem with one can be judged again. "
            "Score it in lighteval with one sample a problem, and its verdict is read."
        )
    gold = golds.pop()
    boxed = last_boxed(gold)
    return gold.rpartition("####")[2].strip() if boxed is None else boxed


def _mapping(record: Record, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _not_details(record)


def _not_details(record: Record) -> UserError:
    return UserError(
        f"{record.where}: these are no details as lighteval 0.13 writes them "
        "(doc.choices, doc.gold_index, model_response.text, metric)."
    )
