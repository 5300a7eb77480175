"""Bits that flip in files of the store: what is read is what was written, or nothing."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from unsqueeze.digests import check_sums, write_sums
from unsqueeze.errors import RunError
from unsqueeze.store.demos import Demonstration, DemoWriter
from unsqueeze.store.journal import JsonLines
from unsqueeze.store.records import read_record, write_record
from unsqueeze.store.seal import KEY, check_seal, sealed, unsealed

RECORD = {"text": 'a "quoted" ü\n{', "numbers": [1, -0.0, 1e-300, None], "step": 7, "inner": {"b": True, "a": []}}


def demonstration(*, problem_id: str, step: int = 0, mean_logp: float = -1.0) -> Demonstration:
    return Demonstration(
        problem_id=problem_id,
        step=step,
        group=0,
        index=0,
        mean_logp=mean_logp,
        sum_logp=-9,
        score=-1.0,
        reward=0,
        reason="",
        rank=0,
    )


def demonstrations(folder: Path) -> Path:
    demos = [demonstration(problem_id=f"p{i}", step=i, mean_logp=-i / 3) for i in range(20)]
    return DemoWriter(folder).write(0, demos)


def a_record(folder: Path) -> Path:
    write_record(folder / "record.json", RECORD)
    return folder / "record.json"


def some_lines(folder: Path) -> Path:
    lines = JsonLines(folder / "lines.jsonl")
    for step in range(4):
        lines.append(RECORD | {"step": step})
    lines.close()
    return lines.path


@pytest.mark.parametrize(
    ("write", "read", "torn"),
    [
        (demonstrations, lambda path: DemoWriter(path.parent).read(0), 0),
        (a_record, read_record, 0),
        (some_lines, lambda path: JsonLines(path).read(), 8),
    ],
)
def test_no_flipped_bit_is_read_as_other_content(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], Any], torn: int
) -> None:
    """Every bit of a small file, or 500 of a larger one; the newline of the last line makes that line a torn one."""
    path = write(tmp_path)
    whole, content = path.read_bytes(), read(path)
    places = list(range(len(whole) * 8))
    last_newline = set(places[-torn:]) if torn else set()
    if len(places) > 500:
        places = random.Random(1).sample(places, 500)
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        outcome = outcome_of(read, path)
        if isinstance(outcome, RunError):
            assert path.name in str(outcome)
            assert str(outcome).isprintable()
        else:
            assert outcome == content or place in last_newline, place


def outcome_of(read: Callable[[Path], Any], path: Path) -> Any:
    """What is read, or the error."""
    try:
        return read(path)
    except RunError as error:
        return error


def test_any_tool_reads_a_sealed_table_and_its_digest_stands_in_the_metadata(tmp_path: Path) -> None:
    path = demonstrations(tmp_path)
    assert pq.read_table(path).num_rows == 20
    assert len(pq.read_schema(path).metadata[KEY]) == 64
    check_seal(path)


def test_a_table_without_a_digest_is_read_only_where_it_may_be_anybodys(tmp_path: Path) -> None:
    table = pq.read_table(demonstrations(tmp_path)).replace_schema_metadata(None)
    path = tmp_path / "other.parquet"
    pq.write_table(table, path)
    check_seal(path, required=False)
    with pytest.raises(ValueError, match="carries no digest"):
        check_seal(path)


def test_a_text_that_holds_the_key_of_the_digest_is_not_taken_for_it(tmp_path: Path) -> None:
    demo = demonstration(problem_id=(KEY.decode() + "0" * 80) * 3)
    writer = DemoWriter(tmp_path)
    writer.write(0, [demo])
    assert writer.read(0) == [demo]


def test_a_record_has_a_line_for_every_field(tmp_path: Path) -> None:
    lines = a_record(tmp_path).read_text().splitlines()
    assert [line.split(":")[0].strip() for line in lines if line[:3] == '  "'] == [
        f'"{name}"' for name in sealed(RECORD)
    ]


def test_a_record_says_its_checksum_whatever_its_layout() -> None:
    record = sealed(RECORD)
    assert unsealed(dict(reversed(record.items()))) == RECORD
    with pytest.raises(ValueError, match=rf"its crc32 is '{record['crc32']}', and of what stands there it is '"):
        unsealed(record | {"step": 8})
    with pytest.raises(ValueError, match="its crc32 is 'None'"):
        unsealed(RECORD)


def test_the_list_of_digests_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"")
    check_sums(tmp_path)
    write_sums(tmp_path)
    check_sums(tmp_path)
    (tmp_path / "own notes").write_text("mine")
    check_sums(tmp_path)
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(ValueError, match=r"^'b' is not what was written"):
        check_sums(tmp_path)
    (tmp_path / "b").unlink()
    with pytest.raises(ValueError, match=r"^'b' is listed in SHA256SUMS and not there"):
        check_sums(tmp_path)
