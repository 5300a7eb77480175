"""Samples of an evaluation: on disk as soon as their part is judged, never drawn twice.

One Parquet file holds them when the evaluation is done; until then they lie in parts, ``000012.parquet``, beside it.
This is the one form of samples: an evaluation inside a run and one by itself (``unsqueeze eval``) have the same
columns.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from unsqueeze.errors import RunError
from unsqueeze.rollout.types import StopReason
from unsqueeze.store.atomic import remove_directory, remove_unfinished
from unsqueeze.store.table import column, read_table, table_of_rows, write_table
from unsqueeze.verify.verdict import Judgement, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSample:
    """One judged answer to one problem. ``mean_logp`` is nats per token, under the evaluated model at temperature 1.

    ``verifier`` names who judged, so that another verifier knows what to judge again. None is what a server did not
    say.
    """

    benchmark: str
    problem_id: str
    index: int
    text: str
    verdict: Verdict
    extracted: str | None
    reason: str
    num_tokens: int | None
    mean_logp: float | None
    stop_reason: StopReason
    gold: str
    verifier: str

    @property
    def correct(self) -> bool | None:
        """None where nothing was judged. Stored too, so that any tool can score the file."""
        return self.verdict.correct


SAMPLE_SCHEMA = pa.schema(
    [
        ("problem_id", pa.string()),
        ("index", pa.int64()),
        ("text", pa.string()),
        ("verdict", pa.string()),
        ("correct", pa.bool_()),
        ("extracted", pa.string()),
        ("reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("mean_logp", pa.float64()),
        ("stop_reason", pa.string()),
        ("benchmark", pa.string()),
        ("gold", pa.string()),
        ("verifier", pa.string()),
    ]
)

_KEY = ("benchmark", "problem_id", "index")
_KEY_SCHEMA = pa.schema([SAMPLE_SCHEMA.field(name) for name in _KEY])


class Samples:
    """The samples of one evaluation: ``path`` when it is done, ``parts`` while it is under way.

    One process writes at a time, so what is stored is read from the files once.
    """

    def __init__(self, path: Path, parts: Path) -> None:
        self.path = path
        self._parts = parts
        self._next_part: int | None = None
        self._keys: dict[str, set[tuple[str, int]]] | None = None

    def add(self, samples: Sequence[EvalSample]) -> None:
        """Store judged samples; they are on the disk when this returns."""
        if self._next_part is None:
            self._next_part = max((int(path.stem) for path in self._part_files()), default=-1) + 1
        write_table(self._parts / f"{self._next_part:06d}.parquet", table_of_rows(samples, SAMPLE_SCHEMA))
        self._next_part += 1
        if self._keys is not None:
            for sample in samples:
                self._keys.setdefault(sample.benchmark, set()).add((sample.problem_id, sample.index))

    def keys(self, benchmark: str) -> Set[tuple[str, int]]:
        """Return the problem and the index of every sample of a benchmark."""
        if self._keys is None:
            self._keys = {}
            for path in self._files():
                table = read_table(path, _KEY_SCHEMA)
                for name, problem_id, index in zip(*(table[name].to_pylist() for name in _KEY), strict=True):
                    self._keys.setdefault(name, set()).add((problem_id, index))
        return self._keys.get(benchmark, set())

    def table(self) -> pa.Table:
        """Return every sample there is, once, in the order of first storing."""
        tables = [read_table(path, SAMPLE_SCHEMA) for path in self._files()]
        table = pa.concat_tables(tables or [SAMPLE_SCHEMA.empty_table()])
        # Parts that went into the whole file and were not removed are there twice.
        keys = table.select(_KEY).append_column("place", pa.array(range(table.num_rows), pa.int64()))
        first = keys.group_by(_KEY).aggregate([("place", "min")])["place_min"]
        return table if len(first) == table.num_rows else table.take(first.sort())

    def merge(self, asked: Mapping[str, Sequence[str]]) -> pa.Table:
        """Put all parts that are there into ``path``, sorted by benchmark, problem and index; return what it holds.

        Benchmarks and problems come in the order of ``asked``, the problem ids of each benchmark, whatever came in
        first; those that were stored before and are not asked for now come last, by when they were first stored.
        """
        parts = self._part_files()
        table = self.table()

        def rank(name: str, wanted: Iterable[str]) -> pa.Array:
            order = pa.chunked_array([pa.array(wanted, pa.string()), *table[name].chunks])
            return pc.index_in(table[name], order.unique())

        ranks = pa.table(
            {
                "benchmark": rank("benchmark", asked),
                "problem_id": rank("problem_id", chain.from_iterable(asked.values())),
                "index": table["index"],
            }
        )
        table = table.take(pc.sort_indices(ranks, sort_keys=[(name, "ascending") for name in _KEY]))
        write_table(self.path, table, replace=True)
        for part in parts:  # and no other: somebody may have added one since
            part.unlink(missing_ok=True)
        if self._parts.is_dir():
            remove_unfinished(self._parts)
            if not any(self._parts.iterdir()):
                remove_directory(self._parts)
        return table

    def discard(self) -> None:
        """Remove all samples: nothing can be made of them. They are drawn again."""
        self._remove_parts()
        self.path.unlink(missing_ok=True)
        self._next_part = self._keys = None

    def rejudge(
        self,
        benchmark: str,
        problem_ids: Collection[str],
        verifier: str,
        judged: Callable[[list[str], list[str]], list[Judgement]],
    ) -> int:
        """Judge again what another verifier has judged, of these problems: ``judged(problem ids, texts)``.

        Returns how many samples that were.
        """
        table = self.table()
        known = set(problem_ids)
        whose = zip(*(table[name].to_pylist() for name in ("benchmark", "problem_id", "verifier")), strict=True)
        places = [
            place
            for place, (name, problem_id, by) in enumerate(whose)
            if name == benchmark and problem_id in known and by != verifier
        ]
        if not places:
            return 0
        columns = {name: table[name].to_pylist() for name in ("verdict", "correct", "extracted", "reason", "verifier")}
        part = table.take(places)
        for place, judgement in zip(
            places, judged(part["problem_id"].to_pylist(), part["text"].to_pylist()), strict=True
        ):
            values = (
                judgement.verdict.value,
                judgement.verdict.correct,
                judgement.extracted,
                judgement.reason,
                verifier,
            )
            for name, value in zip(columns, values, strict=True):
                columns[name][place] = value
        for name, values in columns.items():
            place = SAMPLE_SCHEMA.get_field_index(name)
            table = table.set_column(place, SAMPLE_SCHEMA.field(place), column(values, SAMPLE_SCHEMA.field(place).type))
        write_table(self.path, table, replace=True)
        return len(places)

    def _remove_parts(self) -> None:
        if self._parts.is_dir():
            remove_directory(self._parts)

    def _files(self) -> list[Path]:
        return [*([self.path] if self.path.is_file() else []), *self._part_files()]

    def _part_files(self) -> list[Path]:
        return sorted(self._parts.glob("[0-9]*.parquet")) if self._parts.is_dir() else []


def read_samples(path: Path) -> list[EvalSample]:
    """Read the samples stored at ``path``. RunError naming the file if it is missing, damaged or something else."""
    rows = read_table(path, SAMPLE_SCHEMA).drop_columns("correct").to_pylist()
    try:
        return [
            EvalSample(**row | {"verdict": Verdict(row["verdict"]), "stop_reason": StopReason(row["stop_reason"])})
            for row in rows
        ]
    except ValueError as error:  # a verdict or stop reason of no name we know
        raise RunError(f"{path} holds a row that is no sample: {error}.") from error
