"""Verdicts for files of samples, in one pass: what is read is judged and written before more is read."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from unsqueeze.errors import UserError
from unsqueeze.evaluation.file_notes import FileNotes
from unsqueeze.interop.sample_files import (
    STANDARD,
    Record,
    gold_field,
    is_parquet,
    open_lines,
    open_parquet,
    parquet_batches,
    prediction_field,
    read_jsonl,
)
from unsqueeze.store.outputs import output_file
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Judgement

_CHUNK_SAMPLES = 2048
_CHUNK_CHARACTERS = 1 << 22

Advance = Callable[[int], None]
_Sized = TypeVar("_Sized")


def chunked(
    items: Iterable[_Sized], length: Callable[[_Sized], int], most: int = _CHUNK_SAMPLES
) -> Iterator[list[_Sized]]:
    """Lists of items, none longer than ``most``, none much longer than four million characters in all."""
    chunk: list[_Sized] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += length(item)
        if len(chunk) >= most or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def count_samples(source: str, notes: FileNotes) -> int | None:
    """Count the samples of a file that can be judged. None for standard input, read but once.

    UserError where one cannot, unless ``notes`` are to leave it out.
    """
    if source == STANDARD:
        return None
    if is_parquet(source):
        with open_parquet(source) as file:
            for name in ("gold", "prediction"):
                if name not in file.schema_arrow.names:
                    found = ", ".join(file.schema_arrow.names)
                    raise UserError(f"{source}: no column {name!r} (columns there: {found}).")
            return int(file.metadata.num_rows)
    with open_lines(source) as stream:
        return sum(1 for _ in notes.usable(read_jsonl(stream, source, notes.on_bad), check_judgeable))


def check_judgeable(record: Record) -> None:
    """UserError if a sample lacks its gold answer or its response, or has one that is neither text nor a number."""
    gold_field(record)
    prediction_field(record)


def write_verdicts(
    source: str,
    out: str,
    verifier: MathVerifier,
    notes: FileNotes,
    *,
    explain: bool = False,
    on_finished: Advance | None = None,
) -> Counter[str]:
    """Copy ``source`` to ``out`` with a verdict for every sample; returns how many there are of each.

    Everything else stays as it is and where it is: JSON lines are copied character by character. ``explain`` adds
    ``extracted`` and ``reason``. ``notes`` take down what is to be said of the file. A file appears at ``out`` when it
    is complete, and not before.
    """
    if is_parquet(source):
        if not is_parquet(out):
            raise UserError(
                f"out is {out}: the input is Parquet, so the output is too; name it with .parquet at its end."
            )
        return _verdicts_of_parquet(source, out, verifier, notes, explain, on_finished)
    if is_parquet(out):
        raise UserError(f"out is {out}: the input is JSON Lines, so the output is too; name it with .jsonl at its end.")
    with open_lines(source) as lines, _written(out) as stream:
        name = "standard input" if source == STANDARD else source
        records = notes.usable(read_jsonl(lines, name, notes.on_bad), check_judgeable)
        return _verdicts_of_lines(records, stream, verifier, notes, explain, on_finished)


@contextmanager
def _written(out: str) -> Iterator[IO[bytes]]:
    if out == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with output_file(out) as path, open(path, "wb") as stream:
        yield stream


def _verified(
    records: Sequence[Record], verifier: MathVerifier, notes: FileNotes, on_finished: Advance | None
) -> list[Judgement]:
    golds, responses = [gold_field(record) for record in records], [prediction_field(record) for record in records]
    judgements = verifier.verify_answers(golds, responses, on_finished=on_finished)
    notes.note_judgements(records, judgements)
    return judgements


def _verdicts_of_lines(
    records: Iterator[Record],
    out: IO[bytes],
    verifier: MathVerifier,
    notes: FileNotes,
    explain: bool,
    on_finished: Advance | None,
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for chunk in chunked(records, lambda record: len(record.line)):
        judgements = _verified(chunk, verifier, notes, on_finished)
        for record, judgement in zip(chunk, judgements, strict=True):
            out.write(_with_verdict(record, judgement, explain))
        out.flush()
        counts.update(judgement.verdict.value for judgement in judgements)
    return counts


def _new_fields(judgement: Judgement, explain: bool) -> dict[str, str | None]:
    fields: dict[str, str | None] = {"verdict": judgement.verdict.value}
    return fields | {"extracted": judgement.extracted, "reason": judgement.reason} if explain else fields


def _with_verdict(record: Record, judgement: Judgement, explain: bool) -> bytes:
    added = _new_fields(judgement, explain)
    if any(name in record.fields for name in added):
        return json.dumps({**record.fields, **added}).encode("ascii") + b"\n"
    # Before the closing brace of the line as it was, so that nothing else of it changes.
    return record.line.rstrip().removesuffix(b"}") + b", " + json.dumps(added)[1:].encode("ascii") + b"\n"


def _verdicts_of_parquet(
    source: str, out: str, verifier: MathVerifier, notes: FileNotes, explain: bool, on_finished: Advance | None
) -> Counter[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    with open_parquet(source) as file, output_file(out) as path:
        names = ["verdict", "extracted", "reason"] if explain else ["verdict"]
        schema = _with_columns(file.schema_arrow, names, pa)
        with pq.ParquetWriter(path, schema) as writer:
            first_row = 1
            for batch, rows in parquet_batches(source, file):
                numbered = [Record(f"{source}, row {first_row + place}", row) for place, row in enumerate(rows)]
                records = list(notes.usable(numbered, check_judgeable))
                kept = {record.where for record in records}
                batch = batch.filter(pa.array([record.where in kept for record in numbered], pa.bool_()))
                judgements = _verified(records, verifier, notes, on_finished)
                added = [_new_fields(judgement, explain) for judgement in judgements]
                columns = dict(zip(batch.schema.names, batch.columns, strict=True)) | {
                    name: pa.array([fields[name] for fields in added], pa.string()) for name in names
                }
                writer.write_batch(pa.record_batch([columns[name] for name in schema.names], schema=schema))
                counts.update(judgement.verdict.value for judgement in judgements)
                first_row += len(rows)
    return counts


def _with_columns(schema: Any, names: Sequence[str], pa: Any) -> Any:
    """The schema with these text columns, in place of those of the same name or at its end."""
    for name in names:
        place = schema.get_field_index(name)
        field = pa.field(name, pa.string())
        schema = schema.append(field) if place < 0 else schema.set(place, field)
    return schema


def describe_counts(counts: Counter[str]) -> str:
    """``19,200 answers: 9,412 correct, …`` in the order of ``Verdict``."""
    from unsqueeze.verify.verdict import Verdict

    if not counts:
        return "no answers"
    parts = [
        f"{counts[verdict.value]:,} {verdict.value.replace('_', ' ')}" for verdict in Verdict if counts[verdict.value]
    ]
    return f"{counts.total():,} answers: {', '.join(parts)}"
