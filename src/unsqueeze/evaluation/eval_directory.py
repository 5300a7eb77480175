"""The directory of an evaluation by itself: samples are on disk as soon as their part is judged.

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
from unsqueeze.store.records import read_record, write_record
from unsqueeze.store.samples import Samples


class EvalDirectory:
    """One evaluation on disk: what was asked, its samples, its summary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary_path = folder / "summary.json"
        self.samples = Samples(folder / "samples.parquet", folder / "parts")

    def open(self, wanted: Mapping[str, Any], *, told: Mapping[str, Any] | None = None) -> None:
        """Begin here, or go on. UserError where the folder holds something else, or an evaluation that differs.

        Benchmarks that were not asked for before are added; everything else must be what it was. ``told`` is written
        down and may change.
        """
        path = self.folder / "eval.json"
        asked: dict[str, Any] = json.loads(dumps(wanted))
        if path.is_file():
            before = _asked_before(path)
            _check_same(self.folder, before, asked)
            asked["benchmarks"] = before["benchmarks"] | asked["benchmarks"]
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UserError(f"{self.folder} exists and holds no evaluation; name a new or an empty folder.")
        write_record(path, {**asked, **(told or {})}, replace=True)

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
