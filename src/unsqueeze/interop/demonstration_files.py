"""Files of demonstrations as they are written: JSON Lines, or Parquet where the name says so."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unsqueeze.interop.sample_files import is_parquet
from unsqueeze.plain_json import dumps
from unsqueeze.store.outputs import output_file

ROWS = 1024
"""Demonstrations of one row group."""


def write_demonstrations(out: str | Path, demonstrations: Iterable[dict[str, Any]]) -> None:
    """Write the file ``out``, replaced once all are written."""
    with output_file(out) as path:
        if is_parquet(str(out)):
            _write_parquet(path, demonstrations)
            return
        with path.open("w", encoding="ascii") as stream:
            for demonstration in demonstrations:
                stream.write(dumps(demonstration) + "\n")


def _write_parquet(path: Path, demonstrations: Iterable[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = iter(demonstrations)
    first = list(itertools.islice(stream, ROWS))
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    is_chat = bool(first) and "messages" in first[0]
    chat = pa.list_(message)
    kinds = {
        "problem_id": pa.string(),
        **({"messages": chat} if is_chat else {}),
        "prompt": chat if is_chat else pa.string(),
        "completion": chat if is_chat else pa.string(),
        "prompt_tokens": pa.list_(pa.int32()),
        "tokens": pa.list_(pa.int32()),
        "reward": pa.float64(),
        "mean_logp": pa.float64(),
        "num_tokens": pa.int64(),
        "likelihood_under": pa.string(),
        "reason": pa.string(),
        "step": pa.int64() if all(isinstance(each.get("step", 0), int) for each in first) else pa.string(),
        "stop_reason": pa.string(),
        "rendered": pa.bool_(),
    }
    # A column of nothing but nulls is left out: trainers take a column called prompt_tokens, say, for what it says.
    kinds = {name: kind for name, kind in kinds.items() if name == "stop_reason" or any(name in each for each in first)}
    schema = pa.schema(list(kinds.items()))
    with pq.ParquetWriter(path, schema) as writer:
        while first:
            writer.write_table(pa.Table.from_pylist(first, schema=schema))
            first = list(itertools.islice(stream, ROWS))
