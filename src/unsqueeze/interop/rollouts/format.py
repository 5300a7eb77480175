"""What a format of rollout files is, and the values of a line, each checked."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unsqueeze.errors import UserError
from unsqueeze.interop.sample_files import Record

PromptForm = Literal["given", "rendered", "decoded"]
"""``given``: text or messages as the data set has them; ``rendered``: the text of a chat template, special tokens and
all; ``decoded``: that text without its special tokens, which is no prompt any more."""

_LARGEST = 1e300
"""Integers in JSON may have any length; beyond this they are no floating-point number."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user says of the files: the column of the reward, where there are several, or that none is wanted."""

    reward: str | None = None
    judged_again: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """One trainer's files: how they are found under a path, and read.

    ``find`` returns the files of this format that a path means, none where it is of another. ``read`` takes these, the
    columns that are wanted (for formats of many columns) and what was asked. ``origins`` say in which column of the
    trainer each of our fields stands. ``overlapping``: one log call may repeat rows of another. ``has_tokens``: token
    ids are in the files. ``has_likelihood``: so are the log-probs of the policy that sampled. ``says_ends``: the
    files say which responses were cut off.
    """

    name: str
    trainer: str
    wanted: str
    find: Callable[[Path], list[str]]
    read: Callable[[Sequence[str], Sequence[str], Asked], Iterator[Record]]
    origins: Mapping[str, str]
    prompts: PromptForm = "given"
    overlapping: bool = False
    has_tokens: bool = False
    has_likelihood: bool = False
    says_ends: bool = False


def value_of(record: Record, name: str, advice: str) -> Any:
    """Return the value under ``name``. UserError listing all columns that are there where it is not."""
    if name not in record.fields:
        raise UserError(f"{record.where}: no column {name!r} (columns there: {names_of(record.fields)}). {advice}")
    return record.fields[name]


def text_of(record: Record, name: str) -> str:
    """Return the text under ``name``."""
    value = value_of(record, name, "It must be text.")
    if isinstance(value, str):
        return value
    raise wrong(record, name, value, "It must be text.")


def number_of(record: Record, name: str | None) -> float | None:
    """Return the number under ``name``; None where it is null or NaN, which say that nothing was judged, or no name."""
    return None if name is None else as_number(record, name, value_of(record, name, "It must be a number."))


def as_number(record: Record, name: str, value: object) -> float | None:
    """Return a value of a column as a number, None where it is null or NaN."""
    if value is None or value != value:
        return None
    if isinstance(value, int | float) and abs(value) < _LARGEST:
        return float(value)
    raise wrong(record, name, value, "It must be a number.")


def list_of(record: Record, name: str, kind: type | tuple[type, ...], *, length: int | None = None) -> list[Any]:
    """Return the list under ``name``, of values of ``kind`` and, where it is given, of that length."""
    value = value_of(record, name, "It must be a list.")
    if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
        raise wrong(record, name, value, "It must be a list.")
    if length is not None and len(value) != length:
        raise UserError(f"{record.where}: column {name!r} holds {len(value)} values, and {length} are wanted.")
    return value


def whole_number_of(record: Record, name: str) -> int:
    """Return the whole number under ``name``."""
    value = value_of(record, name, "It must be a whole number.")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return value
    raise wrong(record, name, value, "It must be a whole number.")


def wrong(record: Record, name: str, value: object, advice: str) -> UserError:
    """Return the error of a value that is not what it must be."""
    return UserError(f"{record.where}: column {name!r} is {json.dumps(value, default=str)[:80]}. {advice}")


def names_of(columns: Sequence[Any] | Mapping[str, Any]) -> str:
    """Return the names of columns in one line."""
    return ", ".join(map(str, columns)) or "none"


def reward_column(where: str, candidates: Sequence[str], asked: Asked, columns: Sequence[Any]) -> str | None:
    """Return the column of the reward: the one that was asked for, or the only one there is. UserError otherwise.

    None where a verifier is asked instead.
    """
    if asked.judged_again:
        return None
    if asked.reward is not None:
        if asked.reward in candidates:
            return asked.reward
        raise UserError(
            f"{where}: no reward {asked.reward!r} (rewards there: {names_of(candidates)}; columns there: "
            f"{names_of(columns)}); name one of the former with --reward."
        )
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise UserError(
            f"{where}: several columns may be the reward: {names_of(candidates)}; name the one that says whether an "
            f"answer is right with --reward NAME, or ask a verifier with --rejudge."
        )
    raise UserError(
        f"{where}: no column of rewards (columns there: {names_of(columns)}); ask a verifier with --rejudge, or give "
        "files with rewards."
    )


def numbered_files(folder: Path, pattern: str, number: Callable[[str], int | None]) -> list[str]:
    """Return the files of a folder whose name holds a number, in its order."""
    found = [(number(file.name), file) for file in folder.glob(pattern) if file.is_file()]
    return [str(file) for place, file in sorted((place, file) for place, file in found if place is not None)]


def first_line(path: Path) -> dict[str, Any] | None:
    """Return the object of a file's first line, or None where it holds none."""
    try:
        with path.open("rb") as stream:
            found = json.loads(next((line for line in stream if line.strip()), b""))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
