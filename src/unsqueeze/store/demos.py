"""Demonstrations that L2TE chose for an IRL phase: ``demos/irl-001.parquet``, one row a demonstration.

The response itself is stored once, among the rollouts; ``step``, ``group`` and ``index`` say where.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from unsqueeze.store.names import numbered
from unsqueeze.store.table import read_table, table_of_rows, write_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """One chosen rollout: where it is stored, how likely it was (nats, under the policy that sampled it), and why.

    ``mean_logp`` is per token, ``sum_logp`` over all. ``score`` is what it was ranked by (``irl.rank_by``, nats),
    and ``rank`` its place among those it was chosen from, 0 for the least. ``reason`` says in a few words why it was
    chosen.
    """

    problem_id: str
    step: int
    group: int
    index: int
    mean_logp: float
    sum_logp: float
    score: float
    reward: float
    reason: str
    rank: int


DEMO_SCHEMA = pa.schema(
    [
        ("problem_id", pa.string()),
        ("step", pa.int64()),
        ("group", pa.int64()),
        ("index", pa.int64()),
        ("mean_logp", pa.float64()),
        ("sum_logp", pa.float64()),
        ("score", pa.float64()),
        ("reward", pa.float64()),
        ("reason", pa.string()),
        ("rank", pa.int64()),
    ]
)


class DemoWriter:
    """The folder ``demos/`` of a run. A file that is there is complete; none is ever overwritten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, number: int, demos: Sequence[Demonstration]) -> Path:
        """Stores what the IRL phase of that number is trained on. RunError if it is stored already."""
        path = self.path(number)
        write_table(path, table_of_rows(demos, DEMO_SCHEMA))
        return path

    def read(self, number: int) -> list[Demonstration]:
        return read_demos(self.path(number))

    def path(self, number: int) -> Path:
        return self.folder / f"irl-{number:03d}.parquet"

    def numbers(self) -> list[int]:
        """The IRL phases whose demonstrations are stored, in order."""
        return numbered(self.folder, "irl", ".parquet")


def read_demos(path: Path) -> list[Demonstration]:
    """The demonstrations stored at ``path``. RunError naming the file if it is missing, damaged or something else."""
    return [Demonstration(**row) for row in read_table(path, DEMO_SCHEMA).to_pylist()]
