"""Plain rollouts: our own store and anybody's JSON Lines or Parquet, with the fields of ``interop.rollout_files``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import rollout_files
from unsqueeze.interop.rollouts.format import Asked, Format
from unsqueeze.interop.sample_files import Record, read_samples


def find(path: Path) -> list[str]:
    """Return the files of a run, of a folder, or the file itself. UserError where there are none."""
    return rollout_files(str(path))


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield the lines or rows as they are; ``asked.reward`` names the column that is their reward."""
    if asked.reward is None:
        for file in files:
            yield from read_samples(file, columns)
        return
    for file in files:
        for record in read_samples(file, (*columns, asked.reward)):
            if asked.reward not in record.fields:
                raise UserError(
                    f"{record.where}: no column {asked.reward!r} (columns there: {record.names()}); name one with "
                    "--reward."
                )
            yield replace(record, fields={**record.fields, "reward": record.fields[asked.reward]})


FORMAT = Format(
    name="plain",
    trainer="Unsqueeze, or a program of yours",
    wanted="the directory of a run, a folder of Parquet or JSONL files, or one file",
    find=find,
    read=read,
    origins={
        "group": "problem_id, or the prompt; step and group",
        "reward": "reward, correct or verdict",
        "likelihood": "mean_logp, or logprobs, logp_raw, logp_behaviour",
    },
    has_tokens=True,
    has_likelihood=True,
    says_ends=True,
)
