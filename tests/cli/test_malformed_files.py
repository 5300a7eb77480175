"""Problems, rollouts, samples and demonstrations that are wrong: one sentence with file and line, nothing written."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import contents, invoke, refused, sentence_of

PROBLEM = {"id": "a", "problem": "What is 1 + 1?", "answer": "2"}
ROLLOUT = {"problem_id": "p", "step": 1, "reward": 1.0, "logprobs": [-1.0, -2.0], "prompt": "q", "completion": "r"}
SAMPLE = {"problem_id": "p", "benchmark": "b", "correct": True}
UNJUDGED = {"problem_id": "p", "gold": "2", "prediction": "\\boxed{2}"}
DEMO = {"prompt": "Make 24 from 1 2 3 4.", "completion": "1 * 2 = 2, 2 * 3 = 6, 6 * 4 = 24"}

# Of every kind of file: a good line, and the command that reads it.
READERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "problems": (PROBLEM, ["eval", "countdown-0.4m", "--task", "FILE", "--out", "OUT"]),
    "rollouts": (ROLLOUT, ["select", "FILE", "--out", "OUT"]),
    "samples": (SAMPLE, ["score", "FILE"]),
    "samples to compare": (SAMPLE, ["compare", "FILE", "FILE"]),
    "answers": (UNJUDGED, ["verify", "FILE", "--out", "OUT"]),
    "demonstrations": (DEMO, ["irl", "countdown-0.4m", "--demos", "FILE", "--out", "OUT"]),
}

LINES: dict[str, bytes] = {
    "no JSON": b"hello\n",
    "cut off": b'{"problem_id": "p", "corr',
    "a list": b"[1, 2]\n",
    "a number": b"3\n",
    "null": b"null\n",
    "a text": b'"a"\n',
    "an object without fields": b"{}\n",
    "two objects": b"{}{}\n",
    "not UTF-8": b'{"problem": "\xff\xfe"}\n',
    "UTF-16": '{"problem": "a"}\n'.encode("utf-16"),
    "bytes of all kinds": bytes(range(256)),
    "NULs": b"\x00\x00\n",
    "a NUL in a text": b'{"problem": "a\x00b"}\n',
    "nested deeply": b"[" * 100_000 + b"\n",
    "a number of 5,000 digits": b'{"x": ' + b"9" * 5000 + b"}\n",
    "a huge line": b'{"x": "' + b"a" * 3_000_000 + b"\n",
    "gzip": b"\x1f\x8b\x08\x00abc\n",
}
"""Each after a line that is right."""

WRONG: dict[str, dict[str, list[Any]]] = {
    "problems": {
        "problem": [None, "", [], {}, True, ["a"], "a half of \ud800"],
        "answer": [None, "", [], {}, False],
        "id": [None, [], True, "a"],
    },
    "rollouts": {
        "problem_id": [[], {}, True, 1.5],
        "step": [[1], {"a": 1}, 1.5, True],
        "reward": ["1", [], {}, float("nan"), float("inf"), 10**400],
        "logprobs": ["-1", {}, [None], ["-1"], [0.5], [[-1.0]], [True], [10**400]],
        "prompt": [None, 3, [], {}, [1], [{"role": "user"}]],
        "completion": [None, 3, [], {}],
    },
    "samples": {
        "problem_id": [None, [], {}, True],
        "correct": ["true", 2, 0.5, [], {}, float("nan")],
        "benchmark": [[], {"a": 1}],
    },
    "answers": {
        "gold": [None, "", [], {}, True, [None], [""], [[1]]],
        "prediction": [[], {}, True],
    },
    "demonstrations": {
        "prompt": [None, 3, [], {}, "unknown words", "half of \ud800"],
        "completion": [None, 3, [], {}, "unknown words", "1 + 2 = 3, " * 200],
    },
}
"""Of every kind of file: values that a field cannot have. The line before is right; its problem is another."""

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "without its end": lambda whole: whole[:-8],
    "its mark alone": lambda whole: b"PAR1",
    "zeros between its marks": lambda whole: b"PAR1" + bytes(len(whole) - 8) + b"PAR1",
    "JSON Lines by content": lambda whole: json.dumps(SAMPLE).encode() + b"\n",
    "without rows": lambda whole: parquet(pa.table({"problem_id": pa.array([], pa.string())})),
    "without columns that count": lambda whole: parquet(pa.table({"zz": [1]})),
    "a column twice": lambda whole: parquet(pa.table([[1], [1]], names=["problem_id", "problem_id"])),
}
COLUMNS: dict[str, pa.Array] = {
    "bytes": pa.array([b"\xff"], pa.binary()),
    "structs": pa.array([{"a": 1}]),
    "a time beyond all calendars": pa.array([2**62], pa.timestamp("us")),
    "durations": pa.array([1], pa.duration("s")),
    "lists": pa.array([[1]]),
    "maps": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
}
PARQUET = ["samples", "rollouts"]

CASES = [
    *((kind, what) for kind in READERS for what in ("empty", "blank", *LINES)),
    *(
        (kind, name, str(value))
        for kind, fields in WRONG.items()
        for name in fields
        for value in ("absent", *fields[name])
    ),
    *((kind, "parquet", what) for kind in PARQUET for what in (*DAMAGES, *COLUMNS)),
]


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def arguments(kind: str, folder: Path, name: str = "file.jsonl") -> list[str]:
    places = {"FILE": str(folder / name), "OUT": str(folder / "out")}
    return [places.get(word, word) for word in READERS[kind][1]]


@pytest.mark.parametrize("kind", READERS)
def test_lines(tmp_path: Path, kind: str) -> None:
    good = line(READERS[kind][0])
    for what, bad in {"empty": b"", "blank": b"\n \n\t\n"}.items():
        (tmp_path / "file.jsonl").write_bytes(bad)
        if kind != "answers":  # nothing to judge is no mistake
            assert "file.jsonl" in refused(tmp_path, *arguments(kind, tmp_path)), what
    for what, bad in LINES.items():
        (tmp_path / "file.jsonl").write_bytes(good + bad)
        sentence = refused(tmp_path, *arguments(kind, tmp_path))
        assert "file.jsonl" in sentence, what
        assert "line 2" in sentence or "not UTF-8" in sentence, (what, sentence)


@pytest.mark.parametrize("kind", WRONG)
def test_fields(tmp_path: Path, kind: str) -> None:
    good = READERS[kind][0]
    for name, values in WRONG[kind].items():
        without = {key: value for key, value in good.items() if key != name}
        optional = (kind, name) in (
            ("problems", "id"),
            ("rollouts", "problem_id"),
            ("rollouts", "step"),
            ("samples", "benchmark"),
        )
        lines = [] if optional else [without]
        for wrong in (*lines, *({**without, name: value} for value in values)):
            other = {**wrong, "id": "b"} if kind == "problems" and name != "id" else wrong
            (tmp_path / "file.jsonl").write_bytes(line(good) + line(other))
            sentence = refused(tmp_path, *arguments(kind, tmp_path))
            assert "file.jsonl" in sentence, (name, other, sentence)
            assert "line 2" in sentence, (name, other, sentence)


@pytest.mark.parametrize("kind", PARQUET)
def test_parquet(tmp_path: Path, kind: str) -> None:
    good = READERS[kind][0]
    whole = parquet(pa.Table.from_pylist([good]))
    for damage in DAMAGES.values():
        (tmp_path / "file.parquet").write_bytes(damage(whole))
        assert "file.parquet" in refused(tmp_path, *arguments(kind, tmp_path, "file.parquet"))
    for array in COLUMNS.values():
        for name in ("correct", "problem_id") if kind == "samples" else ("reward", "logprobs", "prompt"):
            (tmp_path / "file.parquet").write_bytes(
                parquet(pa.table({**pa.Table.from_pylist([good]).to_pydict(), name: array}))
            )
            assert "file.parquet" in refused(tmp_path, *arguments(kind, tmp_path, "file.parquet"))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(kind=st.sampled_from(PARQUET), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_bit_that_flips_in_parquet(tmp_path_factory: pytest.TempPathFactory, kind: str, place: int, bit: int) -> None:
    """It may change a value, and nobody can know. Otherwise there is one sentence; never anything else."""
    folder = tmp_path_factory.getbasetemp() / f"flip-{kind}"
    folder.mkdir(exist_ok=True)
    damaged = bytearray(parquet(pa.Table.from_pylist([READERS[kind][0]] * 3)))
    damaged[place % len(damaged)] ^= 1 << bit
    (folder / "file.parquet").write_bytes(damaged)
    (folder / "out").unlink(missing_ok=True)
    before = contents(folder)
    outcome = invoke(*arguments(kind, folder, "file.parquet"))
    assert outcome.code in (0, 2)
    if outcome.code:
        assert "file.parquet" in sentence_of(outcome)
        assert contents(folder) == before


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(kind=st.sampled_from(["rollouts", "samples"]), data=st.data())
def test_any_value_of_any_field(tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / f"any-{kind}"
    folder.mkdir(exist_ok=True)
    good = READERS[kind][0]
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(good)), VALUES, min_size=1, max_size=3))
    (folder / "file.jsonl").write_bytes(line(good) + line(good | changed))
    (folder / "out").unlink(missing_ok=True)
    outcome = invoke(*arguments(kind, folder))
    assert outcome.code in (0, 2)
    if outcome.code:
        assert "file.jsonl, line 2" in sentence_of(outcome)
        assert not (folder / "out").exists()


def test_problems_to_train_on(tmp_path: Path) -> None:
    """The same reader, by way of a recipe."""
    (tmp_path / "good.jsonl").write_bytes(line(PROBLEM))
    (tmp_path / "bad.jsonl").write_bytes(line(PROBLEM) + LINES["cut off"])
    for train, test in (("good", "bad"), ("bad", "good"), ("good", "absent"), ("good", "good")):
        sets = {"kind": "jsonl", "num_train": "null", "num_test": "null"}
        sets |= {"train_path": str(tmp_path / f"{train}.jsonl"), "test_path": str(tmp_path / f"{test}.jsonl")}
        settings = [word for name, value in sets.items() for word in ("--set", f"data.{name}={value}")]
        sentence = refused(tmp_path, "train", "smoke", "--run", str(tmp_path / "run"), *settings)
        assert any(name in sentence for name in ("bad.jsonl, line 2", "absent.jsonl", "in both")), sentence


def test_what_is_no_file(tmp_path: Path) -> None:
    for kind in READERS:
        assert "file.jsonl" in refused(tmp_path, *arguments(kind, tmp_path))
    (tmp_path / "file.jsonl").mkdir()
    for kind in READERS:
        assert "file.jsonl" in refused(tmp_path, *arguments(kind, tmp_path))


def test_standard_input() -> None:
    outcome = invoke("score", "-", stdin=b'{"problem_id": "p", "correct": true}\nhello\n')
    assert outcome.code == 2
    assert "standard input, line 2" in sentence_of(outcome)
