"""Every rollout of a run: one Parquet file a generation batch, ``rollouts/step-000012.parquet``, one row a rollout.

``logp_raw`` and ``logp_behaviour`` are nats per token. What is read back equals what was written bit for bit; only
half of a surrogate pair in a text, which UTF-8 cannot hold, comes back as U+FFFD.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unsqueeze.errors import RunError
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.store.names import numbered, step_file
from unsqueeze.store.table import column, read_table, write_table
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict


class _Row(NamedTuple):
    problem: Problem
    rollout: Rollout
    judgement: Judgement


# Column: where its value is in a row, and its type.
_SCALARS = {
    "problem_id": ("problem.id", pa.string()),
    "task": ("problem.task", pa.string()),
    "prompt": ("problem.prompt", pa.string()),
    "gold": ("problem.answer", pa.string()),
    "group": ("rollout.group", pa.int64()),
    "index": ("rollout.index", pa.int64()),
    "step": ("rollout.step", pa.int64()),
    "phase": ("rollout.phase", pa.int64()),
    "policy_version": ("rollout.policy_version", pa.int64()),
    "text": ("rollout.completion.text", pa.string()),
    "stop_reason": ("rollout.completion.stop_reason", pa.string()),
    "verdict": ("judgement.verdict", pa.string()),
    "extracted": ("judgement.extracted", pa.string()),
    "reason": ("judgement.reason", pa.string()),
}
_ARRAYS = {
    "prompt_tokens": ("rollout.prompt_tokens", pa.int32()),
    "tokens": ("rollout.completion.tokens", pa.int32()),
    "logp_raw": ("rollout.completion.logp_raw", pa.float32()),
    "logp_behaviour": ("rollout.completion.logp_behaviour", pa.float32()),
}
# Only where the trainer scored, and null for the rollouts that needed no score.
LOGP_PROXIMAL = pa.field("logp_proximal", pa.list_(pa.float32()))
ROLLOUT_SCHEMA = pa.schema(
    [(name, kind) for name, (_, kind) in _SCALARS.items()]
    + [(name, pa.list_(kind)) for name, (_, kind) in _ARRAYS.items()]
)

_GROUP_COLUMNS = ("problem_id", "group", "index", "step", "verdict", "prompt_tokens", "tokens", "logp_raw")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupColumns:
    """A stored group without its texts: what demonstrations are chosen by, and learned from.

    An entry a rollout, in their order. Arrays are views of what was read of the whole file; ``logp_raw`` in nats.
    """

    problem_id: str
    group: int
    index: Sequence[int]
    step: Sequence[int]
    verdict: Sequence[Verdict]
    prompt_tokens: Sequence[NDArray[np.int32]]
    tokens: Sequence[NDArray[np.int32]]
    logp_raw: Sequence[NDArray[np.float32]]


class RolloutWriter:
    """The folder ``rollouts/`` of a run. A file that is there is complete; none is ever overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, step: int, groups: Sequence[Group]) -> Path:
        """Stores the generation batch of RL step ``step``. RunError if that step is stored already."""
        path = self.path(step)
        write_table(path, rollout_table(groups))
        return path

    def read(self, step: int) -> list[Group]:
        """The groups of RL step ``step``, as they were written."""
        return read_rollouts(self.path(step))

    def read_columns(self, step: int) -> list[GroupColumns]:
        """The groups of RL step ``step`` without their texts."""
        return read_group_columns(self.path(step))

    def path(self, step: int) -> Path:
        return self.folder / step_file(step, ".parquet")

    def steps(self) -> list[int]:
        """The steps that are stored, in order."""
        return numbered(self.folder, "step", ".parquet")


def rollout_table(groups: Iterable[Group]) -> pa.Table:
    """One row a rollout, in order. Group numbers must differ: they are what a reader tells groups apart by."""
    rows = [row for group in groups for row in _rows(group)]
    columns = [column([*map(attrgetter(path), rows)], kind) for path, kind in _SCALARS.values()]
    columns += [_list_column([*map(attrgetter(path), rows)], kind) for path, kind in _ARRAYS.values()]
    table = pa.table(columns, schema=ROLLOUT_SCHEMA)
    logp_proximal = [row.rollout.logp_proximal for row in rows]
    if all(logp_T is None for logp_T in logp_proximal):
        return table
    return table.append_column(LOGP_PROXIMAL, _list_column(logp_proximal, pa.float32()))


