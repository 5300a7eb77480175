"""The directory of an evaluation by itself: samples are on disk as soon as their part is judged.

lock                 held by the process that writes, which it names
eval.json            what was asked: model, prompts, sampling, data; another evaluation cannot go on here
samples.parquet      every sample, one row each
parts/000012.parquet samples of an evaluation under way; they go into samples.parquet when it is done
summary.json         what the samples add up to; written last
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError, UserError
from unsqueeze.plain_json import dumps
from unsqueeze.store.atomic import make_folder, unfinished_name
from unsqueeze.store.lock import RunLock
from unsqueeze.store.records import read_record, write_record
from unsqueeze.store.samples import Samples

LOCK = "lock"


class EvalDirectory:
    """One evaluation on disk: what was asked, its samples, its summary. Locked from ``open`` to ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary_path = folder / "summary.json"
        self.samples = Samples(folder / "samples.parquet", folder / "parts")
        advice = "wait for that evaluation to end, or name another folder (--out)"
        self._lock = RunLock(folder / LOCK, advice=advice)

    def open(self, wanted: Mapping[str, Any], *, told: Mapping[str, Any] | None = None) -> None:
        """Begin here, or go on. UserError where the folder holds something else, or an evaluation that differs, or one
        that another process is at.

        Benchmarks that were not asked for before are added; everything else must be what it was. ``told`` is written
        down and may change.
        """
        path = self.folder / "eval.json"
        if not path.is_file() and self.folder.exists() and not self._is_free():
            raise UserError(f"{self.folder} exists and holds no evaluation; name a new or an empty folder.")
        make_folder(self.folder)
        self._lock.take()
        try:
            self._begin(path, wanted, told or {})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    def _is_free(self) -> bool:
        """Tell whether there is an empty folder, but for what a start leaves that was cut off."""
        of_a_start = (LOCK, unfinished_name(self.folder / "eval.json").name)
        return self.folder.is_dir() and all(entry.name in of_a_start for entry in self.folder.iterdir())

    def _begin(self, path: Path, wanted: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        asked: dict[str, Any] = json.loads(dumps(wanted))
        if path.is_file():
            before = _asked_before(path)
            _check_same(self.folder, before, asked)
            asked["benchmarks"] = before["benchmarks"] | asked["benchmarks"]
        write_record(path, {**asked, **told}, replace=True)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_record(self.summary_path, summary, replace=True)


def _asked_before(path: Path) -> dict[str, Any]:
    fields = read_record(path)
    if isinstance(fields.get("benchmarks"), dict):
        return fields
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
                "samples of both must not mix: name another folder, or ask for the same."
            )
