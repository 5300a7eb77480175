"""``unsqueeze verify`` through the real command line."""

import io
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsqueeze.evaluation.file_notes import FileNotes
from unsqueeze.evaluation.verdict_files import count_samples, write_verdicts
from unsqueeze.verify.math_verifier import MathVerifier

LINES = [
    '{"gold": "5", "prediction": "\\\\boxed{5}", "note": "é", "score": 1.10}',
    '{"prediction": "6",   "gold": 5}',
    "",
    '{"gold": ["1", 2], "prediction": "2, 1", "nested": {"a": [1, 2.50]}}',
    '{"gold": "\\\\frac{1}{2}", "prediction": null}',
    '{"gold": "B", "prediction": "The answer is (B)", "verdict": "wrong"}',
]
VERDICTS = ["correct", "wrong", "correct", "unparsable", "correct"]


def unsqueeze(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "unsqueeze", *arguments], input=stdin, capture_output=True, timeout=600, check=False
    )


def test_adds_verdicts_and_changes_nothing_else(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    result = unsqueeze("verify", str(source), "--out", str(out), "--workers", "1", "--timeout", "30")
    assert result.returncode == 0, result.stderr
    assert b"5 answers: 3 correct, 1 wrong, 1 unparsable" in result.stderr
    assert result.stdout == b""
    written = out.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["verdict"] for line in written] == VERDICTS
    assert written[0] == LINES[0].removesuffix("}") + ', "verdict": "correct"}'
    assert json.loads(written[4]) == {**json.loads(LINES[5]), "verdict": "correct"}


def test_standard_input_to_standard_output_with_reasons() -> None:
    source = "\n".join(LINES[:2]).encode()
    result = unsqueeze("verify", "-", "--explain", "--credit", "boxed", stdin=source)
    assert result.returncode == 0, result.stderr
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["verdict"], first["extracted"], first["reason"]) == (
        "correct",
        "5",
        "the same number as the gold answer",
    )
    assert (second["verdict"], second["extracted"]) == ("unparsable", None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", ["line 2", "not valid JSON"]),
        ("[1]", ["line 2", "not an object"]),
        ('{"gold": "5"}', ["line 2", "'prediction'"]),
        ('{"prediction": "5"}', ["line 2", "'gold'"]),
        ('{"gold": null, "prediction": "5"}', ["line 2", "'gold'", "null"]),
        ('{"gold": "", "prediction": "5"}', ["line 2", "'gold'"]),
        ('{"gold": "5", "prediction": ["5"]}', ["line 2", "'prediction'"]),
        ('{"gold": "5", "prediction": "\udce9"}', ["line 2", "UTF-8"]),
    ],
)
def test_a_broken_line_is_named_before_anything_is_judged(line: str, words: list[str], tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{LINES[0]}\n{line}\n", encoding="utf-8", errors="surrogateescape")
    out.write_text("what was there")
    with pytest.raises(ValueError, match="line 2") as raised:
        count_samples(str(source), FileNotes())
    for word in words:
        assert word in str(raised.value)
    assert out.read_text() == "what was there"


BAD = ["{broken", "[1]", '{"gold": "5"}', '{"gold": null, "prediction": "5"}']


@pytest.mark.usefixtures("shared_workers")
def test_bad_lines_are_left_out_where_that_is_asked_for_and_named(command, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join([LINES[0], *BAD, LINES[1]]) + "\n", encoding="utf-8")
    code, _, err = command("verify", str(source), "--out", str(out), "--skip-bad", "--timeout", "60")
    assert code == 0, err
    written = out.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["verdict"] for line in written] == ["correct", "wrong"]
    assert written[0].startswith(LINES[0].removesuffix("}"))
    assert "4 lines are left out" in err
    for number, why in ((2, "not valid JSON"), (3, "not an object"), (4, "'prediction'"), (5, "'gold'")):
        assert re.search(rf"line {number}: [^;]*{why}", err), (number, err)
    assert "2 answers: 1 correct, 1 wrong" in err


@pytest.mark.usefixtures("shared_workers")
def test_bad_rows_of_parquet_are_left_out_where_that_is_asked_for(command, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table({"gold": ["5", None, "7"], "prediction": ["5", "6", "8"], "tag": [1, 2, 3]}), source)
    code, _, err = command("verify", str(source), "--out", str(out))
    assert code == 2
    assert "row 2: field 'gold' is null" in err
    code, _, err = command("verify", str(source), "--out", str(out), "--skip-bad", "--timeout", "60")
    assert code == 0, err
    assert "1 line is left out" in err
    assert pq.read_table(out).to_pylist() == [
        {"gold": "5", "prediction": "5", "tag": 1, "verdict": "correct"},
        {"gold": "7", "prediction": "8", "tag": 3, "verdict": "wrong"},
    ]


