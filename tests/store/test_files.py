"""Files and directories are complete or absent; journals survive a torn last line and nothing else."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import RunError
from unsqueeze.plain_json import dumps
from unsqueeze.store.atomic import atomic_directory, atomic_file, write_atomically
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.journal import Journal, JsonLines, _lines_from_end
from unsqueeze.store.seal import sealed, unsealed


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with atomic_file(path) as aside:
        aside.write_bytes(b"half")
        assert not path.exists()
        aside.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file"]


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")

    def die_halfway() -> None:
        with atomic_file(path, replace=True) as aside:
            aside.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_halfway()
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_an_existing_file_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")
    with pytest.raises(RunError, match=r"file exists already and is never overwritten"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    write_atomically(path, b"third", replace=True)
    assert path.read_bytes() == b"third"


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".file.tmp").write_bytes(b"remains")
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp" / "remains").touch()
    write_atomically(tmp_path / "file", b"whole")
    with atomic_directory(tmp_path / "folder") as aside:
        (aside / "a").touch()
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == ["a"]


def test_a_file_system_that_refuses_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*file/below: File exists\."):
        write_atomically(tmp_path / "file" / "below", b"")


def test_a_checkpoint_is_complete_or_absent(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps() == []
    assert checkpoints.latest() is None

    def write(folder: Path) -> None:
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(b"w")

    def die(folder: Path) -> None:
        write(folder)
        raise MemoryError

    path = checkpoints.save(100, write)
    assert path == tmp_path / "checkpoints" / "step-000100"
    assert (path / "policy" / "weights").read_bytes() == b"w"
    with pytest.raises(MemoryError):
        checkpoints.save(1000000, die)
    assert names(checkpoints.folder) == ["step-000100"]
    checkpoints.save(1000000, write)
    assert checkpoints.steps() == [100, 1000000]
    assert checkpoints.latest() == 1000000
    with pytest.raises(RunError, match="never overwritten"):
        checkpoints.save(100, write)


def test_the_unfinished_checkpoint_of_a_killed_process_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".step-000200.tmp").mkdir()
    assert Checkpoints(tmp_path).latest() is None


def test_the_journal_numbers_its_events_across_openings(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    at = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    first = Journal(path, now=lambda: at)
    first.append("start", seed=7)
    first.append("step", loss=np.float32(0.5), path=Path("a/b"))
    first.close()
    record = Journal(path, now=lambda: at).append("end")
    assert record == {"seq": 2, "time": "2026-01-02T03:04:05.678+00:00", "event": "end"}
    assert [unsealed(json.loads(line)) for line in path.read_text().splitlines()] == Journal(path).read()
    assert Journal(path).read()[:2] == [
        {"seq": 0, "time": "2026-01-02T03:04:05.678+00:00", "event": "start", "seed": 7},
        {"seq": 1, "time": "2026-01-02T03:04:05.678+00:00", "event": "step", "loss": 0.5, "path": "a/b"},
    ]


@pytest.mark.parametrize("torn", [b"{", b'{"seq": 2, "event"', b'{"seq": 2, "event": "x"}', b"\x00\xff", b" "])
def test_a_torn_last_line_is_passed_over_and_then_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append("a")
    journal.append("b")
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [record["event"] for record in Journal(path).read()] == ["a", "b"]
    reopened = Journal(path)
    reopened.append("c")
    assert path.read_bytes().startswith(whole)
    assert [(record["seq"], record["event"]) for record in reopened.read()] == [(0, "a"), (1, "b"), (2, "c")]


def test_a_torn_only_line_leaves_an_empty_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"seq": 0')
    journal = Journal(path)
    assert journal.read() == []
    assert journal.append("start")["seq"] == 0


def line(record: dict[str, object]) -> bytes:
    return dumps(sealed(record)).encode() + b"\n"


FIRST = line({"seq": 0, "event": "a"})


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (FIRST + b'{"seq"\n' + line({"seq": 2, "event": "c"}), 2),
        (b'{"seq": 0, "event": "a"}\n', 1),
        (b"not json\n", 1),
        (b"[1]\n", 1),
        (FIRST + b"\n", 2),
        (b'{"seq": 0, "event": "\xff"}\n', 1),
        (FIRST + line({"seq": 2, "event": "c"}), 2),
        (line({"seq": 0}), 1),
    ],
)
def test_any_other_damage_is_named_with_file_and_line(tmp_path: Path, content: bytes, number: int) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"journal\.jsonl, line {number}: "):
        Journal(path).read()


def test_a_full_disk_leaves_the_lines_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": 0})
    whole = lines.path.read_bytes()
    real_write = os.write
    calls = []

    def write_half_then_fail(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return real_write(descriptor, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write_half_then_fail)
    with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl: No space left on device"):
        lines.append({"step": 1})
    monkeypatch.undo()
    assert lines.path.read_bytes() == whole
    lines.append({"step": 1})
    assert lines.read() == [{"step": 0}, {"step": 1}]


def test_truncated_a_file_keeps_its_first_lines_and_goes_on(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.truncate(0)
    assert not lines.path.exists()
    for step in range(3):
        lines.append({"step": step})
    lines.path.write_bytes(lines.path.read_bytes() + b"torn")
    assert lines.num_leading(lambda line: line["step"] < 2, at_most=9) == 2
    assert lines.num_leading(lambda line: True, at_most=9) == 3
    assert lines.num_leading(lambda line: True, at_most=1) == 1
    lines.truncate(2)
    lines.append({"step": 9})
    assert lines.read() == [{"step": 0}, {"step": 1}, {"step": 9}]
    lines.truncate(0)
    assert lines.read() == []


def test_numbers_that_are_not_finite_become_null() -> None:
    value = {
        "a": float("nan"),
        "b": [np.float32("inf"), 1.5],
        "c": np.int64(3),
        "d": (True, None),
        "e": np.float64("-inf"),
    }
    assert json.loads(dumps(value)) == {"a": None, "b": [None, 1.5], "c": 3, "d": [True, None], "e": None}


def test_a_value_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="ndarray has no JSON form"):
        dumps({"a": np.zeros(2)})


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), min_size=1, max_size=4)


@given(RECORDS, st.data())
def test_cut_anywhere_a_file_reads_as_a_prefix_of_its_lines(
    records: list[dict[str, object]], data: st.DataObject
) -> None:
    whole = b"".join(map(line, records))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with TemporaryDirectory() as folder:
        path = Path(folder, "metrics.jsonl")
        path.write_bytes(cut)
        assert JsonLines(path).read() == records[: cut.count(b"\n")]


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    torn=st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")),
    block_size=st.integers(1, 20),
)
def test_read_from_its_end_a_file_has_the_same_lines(lines: list[bytes], torn: bytes, block_size: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        path.write_bytes(b"".join(line + b"\n" for line in lines) + torn)
        assert list(_lines_from_end(path, block_size)) == lines[::-1]


def test_the_last_event_of_a_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.last("step") is None
    for number, kind in enumerate(["rl", "irl", "rl"]):
        journal.append("step", kind=kind, number=number)
    journal.append("finished")
    for kind, number in (("rl", 2), ("irl", 1)):
        found = journal.last("step", kind=kind)
        assert found is not None
        assert found["number"] == number
    assert journal.last("step", kind="other") is None
    with journal.path.open("ab") as file:
        file.write(b"{\n")
    with pytest.raises(RunError, match="line 5: not a JSON object"):
        journal.last("step")


def test_lines_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    assert lines.num_lines() == 0
    for number in range(3):
        lines.append({"number": number})
        assert lines.num_lines() == number + 1
    lines.truncate(1)
    assert lines.num_lines() == 1
    lines.append({})
    assert lines.num_lines() == 2
    lines.close()
    assert JsonLines(lines.path).num_lines() == 2


@pytest.mark.parametrize(("sync_every_line", "expected"), [(True, [1, 2, 2]), (False, [0, 0, 1])])
def test_when_lines_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_every_line: bool, expected: list[int]
) -> None:
    """Counted in fsyncs: after each of two lines, and after ``sync`` where lines were not waited for one by one."""
    lines = JsonLines(tmp_path / "lines.jsonl", sync_every_line=sync_every_line)
    lines.append({})  # also makes the file, whose name is fsynced
    count = 0
    fsync = os.fsync

    def counting(descriptor: int) -> None:
        nonlocal count
        count += 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counting)
    counts = []
    for _ in range(2):
        lines.append({})
        counts.append(count)
    if not sync_every_line:
        lines.sync()
    counts.append(count)
    assert counts == expected
    assert len(lines.read()) == 3
