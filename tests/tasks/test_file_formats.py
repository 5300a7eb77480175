"""Data files as people bring them: read alike whatever their format, or named for what they are."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Where, load_benchmark
from unsqueeze.tasks.file_records import count_records
from unsqueeze.tasks.files import load_file_problems
from unsqueeze.tasks.math_task import MathTask
from unsqueeze.tasks.records import plain
from unsqueeze.training.setup import data_info

ROWS = [{"problem": "1 + 1?", "answer": "2"}, {"problem": "Half of π?", "answer": "\\pi/2"}]
VERL = [
    {
        "data_source": "math",
        "prompt": [{"role": "user", "content": f"{n} + 1?"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(n + 1)},
        "extra_info": {"index": n},
    }
    for n in range(3)
]


def write_as(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the name's suffixes say."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    lines = "\n\n".join(json.dumps(row) for row in rows)
    text = json.dumps(rows, indent=1) if ".json" in path.suffixes else lines
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


FORMATS = {
    "x.jsonl": ["x:1", "x:3"],
    "x.jsonl.gz": ["x:1", "x:3"],
    "x.json": ["x:1", "x:2"],
    "x.json.gz": ["x:1", "x:2"],
    "x.parquet": ["x:0", "x:1"],
}


@pytest.mark.parametrize(("name", "ids"), FORMATS.items())
def test_every_format_is_read_alike(tmp_path: Path, name: str, ids: list[str]) -> None:
    path = write_as(tmp_path / name, ROWS)
    problems = load_file_problems(path)
    assert [(p.prompt, p.answer) for p in problems] == [("1 + 1?", "2"), ("Half of π?", "\\pi/2")]
    assert [p.id for p in problems] == ids
    assert count_records(path) == 2


def test_the_format_is_that_of_the_content_and_not_of_the_name(tmp_path: Path) -> None:
    parquet = write_as(tmp_path / "x.parquet", ROWS).rename(tmp_path / "x.jsonl")
    assert [p.answer for p in load_file_problems(parquet)] == ["2", "\\pi/2"]
    marked = tmp_path / "marked.json"
    marked.write_bytes(b"\xef\xbb\xbf \n" + json.dumps(ROWS).encode())
    assert len(load_file_problems(marked)) == 2


@pytest.mark.parametrize("name", FORMATS)
def test_rows_of_verl_are_read_in_every_format(tmp_path: Path, name: str) -> None:
    problems = load_file_problems(write_as(tmp_path / name, VERL))
    assert [(p.prompt, p.answer) for p in problems] == [("0 + 1?", "1"), ("1 + 1?", "2"), ("2 + 1?", "3")]


def test_eval_reads_such_a_file(tmp_path: Path) -> None:
    path = write_as(tmp_path / "mine.parquet", VERL)
    benchmark = load_benchmark(str(path), Where(data_dir=tmp_path, limit=2))
    assert (benchmark.name, [p.answer for p in benchmark.problems]) == ("mine", ["1", "2"])


def row(messages: object) -> dict[str, Any]:
    return {"prompt": messages, "reward_model": {"ground_truth": "2"}}


USER = {"role": "user", "content": "1 + 1?"}


def test_parts_of_a_message_are_its_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?"}]
    path = write_as(tmp_path / "x.jsonl", [row([{"role": "user", "content": parts}])])
    assert load_file_problems(path)[0].prompt == "1 + 1?"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [{"role": "system", "content": "Be brief."}, USER],
            r"a system message, 'Be brief\.', .* prompt\.system .* data\.problem_field=prompt\.1\.content",
        ),
        ([USER, {"role": "assistant", "content": "2"}, USER], "messages of 'user', 'assistant', 'user'"),
        ([{"role": "system", "content": "Be brief."}], "messages of 'system'; a problem is asked in one message"),
        ([{"role": "user", "content": None}], "the field 'prompt' is null"),
        ([{"role": "user", "content": [{"type": "image"}]}], "the field 'prompt' is a list"),
    ],
)
def test_messages_that_are_not_one_question_are_refused(tmp_path: Path, messages: object, message: str) -> None:
    path = write_as(tmp_path / "x.jsonl", [row([USER]), row(messages)])
    with pytest.raises(UserError, match=f"x.jsonl, line 3: .*{message}"):
        load_file_problems(path)


def test_a_system_message_is_left_to_the_recipe_by_naming_the_users(tmp_path: Path) -> None:
    path = write_as(tmp_path / "x.parquet", [row([{"role": "system", "content": "Be brief."}, USER])])
    reader = plain("prompt.1.content", "reward_model.ground_truth")
    assert [(p.prompt, p.answer) for p in load_file_problems(path, reader=reader)] == [("1 + 1?", "2")]


def test_a_dot_leads_inside_unless_the_field_has_it(tmp_path: Path) -> None:
    rows = [{"a": {"b": "inside"}, "c": ["zeroth", "first"]}, {"a.b": "whole", "a": {"b": "inside"}, "c": ["x", "y"]}]
    problems = load_file_problems(write_as(tmp_path / "x.jsonl", rows), reader=plain("a.b", "c.1"))
    assert [(p.prompt, p.answer) for p in problems] == [("inside", "first"), ("whole", "y")]
    with pytest.raises(UserError, match=r"line 1: the field 'a\.x' is missing; it has 'a', 'c'; data\.problem_f"):
        load_file_problems(tmp_path / "x.jsonl", reader=plain("a.x", "c.1"))
    with pytest.raises(UserError, match=r"line 1: the field 'c\.2' is missing"):
        load_file_problems(tmp_path / "x.jsonl", reader=plain("a.b", "c.2"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"problem,answer\n1 + 1?,2\n", "a table of text; convert it first; what is read is JSON Lines"),
        ("x.jsonl.zst", b"\x28\xb5\x2f\xfd....", "compressed with zstd; unpack it first"),
        ("x.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("x.jsonl", b"<!DOCTYPE html><html>", "HTML or XML"),
        ("x.parquet", b"PAR1 and then nothing", "the problem file is damaged"),
        ("x.parquet.gz", gzip.compress(b"PAR1...PAR1"), "a gzipped Parquet file; unpack it first"),
        ("x.jsonl.gz", gzip.compress(json.dumps(ROWS[0]).encode())[:-12], "gzip is damaged or cut off"),
        (
            "x.json",
            b'[{"problem": "1 + 1?",\n "answer" 2}]',
            r"not valid JSON \(Expecting ':' delimiter, line 2, column",
        ),
        ("x.json", b"[" * 100_000, r"not valid JSON \(nested too deep\)"),
        (
            "x.json",
            b'[{"problem": "1 + 1?", "answer": 2}, 7]',
            "entry 2: a JSON int; every entry must be one JSON object",
        ),
        ("x.json", b"[]", "the file holds no problem"),
        ("x.json", b"[1]\n[2]", "not valid JSON"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        load_file_problems(path)


def test_damaged_pages_of_a_parquet_file_are_one_sentence(tmp_path: Path) -> None:
    path = write_as(tmp_path / "x.parquet", VERL * 500)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.parquet: the problem file"):
        load_file_problems(path)


def test_the_test_file_may_have_fields_of_its_own(tmp_path: Path) -> None:
    train = write_as(tmp_path / "train.parquet", VERL)
    test = write_as(tmp_path / "test.jsonl", [{"question": "9 + 9?", "gold": 18}])
    settings = DataSettings(
        kind="jsonl",
        train_path=str(train),
        test_path=str(test),
        validation_path=str(write_as(tmp_path / "validation.json", ROWS[1:])),
        test_problem_field="question",
        test_answer_field="gold",
    )
    data = MathTask().load(settings)
    assert [p.answer for p in data.train] == ["1", "2", "3"]
    assert [(p.prompt, p.answer) for p in data.test] == [("9 + 9?", "18")]
    assert [p.answer for p in data.validation] == ["\\pi/2"]
    sizes = MathTask().sizes(settings)
    assert (sizes.train, sizes.test, sizes.validation) == (3, 1, 1)


def test_fields_of_the_test_file_alone_change_neither_other(tmp_path: Path) -> None:
    settings = DataSettings(kind="jsonl", train_path="a", test_path="b", test_problem_field="q", answer_field="gold")
    assert settings.fields_of("a") == ("problem", "gold")
    assert settings.fields_of("b") == ("q", "gold")


BAD = [
    {"problem": "3 + 3?", "answer": None},
    {"problem": "", "answer": "2"},
    {"answer": "2"},
    {"problem": "4 + 4?", "answer": ["8"]},
]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.parquet"])
def test_records_without_a_problem_are_left_out_and_named_where_that_is_asked_for(tmp_path: Path, name: str) -> None:
    bad = BAD[:3] if name == "x.parquet" else BAD  # a column of Parquet has one type
    path = write_as(tmp_path / name, [ROWS[0], *bad, ROWS[1]])
    skipped: list[str] = []
    assert [p.answer for p in load_file_problems(path, skipped=skipped)] == ["2", "\\pi/2"]
    assert len(skipped) == len(bad)
    assert "the field 'answer' is null" in skipped[0]
    with pytest.raises(UserError, match="the field 'answer' is null"):
        load_file_problems(path)


def test_what_is_no_single_bad_record_is_never_left_out(tmp_path: Path) -> None:
    refused: list[tuple[list[dict[str, Any]], str]] = [
        ([{"id": "a", **ROWS[0]}, {"id": "a", **ROWS[1]}], "the id 'a' was used before"),
        ([row([{"role": "system", "content": "Be brief."}, USER])], "a system message"),
        (
            BAD,
            r"the file holds no problem; all 4 are left out, the first: .*line 1: the field 'answer' is",
        ),
    ]
    for rows, message in refused:
        with pytest.raises(UserError, match=message):
            load_file_problems(write_as(tmp_path / "x.jsonl", rows), skipped=[])
    (tmp_path / "x.jsonl").write_text("{nonsense\n")
    with pytest.raises(UserError, match="not valid JSON"):
        load_file_problems(tmp_path / "x.jsonl", skipped=[])


def test_a_recipe_leaves_them_out_of_every_file_and_counts_them_by_file(tmp_path: Path) -> None:
    train = write_as(tmp_path / "train.jsonl", [*VERL, *BAD])
    test = write_as(tmp_path / "test.json", [BAD[0], ROWS[1]])
    settings = DataSettings(kind="jsonl", train_path=str(train), test_path=str(test), skip_bad=True, num_validation=1)
    data = MathTask().load(settings)
    assert (len(data.train), len(data.test), len(data.validation)) == (2, 1, 1)
    assert {path: len(found) for path, found in data.skipped.items()} == {str(train): 4, str(test): 1}
    assert data_info(data)["num_skipped"] == {str(train): 4, str(test): 1}
    with pytest.raises(UserError, match=r"train\.jsonl, line 7: the field 'answer' is null"):
        MathTask().load(settings.model_copy(update={"skip_bad": False}))
