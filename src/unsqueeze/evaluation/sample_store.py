"""The directory of an evaluation: samples are on disk as soon as their part is judged, and are never drawn twice.

eval.json            what was asked: model, prompts, sampling, data; another evaluation cannot go on here
samples.parquet      every sample, one row each
parts/000012.parquet samples of an evaluation under way; they go into samples.parquet when it is done
summary.json         what the samples add up to; written last
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unsqueeze.errors import RunError, UserError
from unsqueeze.plain_json import dumps
from unsqueeze.store.atomic import write_atomically
from unsqueeze.store.evals import SAMPLE_SCHEMA, EvalSample
from unsqueeze.store.table import column, read_table, table_of_rows, write_table
from unsqueeze.verify.verdict import Judgement, Verdict

EVAL_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        *((field.name, field.type) for field in SAMPLE_SCHEMA),
        ("gold", pa.string()),
        ("verifier", pa.string()),
    ]
)
"""``verifier`` names who judged, so that another verifier knows what to judge again."""

_KEY = ("benchmark", "problem_id", "index")
_KEY_SCHEMA = pa.schema([EVAL_SCHEMA.field(name) for name in _KEY])


class SampleStore:
    """The samples of one evaluation. One process writes at a time, so what is stored is read from the files once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples_path = folder / "samples.parquet"
        self.summary_path = folder / "summary.json"
        self._parts = folder / "parts"
        self._next_part: int | None = None
        self._keys: dict[str, set[tuple[str, int]]] | None = None

    def open(self, wanted: Mapping[str, Any], *, told: Mapping[str, Any] | None = None) -> None:
        """Begin here, or go on. UserError where the folder holds something else, or an evaluation that differs.

        Benchmarks that were not asked for before are added; everything else must be what it was. ``told`` is written
        down and may change.
        """
        path = self.folder / "eval.json"
        asked: dict[str, Any] = json.loads(dumps(wanted))
        if path.is_file():
            before = _read_json(path)
            _check_same(self.folder, before, asked)
            asked["benchmarks"] = before["benchmarks"] | asked["benchmarks"]
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UserError(f"--out {self.folder} exists and holds no evaluation; name a new or an empty folder.")
        write_atomically(path, dumps({**asked, **(told or {})}, indent=2).encode() + b"\n", replace=True)

    def add(self, benchmark: str, samples: Sequence[EvalSample], golds: Sequence[str], verifier: str) -> None:
        """Store judged samples; they are on the disk when this returns."""
        table = table_of_rows(samples, SAMPLE_SCHEMA)
        same = {"benchmark": [benchmark] * len(samples), "gold": list(golds), "verifier": [verifier] * len(samples)}
        columns = {name: column(same[name], pa.string()) if name in same else table[name] for name in EVAL_SCHEMA.names}
        if self._next_part is None:
            self._next_part = max((int(path.stem) for path in self._part_files()), default=-1) + 1
        write_table(self._parts / f"{self._next_part:06d}.parquet", pa.table(columns, schema=EVAL_SCHEMA))
        self._next_part += 1
        if self._keys is not None:
            self._keys.setdefault(benchmark, set()).update((sample.problem_id, sample.index) for sample in samples)

    def keys(self, benchmark: str) -> Set[tuple[str, int]]:
        """The problem and the index of every sample of a benchmark."""
        if self._keys is None:
            self._keys = {}
            for path in self._files():
                table = read_table(path, _KEY_SCHEMA)
                for name, problem_id, index in zip(*(table[name].to_pylist() for name in _KEY), strict=True):
                    self._keys.setdefault(name, set()).add((problem_id, index))
        return self._keys.get(benchmark, set())

    def table(self) -> pa.Table:
        """Every sample there is, once, in the order of benchmark, problem and index of first storing."""
        tables = [read_table(path, EVAL_SCHEMA) for path in self._files()]
        table = pa.concat_tables(tables or [EVAL_SCHEMA.empty_table()])
        # Parts that went into samples.parquet and were not removed are there twice.
        keys = table.select(_KEY).append_column("place", pa.array(range(table.num_rows), pa.int64()))
        first = keys.group_by(_KEY).aggregate([("place", "min")])["place_min"]
        return table if len(first) == table.num_rows else table.take(first.sort())

    def merge(self, asked: Mapping[str, Sequence[str]]) -> pa.Table:
        """Put all parts into ``samples.parquet``, sorted by benchmark, problem and index; returns what it holds.

        Benchmarks and problems come in the order of ``asked``, the problem ids of each benchmark, whatever came in
        first; those that were stored before and are not asked for now come last, by when they were first stored.
        """
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
        write_table(self.samples_path, table, replace=True)
        for path in self._part_files():
            path.unlink()
        if self._parts.is_dir():
            self._parts.rmdir()
        return table

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
            correct = judgement.verdict is Verdict.CORRECT if judgement.verdict.judged else None
            values = (judgement.verdict.value, correct, judgement.extracted, judgement.reason, verifier)
            for name, value in zip(columns, values, strict=True):
                columns[name][place] = value
        for name, values in columns.items():
            place = EVAL_SCHEMA.get_field_index(name)
            table = table.set_column(place, EVAL_SCHEMA.field(place), column(values, EVAL_SCHEMA.field(place).type))
        write_table(self.samples_path, table, replace=True)
        return len(places)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_atomically(self.summary_path, dumps(summary, indent=2).encode() + b"\n", replace=True)

    def _files(self) -> list[Path]:
        return [*([self.samples_path] if self.samples_path.is_file() else []), *self._part_files()]

    def _part_files(self) -> list[Path]:
        return sorted(self._parts.glob("[0-9]*.parquet")) if self._parts.is_dir() else []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_bytes())
        if isinstance(fields, dict) and isinstance(fields.get("benchmarks"), dict):
            return fields
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    raise RunError(f"{path} does not say what was evaluated; the file was damaged.")


def _check_same(folder: Path, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """UserError naming the first thing in which the evaluation that is there differs from the one asked for."""
    pairs = [(key, before.get(key), value) for key, value in asked.items() if key != "benchmarks"]
    for name, fields in asked["benchmarks"].items():
        there = before["benchmarks"].get(name)
        pairs += [] if there is None else [(f"{name}: {key}", there.get(key), value) for key, value in fields.items()]
    for key, then, now in pairs:
        if then != now:
            raise UserError(
                f"{folder} holds an evaluation of {key} {json.dumps(then)}, and {json.dumps(now)} was asked for now; "
                "samples of both must not mix: name another --out, or ask for the same."
            )