def read_rollouts(path: Path) -> list[Group]:
    """The groups stored at ``path``. RunError naming the file if it is missing, damaged or holds something else."""
    table = read_table(path, ROLLOUT_SCHEMA, optional=(LOGP_PROXIMAL,))
    columns: dict[str, Any] = {name: table[name].to_pylist() for name in _SCALARS}
    columns |= {name: _arrays(table[name]) for name in _ARRAYS}
    scored = LOGP_PROXIMAL.name in table.column_names
    columns["logp_proximal"] = _arrays(table[LOGP_PROXIMAL.name]) if scored else [None] * table.num_rows
    try:
        rows = [_row(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
    except ValueError as error:  # a verdict or stop reason of no name we know
        raise RunError(_no_rollout(path, error)) from error
    return [_group(list(rows_G)) for _, rows_G in itertools.groupby(rows, key=lambda row: row.rollout.group)]


def read_group_columns(path: Path) -> list[GroupColumns]:
    """The groups stored at ``path`` without their texts, which are not decoded. RunError as by ``read_rollouts``; the
    digest is that of the whole file.
    """
    table = read_table(path, pa.schema([ROLLOUT_SCHEMA.field(name) for name in _GROUP_COLUMNS]))
    columns: dict[str, list[Any]] = {
        name: table[name].to_pylist() if name in _SCALARS else _arrays(table[name]) for name in _GROUP_COLUMNS
    }
    try:
        named = {name: Verdict(name) for name in set(columns["verdict"])}
    except ValueError as error:
        raise RunError(_no_rollout(path, error)) from error
    columns["verdict"] = [named[name] for name in columns["verdict"]]
    groups, start = [], 0
    for number, places in itertools.groupby(columns["group"]):
        end = start + sum(1 for _ in places)
        several = {name: values[start:end] for name, values in columns.items() if name not in ("problem_id", "group")}
        groups.append(GroupColumns(problem_id=columns["problem_id"][start], group=number, **several))
        start = end
    return groups


def _no_rollout(path: Path, error: ValueError) -> str:
    return f"{path} holds a row that is no rollout: {error}."


def _rows(group: Group) -> list[_Row]:
    assert group.rollouts, "a group without rollouts cannot be stored"
    assert all(rollout.problem_id == group.problem.id for rollout in group.rollouts), "a rollout of another problem"
    pairs = zip(group.rollouts, group.judgements, strict=True)
    return [_Row(group.problem, rollout, judgement) for rollout, judgement in pairs]


def _group(rows_G: Sequence[_Row]) -> Group:
    return Group(
        problem=rows_G[0].problem,
        rollouts=tuple(row.rollout for row in rows_G),
        judgements=tuple(row.judgement for row in rows_G),
    )


def _row(cell: dict[str, Any]) -> _Row:
    completion = Completion(
        tokens=cell["tokens"],
        text=cell["text"],
        logp_raw=cell["logp_raw"],
        logp_behaviour=cell["logp_behaviour"],
        stop_reason=StopReason(cell["stop_reason"]),
    )
    rollout = Rollout(
        problem_id=cell["problem_id"],
        group=cell["group"],
        index=cell["index"],
        prompt_tokens=cell["prompt_tokens"],
        completion=completion,
        policy_version=cell["policy_version"],
        phase=cell["phase"],
        step=cell["step"],
        logp_proximal=cell["logp_proximal"],
    )
    return _Row(
        Problem(id=cell["problem_id"], prompt=cell["prompt"], answer=cell["gold"], task=cell["task"]),
        rollout,
        Judgement(Verdict(cell["verdict"]), cell["extracted"], cell["reason"]),
    )


def _list_column(arrays: Sequence[NDArray[Any] | None], kind: pa.DataType) -> pa.ListArray:
    """A list array over the arrays laid end to end, null for None: no Python value is made of any token."""
    offsets = np.zeros(len(arrays) + 1, np.int32)
    np.cumsum([0 if array is None else array.size for array in arrays], out=offsets[1:])
    flat = np.concatenate([np.empty(0, kind.to_pandas_dtype()), *(array for array in arrays if array is not None)])
    missing = [array is None for array in arrays]
    mask = pa.array(missing) if any(missing) else None
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind), mask=mask)


def _arrays(lists: pa.ChunkedArray) -> list[Any]:
    """The arrays of a list column, writable (PyTorch warns of arrays that are not), and None for null."""
    array = lists.combine_chunks()
    flat = array.values.to_numpy().copy()
    arrays = [flat[start:end] for start, end in itertools.pairwise(array.offsets.tolist())]
    if array.null_count == 0:
        return arrays
    return [one if there else None for one, there in zip(arrays, array.is_valid().to_pylist(), strict=True)]
