"""What outlives a power cut: in which order contents and names are waited for.

A kill shows nothing of it, since what a dead process wrote is in the kernel's memory all the same.
"""

from pathlib import Path

import pytest

from durability import record_durability
from unsqueeze.store.atomic import make_folder, remove_directory, write_atomically
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.journal import JsonLines


def test_the_content_of_a_file_before_its_name_and_the_name_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = record_durability(monkeypatch)
    write_atomically(tmp_path / "file", b"whole")
    assert events == [
        ("fsync", tmp_path / ".file.tmp"),
        ("rename", tmp_path / "file"),
        ("fsync", tmp_path),
    ]


def test_all_of_a_checkpoint_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path) -> None:
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(b"w")
        (folder / "state").write_bytes(b"s")

    events = record_durability(monkeypatch)
    Checkpoints(tmp_path).save(1, write)
    aside, path = tmp_path / ".step-000001.tmp", tmp_path / "step-000001"
    waited_for, name = set(events[:-2]), events[-2:]
    assert waited_for == {
        ("fsync", aside / part) for part in (".", "policy", "policy/weights", "state")
    }  # fmt: skip
    assert name == [("rename", path), ("fsync", tmp_path)]


def test_a_folder_is_named_in_the_one_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = record_durability(monkeypatch)
    make_folder(tmp_path / "a" / "b")
    assert events == [("fsync", tmp_path), ("fsync", tmp_path / "a")]
    make_folder(tmp_path / "a" / "b")
    assert len(events) == 2


def test_a_directory_has_lost_its_name_before_it_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "file").touch()
    events = record_durability(monkeypatch)
    seen: list[bool] = []
    rmtree = "unsqueeze.store.atomic.shutil.rmtree"
    monkeypatch.setattr(rmtree, lambda path: seen.append(("fsync", tmp_path) in events and (path / "file").exists()))
    remove_directory(tmp_path / "whole")
    assert events == [("rename", tmp_path / ".whole.tmp"), ("fsync", tmp_path)]
    assert seen == [True]


def test_the_first_line_of_a_new_file_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = record_durability(monkeypatch)
    lines = JsonLines(tmp_path / "lines.jsonl")
    for _ in range(2):
        lines.append({})
    assert events == [("fsync", tmp_path)] + [("fsync", tmp_path / "lines.jsonl")] * 2
