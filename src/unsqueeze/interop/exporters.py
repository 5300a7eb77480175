"""The answers of every problem, as exporters are given them.

An exporter (``extensions.EXPORTERS``) is a function of ``Answers`` and a folder that does not exist; it writes the
folder and returns the number of samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unsqueeze.errors import UserError
from unsqueeze.interop.sample_files import Record, gold_field, is_judged, problem_id_field, stated_outcome

COLUMNS = ("benchmark", "problem_id", "index", "gold", "text", "prediction", "stop_reason", "correct", "verdict")
"""The fields of samples that are read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One sample as it is written. ``known``: it says whether it is correct (None: it was not judged)."""

    text: str
    cut_off: bool
    known: bool = False
    correct: bool | None = None


Answers = Mapping[tuple[str, str, str], Sequence[Answer]]
"""The answers by benchmark, problem and gold answer, in the order of the file."""


class Exporter(Protocol):
    """Writes the folder ``out``; returns the number of samples. UserError for what its form cannot say."""

    def __call__(self, answers: Answers, out: Path, /) -> int: ...


def grouped(records: Iterable[Record]) -> Answers:
    """Group the answers by problem. UserError naming the line of a sample without its text or its gold answer."""
    answers: dict[tuple[str, str, str], list[Answer]] = {}
    for record in records:
        benchmark = record.fields.get("benchmark")
        key = ("" if benchmark is None else str(benchmark), problem_id_field(record), gold_field(record))
        text = record.fields.get("text", record.fields.get("prediction"))
        if not isinstance(text, str):
            raise UserError(f"{record.where}: no response; it needs text (or prediction), to be judged again.")
        known = is_judged(record)
        correct = stated_outcome(record) if known else None
        answers.setdefault(key, []).append(Answer(text, record.fields.get("stop_reason") == "length", known, correct))
    return answers
