"""Files of samples that exist, read as a stream: JSON Lines or Parquet, one sample a line or row.

Memory does not grow with the file. Whatever is wrong with a line is one UserError that names the file, the line and the
field.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from unsqueeze.errors import UserError
from unsqueeze.store.seal import check_seal
from unsqueeze.verify.verdict import Verdict

STANDARD = "-"
"""The name that means standard input or output."""

BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Record:
    """One sample: its fields, the words that say where it stands, and its line as it was (JSON Lines only).

    ``columns`` are all that the file has (Parquet, of which only some are read); of a line the fields are all.
    """

    where: str
    fields: Mapping[str, Any]
    line: bytes = b""
    columns: Sequence[str] = ()

    def names(self) -> str:
        """Return the names of all fields or columns there, in one line."""
        return ", ".join(map(str, self.columns or self.fields)) or "none"


def is_parquet(source: str) -> bool:
    return source != STANDARD and Path(source).suffix.lower() in (".parquet", ".pq")


def check_readable(source: str) -> None:
    if source == STANDARD:
        return
    path = Path(source)
    if not path.exists():
        raise UserError(f"{source}: no such file. Give a JSONL or Parquet file, or - for standard input.")
    if path.is_dir():
        raise UserError(f"{source} is a directory. Give a JSONL or Parquet file, or - for standard input.")


@contextmanager
def open_lines(source: str) -> Iterator[IO[bytes]]:
    check_readable(source)
    if source == STANDARD:
        yield sys.stdin.buffer
        return
    with open(source, "rb") as stream:
        yield stream


OnBad = Callable[[UserError], None]
"""What is done with the error of a line that is then left out."""


def read_jsonl(stream: IO[bytes], name: str, on_bad: OnBad | None = None) -> Iterator[Record]:
    """Every line that is not blank. UserError naming the line where one is not a JSON object, or ``on_bad`` of it."""
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            yield Record(where, _json_object(line, where), line)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(error)


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except UnicodeDecodeError:
        raise UserError(f"{where}: not UTF-8 text. Save the file as UTF-8.") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error}). Every line must be one JSON object.") from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply. Every line must be one plain JSON object.") from None
    if not isinstance(fields, dict):
        raise UserError(f"{where}: a JSON {type(fields).__name__}, not an object. Write {{…}} with named fields.")
    return fields


@contextmanager
def open_parquet(path: str) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``. UserError where the file is none."""
    check_readable(path)
    import pyarrow.parquet as pq

    with _damage_named(path):
        check_seal(Path(path), required=False)
        file = pq.ParquetFile(path)
        # The names of the columns are read here, so that a damaged one is met here.
        present = file.schema_arrow.names
    if len(set(present)) < len(present):
        raise UserError(f"{path}: two of its columns have the same name ({', '.join(present)}).")
    with file:
        yield file


def parquet_batches(path: str, file: Any, columns: Sequence[str] | None = None) -> Iterator[tuple[Any, list[Any]]]:
    """The record batches of an open file, and the rows of each as dictionaries. UserError where it is damaged."""
    batches = file.iter_batches(batch_size=BATCH_ROWS, columns=columns)
    while True:
        with _damage_named(path):
            batch = next(batches, None)
            rows = [] if batch is None else batch.to_pylist()
        if batch is None:
            return
        yield batch, rows


@contextmanager
def _damage_named(path: str) -> Iterator[None]:
    """Translate what pyarrow raises over bytes that are no Parquet, or no values of their type, into one UserError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error)[:300]}).") from None


def read_parquet(path: str, columns: Sequence[str]) -> Iterator[Record]:
    """Every row, with those of ``columns`` that the file has; ``doc.id`` is the field ``id`` of the column ``doc``."""
    with open_parquet(path) as file:
        found = file.schema_arrow.names
        present = [name for name in columns if name in found or name.partition(".")[0] in found]
        number = 0
        for _, rows in parquet_batches(path, file, present):
            for fields in rows:
                number += 1
                yield Record(f"{path}, row {number}", fields, columns=found)


def read_samples(source: str, columns: Sequence[str], on_bad: OnBad | None = None) -> Iterator[Record]:
    """The samples of a file of either kind, or of standard input (JSON Lines)."""
    if is_parquet(source):
        yield from read_parquet(source, columns)
        return
    with open_lines(source) as stream:
        yield from read_jsonl(stream, "standard input" if source == STANDARD else source, on_bad)


def _missing(record: Record, name: str, wanted: str) -> UserError:
    return UserError(f"{record.where}: no field {name!r} (fields there: {record.names()}). {wanted}")


def _plain_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def gold_field(record: Record) -> str:
    """The gold answer: text, a number, or a list of them (order-free)."""
    wanted = "Write the gold answer as text, a number, or a list of them."
    if "gold" not in record.fields:
        raise _missing(record, "gold", wanted)
    value = record.fields["gold"]
    parts = [_plain_text(part) for part in (value if isinstance(value, list) else [value])]
    texts = [part for part in parts if part is not None and part.strip()]
    if len(texts) != len(parts) or not texts:
        raise UserError(f"{record.where}: field 'gold' is {json.dumps(value, default=str)[:80]}. {wanted}")
    return ", ".join(texts)


def prediction_field(record: Record) -> str:
    """The response: text or a number; null counts as a response that says nothing."""
    wanted = "Write the model's response as text."
    if "prediction" not in record.fields:
        raise _missing(record, "prediction", wanted)
    value = record.fields["prediction"]
    text = "" if value is None else _plain_text(value)
    if text is None:
        raise UserError(f"{record.where}: field 'prediction' is {json.dumps(value, default=str)[:80]}. {wanted}")
    return text


def problem_id_field(record: Record) -> str:
    wanted = "Every sample names its problem, as text or a number."
    if "problem_id" not in record.fields:
        raise _missing(record, "problem_id", wanted)
    text = _plain_text(record.fields["problem_id"])
    if text is None:
        found = json.dumps(record.fields["problem_id"], default=str)[:80]
        raise UserError(f"{record.where}: field 'problem_id' is {found}. {wanted}")
    return text


def stated_outcome(record: Record) -> bool | None:
    """Return the outcome that a sample with ``correct`` or ``verdict`` states. None: it was not judged."""
    return _stated_correct(record) if "correct" in record.fields else _stated_verdict(record)


def is_judged(record: Record) -> bool:
    return "correct" in record.fields or "verdict" in record.fields


def _stated_correct(record: Record) -> bool | None:
    value = record.fields["correct"]
    if value is None or (isinstance(value, bool | int | float) and value in (0, 1)):
        return None if value is None else bool(value)
    raise UserError(
        f"{record.where}: field 'correct' is {value!r}. It must be true, false, 1, 0, or null (not judged)."
    )


def _stated_verdict(record: Record) -> bool | None:
    value = record.fields["verdict"]
    try:
        return Verdict(value).correct
    except ValueError:
        allowed = ", ".join(Verdict)
        raise UserError(f"{record.where}: field 'verdict' is {value!r}. It must be one of {allowed}.") from None
