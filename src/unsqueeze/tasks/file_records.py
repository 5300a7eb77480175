"""Records of a data file: JSON Lines or a JSON array, either of them gzipped or not, or Parquet.

What a file is, is read from its first bytes, not from its name.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, cast

from unsqueeze.errors import UserError, one_line
from unsqueeze.tasks.records import Record

READ = "JSON Lines, a JSON array (either may be gzipped) and Parquet"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"BZh": "compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "compressed with xz; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"ARROW1": "an Arrow file; convert it first",
    b"\xff\xff\xff\xff": "an Arrow stream; convert it first",
    b"version https://git-lfs": "a pointer of Git LFS, not the data; get them with git lfs pull",
    b"<": "HTML or XML, perhaps the page of the file instead of the file; get the file itself",
}
_TABLES = (".csv", ".tsv")
_SNIFFED = 4096
"""Bytes that tell what a file is."""
_BATCH = 1024
"""Rows of a Parquet file that are read together."""


@dataclass(frozen=True, slots=True)
class FileRecords:
    """``unit``: what a record is called in messages. Lines and entries are counted from 1, rows from 0 as on the hub;
    empty lines are passed over, and counted."""

    unit: str
    records: Iterator[tuple[int, Record]]


def file_records(path: Path) -> FileRecords:
    """The records of a file, read as they are asked for (an array is read whole).

    UserError, with file and place, for a file of another kind, one that cannot be read, and what is no record.
    """
    kind = _kind(path)
    if kind == "parquet":
        return FileRecords("row", _rows(path))
    return FileRecords("entry", _entries(path)) if kind == "array" else FileRecords("line", _lines(path))


def count_records(path: Path) -> int:
    """Count the records of a file without looking at them; those of an array are read. UserError as above."""
    kind = _kind(path)
    if kind == "parquet":
        import pyarrow.parquet as pq

        with _reading(path):
            return int(pq.read_metadata(path).num_rows)
    if kind == "array":
        return sum(1 for _ in _entries(path))
    with _reading(path), _opened(path) as file:
        return sum(1 for line in file if line.strip())


def stem(path: Path) -> str:
    """Name of a file without the suffixes of its format: ``a.jsonl.gz`` is ``a``."""
    return Path(path.name.removesuffix(".gz")).stem


def _kind(path: Path) -> str:
    with _reading(path), _opened(path) as file:
        head = file.read(_SNIFFED)
    if head.startswith(_PARQUET):
        if _is_gzipped(path):
            raise UserError(f"{path}: a gzipped Parquet file; unpack it first (Parquet is compressed within).")
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in _OTHERS.items():
        if text.startswith(magic):
            raise UserError(f"{path}: the file is {what}; what is read is {READ}.")
    if path.suffix.lower() in _TABLES and text[:1] not in (b"{", b"[", b""):
        raise UserError(f"{path}: the file is a table of text; convert it first; what is read is {READ}.")
    return "array" if text.startswith(b"[") else "lines"


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if _is_gzipped(path) else path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: the problem file's gzip is damaged or cut off ({one_line(error)}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the problem file is not UTF-8 ({error.reason}); convert it first.") from error
    except OSError as error:
        raise UserError(
            f"{path}: the problem file cannot be read: {(error.strerror or one_line(error)).rstrip('.')}."
        ) from error
    except ValueError as error:  # pyarrow.ArrowInvalid
        raise UserError(f"{path}: the problem file is damaged ({one_line(error).rstrip('.')}).") from error


def _lines(path: Path) -> Iterator[tuple[int, Record]]:
    with _reading(path), _opened(path) as file, TextIOWrapper(file, encoding="utf-8-sig") as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield number, _object(_parsed(line, where, "every line must be one JSON object"), where, "line")


def _entries(path: Path) -> Iterator[tuple[int, Record]]:
    with _reading(path), _opened(path) as file:
        text = file.read().decode("utf-8-sig")
    array = _parsed(text, str(path), "the file begins as an array of objects")
    del text
    assert isinstance(array, list)
    for number, entry in enumerate(array, start=1):
        yield number, _object(entry, f"{path}, entry {number}", "entry")


def _rows(path: Path) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _reading(path), pq.ParquetFile(path) as file:
        number = 0
        try:
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        except (pa.ArrowException, OverflowError) as error:
            raise UserError(f"{path}: the problem file cannot be read ({one_line(error).rstrip('.')}).") from error


def _parsed(text: str, where: str, rule: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{where}: not valid JSON (nested too deep); {rule}.") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise UserError(f"{where}: not valid JSON ({error.msg}, {line}column {error.colno}); {rule}.") from error
    except ValueError as error:  # a number with thousands of digits
        raise UserError(f"{where}: not valid JSON ({error}); {rule}.") from error


def _object(value: object, where: str, unit: str) -> Record:
    if not isinstance(value, dict):
        raise UserError(f"{where}: a JSON {type(value).__name__}; every {unit} must be one JSON object.")
    return value
