"""verl's ``DIR/12.jsonl`` (``trainer.rollout_data_dir``), one file a step, one line a rollout.

Written by ``_dump_generations`` (verl 0.9.1): ``input`` and ``output`` are decoded without special tokens, so that the
true prompt is not in the file and is joined from the data set. ``uid`` (trainer v1) is ``SAMPLE_ROLLOUT_OUTPUT``, whose
group is SAMPLE.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.interop.rollouts.format import (
    Asked,
    Format,
    first_line,
    number_of,
    numbered_files,
    reward_column,
    text_of,
    whole_number_of,
    wrong,
)
from unsqueeze.interop.sample_files import Record, read_samples

KNOWN = ("input", "output", "gts", "step", "uid", "request_id")


def _step(name: str) -> int | None:
    found = re.fullmatch(r"(\d+)\.jsonl", name)
    return None if found is None else int(found[1])


def find(path: Path) -> list[str]:
    """Return the files of the folder in the order of their steps, or the one file, by what its first line holds."""
    files = numbered_files(path, "*.jsonl", _step) if path.is_dir() else [str(path)]
    line = first_line(Path(files[0])) if files and files[0].endswith(".jsonl") else None
    return files if line is not None and {"input", "output", "score"} <= line.keys() else []


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield every line, grouped by the sample of its uid, or else by its prompt and step."""
    for file in files:
        for record in read_samples(file, ()):
            numbers = [name for name, value in record.fields.items() if name not in KNOWN and _is_number(value)]
            yield Record(
                record.where, _fields(record, reward_column(record.where, numbers, asked, list(record.fields)))
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _fields(record: Record, reward: str | None) -> dict[str, Any]:
    gold = record.fields.get("gts")
    return {
        "step": whole_number_of(record, "step"),
        **({} if record.fields.get("uid") is None else {"group": group_of(record)}),
        "prompt": text_of(record, "input"),
        "completion": text_of(record, "output"),
        "reward": number_of(record, reward),
        "rendered": True,
        **({} if gold is None else {"gold": gold}),
    }


def group_of(record: Record) -> str:
    """Return the sample that a uid belongs to: all of it but its last two parts."""
    uid = text_of(record, "uid")
    parts = uid.rsplit("_", 2)
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise wrong(record, "uid", uid, "It must be SAMPLE_ROLLOUT_OUTPUT, as verl's trainer v1 writes it.")
    return parts[0]


FORMAT = Format(
    name="verl",
    trainer="verl",
    wanted="the folder of trainer.rollout_data_dir, with files such as 12.jsonl",
    find=find,
    read=read,
    origins={
        "group": "uid without its last two parts, or else input; step",
        "reward": "score, or the column that --reward names",
        "text": "output; the prompt is joined from --prompts, since input has lost its special tokens",
        "cut off": "not in the files: tokens are counted against --max-length",
    },
    prompts="decoded",
)
