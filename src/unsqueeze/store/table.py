"""Parquet tables with a fixed schema: written atomically, with a digest of themselves, checked when read."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unsqueeze.errors import RunError
from unsqueeze.store.atomic import atomic_file
from unsqueeze.store.seal import KEY, UNSEALED, check_seal, seal_file

_SMALL = 1 << 20
"""Bytes of a file up to which columns are decoded in this thread: to wake others takes longer."""


def write_table(path: Path, table: pa.Table, *, replace: bool = False) -> None:
    """Writes ``table`` to ``path`` (zstd). RunError if it exists and ``replace`` is off, or cannot be written."""
    with atomic_file(path, replace=replace) as aside:
        # Log-probs hardly ever repeat: dictionaries made files of rollouts larger and took five times as long, and
        # of the texts that do repeat zstd takes care as well. Least and greatest log-probs help no reader, nor does
        # Arrow's own copy of the schema: Parquet's says the same of these types.
        with pq.ParquetWriter(
            aside, table.schema, compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({KEY: UNSEALED})
        seal_file(aside)


def read_table(path: Path, schema: pa.Schema, *, optional: Sequence[pa.Field] = ()) -> pa.Table:
    """The columns of ``schema`` of the file at ``path``, and of ``optional`` those that are there.

    RunError naming the file if it is missing, damaged or another.
    """
    try:
        check_seal(path)
        with pq.ParquetFile(path) as file:
            found = file.schema_arrow.names
            missing = [field.name for field in schema if field.name not in found]
            if missing:
                raise RunError(f"{path}: no column {', '.join(missing)}; it is not a file of this kind.")
            for field in optional:
                schema = schema.append(field) if field.name in found else schema
            table = file.read(schema.names, use_threads=path.stat().st_size > _SMALL).select(schema.names).cast(schema)
        table.validate(full=True)
        return table
    except FileNotFoundError as error:
        raise RunError(f"{path} does not exist.") from error
    except (OSError, pa.ArrowException, ValueError) as error:
        raise RunError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def table_of_rows(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """One row a value; the columns of ``schema`` are its attributes."""
    columns = [column(list(map(attrgetter(field.name), rows)), field.type) for field in schema]
    return pa.table(columns, schema=schema)


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array of ``values``. Half of a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([None if text is None else without_lone_surrogates(text) for text in values], kind)


def without_lone_surrogates(text: str) -> str:
    """``text`` as UTF-8 can hold it: half of a surrogate pair becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