@pytest.mark.usefixtures("shared_workers")
def test_gold_answers_that_cannot_be_read_are_named_by_line(command, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    golds = ["5", "???", "\\frac{1}{", "7"]
    source.write_text("".join(json.dumps({"gold": gold, "prediction": "\\boxed{5}"}) + "\n" for gold in golds))
    code, _, err = command("verify", str(source), "--out", str(out), "--timeout", "60")
    assert code == 0, err
    assert [json.loads(line)["verdict"] for line in out.read_text().splitlines()] == [
        "correct",
        "unreadable_gold",
        "unreadable_gold",
        "wrong",
    ]
    assert "2 answers are not judged, since the gold answer cannot be read" in err
    assert "line 2: '???'" in err
    assert "line 3: " in err
    assert "line 4" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-file.jsonl"], "no such file"),
        (["."], "is a directory"),
        (["-", "--workers", "0"], "workers is 0"),
        (["-", "--timeout", "-1"], "verify.timeout_s is -1"),
        (["-", "--credit", "all"], "one of boxed, final_answer, anywhere"),
        (["-", "--out", "x.parquet"], "JSON Lines"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_two(arguments: list[str], words: str, tmp_path: Path) -> None:
    from unsqueeze.cli.main import main

    argv, stderr = sys.argv, sys.stderr
    sys.argv, sys.stderr = ["unsqueeze", "verify", *arguments], io.StringIO()
    try:
        with pytest.raises(SystemExit) as end:
            main()
        said = sys.stderr.getvalue()
    finally:
        sys.argv, sys.stderr = argv, stderr
    assert end.value.code == 2
    assert words in said
    assert "Traceback" not in said


def test_parquet_to_parquet(tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.table(
        {
            "gold": ["5", "5"] * 1500,
            "prediction": ["5", "6"] * 1500,
            "verdict": [7, 8] * 1500,
            "tag": [[1], None] * 1500,
        }
    )
    pq.write_table(table, source)
    with MathVerifier(credit="anywhere") as verifier:
        assert count_samples(str(source), FileNotes()) == 3000
        assert write_verdicts(str(source), str(out), verifier, FileNotes()) == {"correct": 1500, "wrong": 1500}
    found = pq.read_table(out)
    assert found.schema.names == ["gold", "prediction", "verdict", "tag"]
    assert found["verdict"].to_pylist() == ["correct", "wrong"] * 1500
    assert found["tag"] == table["tag"]


def test_parquet_that_is_none_or_lacks_a_column(tmp_path: Path) -> None:
    broken, lacking = tmp_path / "broken.parquet", tmp_path / "lacking.parquet"
    broken.write_bytes(b"PAR1 not really")
    pq.write_table(pa.table({"gold": ["5"]}), lacking)
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        count_samples(str(broken), FileNotes())
    with pytest.raises(ValueError, match="no column 'prediction'"):
        count_samples(str(lacking), FileNotes())


def test_a_file_may_be_its_own_output(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(LINES[0] + "\n", encoding="utf-8")
    with MathVerifier(credit="anywhere") as verifier:
        write_verdicts(str(path), str(path), verifier, FileNotes())
    assert json.loads(path.read_text(encoding="utf-8"))["verdict"] == "correct"
    assert [entry.name for entry in tmp_path.iterdir()] == ["samples.jsonl"]


def peak_of(num_lines: int, folder: Path, verifier: MathVerifier) -> int:
    source = folder / f"{num_lines}.jsonl"
    padding = "x" * 800
    with source.open("w") as stream:
        for number in range(num_lines):
            response = f"{padding} \\\\boxed{{{number % 9}}}"
            stream.write(f'{{"gold": "5", "prediction": "{response}", "number": {number}}}\n')
    tracemalloc.start()
    try:
        write_verdicts(str(source), str(folder / "out.jsonl"), verifier, FileNotes())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with MathVerifier(workers=1, credit="anywhere") as verifier:
        peak_of(100, tmp_path, verifier)
        small, large = peak_of(4_500, tmp_path, verifier), peak_of(13_500, tmp_path, verifier)
    assert large < 1.2 * small
