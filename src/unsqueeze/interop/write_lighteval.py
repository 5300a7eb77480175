"""Samples in the layout of lighteval's details, a row a problem.

    OUT/details/unsqueeze/DATE/details_BENCHMARK|0_DATE.parquet

The columns are ``doc``, ``metric`` and ``model_response`` of lighteval 0.13. What a sample of ours does not say
(tokens, prompts) is empty there. Its verdicts stand in ``doc.specific.unsqueeze``: lighteval keeps their mean alone.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsqueeze.errors import UserError
from unsqueeze.interop.exporters import Answer, Answers
from unsqueeze.interop.read_lighteval import OURS
from unsqueeze.store.atomic import atomic_directory
from unsqueeze.store.table import without_lone_surrogates, write_table

MODEL = "unsqueeze"
UNNAMED = "samples"
"""The task of samples that name no benchmark."""

_TEXTS, _NUMBERS, _TOKENS = pa.list_(pa.string()), pa.list_(pa.float64()), pa.list_(pa.int64())
_KEPT = pa.struct([("benchmark", pa.string()), ("correct", pa.list_(pa.bool_()))])
DOC = pa.struct(
    [
        ("query", pa.string()),
        ("choices", _TEXTS),
        ("gold_index", pa.int64()),
        ("instruction", pa.string()),
        ("images", _TEXTS),
        ("specific", pa.struct([(OURS, _KEPT)])),
        ("unconditioned_query", pa.string()),
        ("original_query", pa.string()),
        ("id", pa.string()),
        ("task_name", pa.string()),
        ("fewshot_samples", _TEXTS),
        ("sampling_methods", _TEXTS),
        ("fewshot_sorting_class", pa.string()),
        ("generation_size", pa.int64()),
        ("stop_sequences", _TEXTS),
        ("use_logits", pa.bool_()),
        ("num_samples", pa.int64()),
        ("generation_grammar", pa.string()),
    ]
)
RESPONSE = pa.struct(
    [
        ("input", pa.string()),
        ("input_tokens", _TOKENS),
        ("text", _TEXTS),
        ("output_tokens", pa.list_(_TOKENS)),
        ("text_post_processed", _TEXTS),
        ("reasonings", _TEXTS),
        ("logprobs", _NUMBERS),
        ("argmax_logits_eq_gold", pa.list_(pa.bool_())),
        ("logits", pa.list_(_NUMBERS)),
        ("unconditioned_logprobs", _NUMBERS),
        ("truncated_tokens_count", pa.int64()),
        ("padded_tokens_count", pa.int64()),
    ]
)


def write_lighteval(groups: Answers, out: Path) -> int:
    """Writes the folder ``out``, which must not exist; returns the number of samples. UserError for uneven groups."""
    if not groups:
        raise UserError("there are no samples to export.")
    tasks: dict[str, dict[tuple[str, str, str], Sequence[Answer]]] = {}
    for key, answers in groups.items():
        name = re.sub(r"[/\\\0]", "_", key[0]) or UNNAMED
        tasks.setdefault(f"{name}|0", {})[key] = answers
    date = datetime.now(UTC).replace(tzinfo=None).isoformat().replace(":", "-")
    tables = {f"details_{task}_{date}.parquet": _table(task, members) for task, members in tasks.items()}
    with atomic_directory(out) as aside:
        folder = aside / "details" / MODEL / date
        folder.mkdir(parents=True)
        for name, table in tables.items():
            write_table(folder / name, table)
    return sum(len(answers) for answers in groups.values())


def _table(task: str, groups: Answers) -> pa.Table:
    counts = sorted({len(answers) for answers in groups.values()})
    if len(counts) != 1:
        raise UserError(
            f"the problems of {task.removesuffix('|0')} have {counts[0]} to {counts[-1]} samples; lighteval "
            "samples every problem of a task equally often: leave the surplus out."
        )
    metric = f"avg@n:n={counts[0]}"
    columns = {
        "doc": pa.array([_doc(task, key, answers) for key, answers in groups.items()], DOC),
        "metric": pa.array([{metric: _mean(each)} for each in groups.values()], pa.struct([(metric, pa.float64())])),
        "model_response": pa.array([_response(each) for each in groups.values()], RESPONSE),
    }
    return pa.table(columns)


def _doc(task: str, key: tuple[str, str, str], answers: Sequence[Answer]) -> dict[str, Any]:
    benchmark, problem_id, gold = map(without_lone_surrogates, key)
    known = all(answer.known for answer in answers)
    kept = {"benchmark": benchmark, "correct": [answer.correct for answer in answers] if known else None}
    return {
        "query": problem_id,
        "choices": [gold],
        "gold_index": 0,
        "specific": {OURS: kept},
        "id": problem_id,
        "task_name": without_lone_surrogates(task),
        "fewshot_samples": [],
        "sampling_methods": ["GENERATIVE"],
        "use_logits": False,
        "num_samples": len(answers),
    }


def _mean(answers: Sequence[Answer]) -> float | None:
    """Avg@n of a problem; None unless every sample was judged."""
    right = [answer.correct for answer in answers if answer.correct is not None]
    return sum(right) / len(right) if len(right) == len(answers) else None


def _response(answers: Sequence[Answer]) -> dict[str, Any]:
    empty = ("input_tokens", "output_tokens", "reasonings", "logprobs", "argmax_logits_eq_gold")
    texts = [without_lone_surrogates(answer.text) for answer in answers]
    return {"text": texts, "truncated_tokens_count": 0, "padded_tokens_count": 0} | {name: [] for name in empty}
