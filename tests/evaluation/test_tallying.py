"""Samples that an evaluation of ours wrote are counted by columns, and come to what they come to one by one."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unsqueeze as uq
from unsqueeze.api.judging import verifier_of
from unsqueeze.errors import UserError
from unsqueeze.evaluation.summarise import tally_of
from unsqueeze.evaluation.tallying import own_samples, tally_samples
from unsqueeze.rollout.types import StopReason
from unsqueeze.store.samples import SAMPLE_SCHEMA, EvalSample
from unsqueeze.store.table import table_of_rows, write_table
from unsqueeze.verify.verdict import Verdict


def sample(problem: str, index: int, verdict: Verdict, extracted: str | None, **other: str) -> EvalSample:
    told = {"benchmark": "sums", "gold": "7", "reason": "", "verifier": "math"} | other
    return EvalSample(
        problem_id=problem,
        index=index,
        text="…",
        verdict=verdict,
        extracted=extracted,
        num_tokens=3,
        mean_logp=-0.5,
        stop_reason=StopReason.EOS,
        **told,
    )


ROWS = [
    sample("b", 0, Verdict.CORRECT, "7"),
    sample("b", 1, Verdict.WRONG, "1/2"),
    sample("b", 2, Verdict.WRONG, "0.5"),
    sample("a", 0, Verdict.TIMED_OUT, None),
    sample("a", 1, Verdict.UNPARSABLE, None),
    sample("a", 2, Verdict.CORRECT, "7"),
    sample("c", 0, Verdict.UNREADABLE_GOLD, None, gold="?"),
    sample("a", 0, Verdict.WRONG, "8", benchmark="products", gold="9"),
]


def written(path: Path, rows: list[EvalSample]) -> str:
    write_table(path, table_of_rows(rows, SAMPLE_SCHEMA))
    return str(path)


def test_by_columns_and_one_by_one_come_to_the_same(tmp_path: Path) -> None:
    source = written(tmp_path / "samples.parquet", ROWS)
    table = own_samples(source)
    assert table is not None
    with verifier_of(None, None, None, None) as verifier:
        one_by_one = tally_samples(source, verifier)
    by_columns = tally_of(table)
    for field in fields(by_columns):
        found, expected = (np.asarray(getattr(each, field.name), dtype=object) for each in (by_columns, one_by_one))
        np.testing.assert_array_equal(found, expected, err_msg=field.name)
    assert by_columns.problem_ids == ("b", "a", "a")
    assert uq.score(source).avg.mean == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)


@pytest.mark.parametrize(
    "odd",
    [
        sample("d", 0, Verdict.WRONG, "8", gold=" "),
        replace(ROWS[0], benchmark=None),  # type: ignore[arg-type]
        replace(ROWS[0], problem_id=None),  # type: ignore[arg-type]
        replace(ROWS[0], gold=None),  # type: ignore[arg-type]
    ],
)
def test_samples_that_lack_something_are_asked_one_by_one(tmp_path: Path, odd: EvalSample) -> None:
    assert own_samples(written(tmp_path / "samples.parquet", [*ROWS, odd])) is None


def test_a_file_without_samples_is_refused_as_before(tmp_path: Path) -> None:
    source = written(tmp_path / "samples.parquet", [])
    assert own_samples(source) is None
    with pytest.raises(UserError, match="no samples"):
        uq.score(source)


def test_two_gold_answers_of_one_problem_are_still_asked_about(tmp_path: Path) -> None:
    source = written(tmp_path / "samples.parquet", [*ROWS, sample("b", 3, Verdict.WRONG, "8", gold="11")])
    assert own_samples(source) is None
    with pytest.raises(UserError, match=r"'b' of sums has the gold answer '7' .* and '11' .*two problems of one name"):
        uq.score(source)


def test_files_of_others_are_read_row_by_row(tmp_path: Path) -> None:
    table = table_of_rows(ROWS, SAMPLE_SCHEMA)
    pq.write_table(table, tmp_path / "same_columns.parquet")  # not ours: who wrote it may have meant anything
    pq.write_table(pa.table({"problem_id": ["a"], "correct": [True]}), tmp_path / "few.parquet")
    (tmp_path / "samples.jsonl").write_text('{"problem_id": "a", "correct": true}\n')
    for name in ("same_columns.parquet", "few.parquet", "samples.jsonl"):
        assert own_samples(str(tmp_path / name)) is None
        assert uq.score(str(tmp_path / name)).avg.mean > 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    source = written(tmp_path / "samples.parquet", ROWS)
    content = bytearray(Path(source).read_bytes())
    content[40] ^= 1
    Path(source).write_bytes(content)
    assert own_samples(source) is None
    with pytest.raises(UserError, match=r"samples\.parquet"):
        uq.score(source)
