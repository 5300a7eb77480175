"""TRL's ``completions/completions_00012.parquet`` (``log_completions=True``), one file a log call.

Written by ``GRPOTrainer.log`` (TRL 1.16): the rows of the last generation so far, whichever step it was for, and those
of an evaluation, under one name. ``step`` is the step of the log call. Neither tokens, log-probs nor the reason of an
end are in it, and not the weights of the rewards.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts.format import (
    Asked,
    Format,
    number_of,
    numbered_files,
    reward_column,
    value_of,
    whole_number_of,
)
from unsqueeze.interop.sample_files import Record, is_parquet, open_parquet, parquet_batches

KNOWN = ("step", "prompt", "completion", "advantage")
GOLDS = ("solution", "answer", "gold", "ground_truth")
"""Names under which data sets keep gold answers, which a reward function may hand to ``log_extra``."""


def _step(name: str) -> int | None:
    found = re.fullmatch(r"completions_(\d+)\.parquet", name)
    return None if found is None else int(found[1])


def find(path: Path) -> list[str]:
    """Return the files of a trainer's output folder, of its ``completions/``, or the one file."""
    if path.is_dir():
        inner = path / "completions"
        return numbered_files(inner if inner.is_dir() else path, "completions_*.parquet", _step)
    return [str(path)] if _step(path.name) is not None else []


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield every row of every log call, repeated ones too."""
    for call, file in enumerate(files):
        if not is_parquet(file):
            raise UserError(f"{file}: TRL writes Parquet; give the folder completions/ or a file of it.")
        yield from _read_file(call, file, asked)


def _read_file(call: int, path: str, asked: Asked) -> Iterator[Record]:
    import pyarrow as pa

    with open_parquet(path) as file:
        schema = file.schema_arrow
        numbers = [
            field.name
            for field in schema
            if field.name not in (*KNOWN, *GOLDS)
            and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
        ]
        reward = reward_column(path, numbers, asked, schema.names)
        number = 0
        for _, rows in parquet_batches(path, file):
            for row in rows:
                number += 1
                record = Record(f"{path}, row {number}", row)
                yield Record(record.where, _fields(record, call, reward))


def _fields(record: Record, call: int, reward: str | None) -> dict[str, Any]:
    gold = next((record.fields[name] for name in GOLDS if record.fields.get(name) is not None), None)
    return {
        "step": whole_number_of(record, "step"),
        "prompt": value_of(record, "prompt", "It must be text or messages."),
        "completion": value_of(record, "completion", "It must be text or one message."),
        "reward": number_of(record, reward),
        "call": call,
        **({} if gold is None else {"gold": gold}),
    }


FORMAT = Format(
    name="trl",
    trainer="TRL",
    wanted="the output_dir of a GRPOTrainer with log_completions=True, or its completions/",
    find=find,
    read=read,
    origins={
        "group": "prompt, and step (of the first log call that has the row)",
        "reward": "the column of a reward function",
        "text": "prompt, completion",
        "cut off": "not in the files: tokens are counted against --max-length",
    },
    overlapping=True,
)
