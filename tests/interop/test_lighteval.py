"""lighteval's details read as samples, and ours written in their layout (lighteval 0.13.0)."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import refused
from unsqueeze.evaluation.tallying import tally_samples
from unsqueeze.interop.exporters import Answer
from unsqueeze.interop.write_lighteval import write_lighteval
from unsqueeze.verify.math_verifier import MathVerifier

DATE = "2026-01-02T03-04-05.000006"
RIGHT, NOT = "so it is \\boxed{12}", "so it is \\boxed{13}"


def detail(number: int, texts: list[str], metric: dict[str, Any], **doc: Any) -> dict[str, Any]:
    """A row as lighteval writes it, without what is not read."""
    return {
        "doc": {"query": "?", "choices": ["12"], "gold_index": 0, "id": str(number), "task_name": "aime24|0"} | doc,
        "metric": metric,
        "model_response": {"input_tokens": [1], "text": texts, "text_post_processed": None},
    }


def write_details(folder: Path, rows: list[dict[str, Any]], *, task: str = "aime24|0", date: str = DATE) -> Path:
    path = folder / "details" / "org" / "model" / date / f"details_{task}_{date}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def tally(source: Path):
    with MathVerifier(workers=1, timeout_s=30, memory_mb=320, credit="anywhere") as verifier:
        return tally_samples(str(source), verifier)


def test_one_answer_has_the_verdict_of_lighteval(command, tmp_path: Path) -> None:
    """The first text is wrong by its gold answer and called right: a verdict is read, not made."""
    metric = "pass@k:k=1&n=1"
    path = write_details(tmp_path, [detail(0, [NOT], {metric: 1.0, "f1": 0.3}), detail(1, [RIGHT], {metric: 0.0})])
    for source in (tmp_path, path.parent.parent, path.parent, path):
        counted = tally(source)
        assert counted.problem_ids == ("0", "1")
        assert counted.benchmarks == ("aime24|0", "aime24|0")
        assert counted.num_correct_P.tolist() == [1, 0]
    code, out, _ = command("score", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out)["avg"] == pytest.approx(0.5)
    code, out, _ = command("compare", str(tmp_path), str(path), "--json")
    assert code == 0
    assert json.loads(out)["avg"]["difference"] == 0


def test_choices_by_their_likelihood_have_no_text(tmp_path: Path) -> None:
    write_details(tmp_path, [detail(0, [], {"acc": 1}), detail(1, [], {"acc": 0})], task="mmlu|5")
    assert tally(tmp_path).num_correct_P.tolist() == [1, 0]


def test_several_answers_are_judged_against_the_gold_answer(tmp_path: Path) -> None:
    """Their mean says how many were right, not which: texts decide, those without reasoning where there are such."""
    rows = [
        detail(0, [RIGHT, NOT, RIGHT], {"avg@n:n=3": 0.0}),
        detail(1, [NOT, NOT, RIGHT], {"avg@n:n=3": 1.0}, choices=["x = 5. #### 12"]),
        detail(2, [NOT, NOT, NOT], {"avg@n:n=3": 1.0}, choices=["7", "We find \\boxed{13}."], gold_index=1),
    ]
    rows[1]["model_response"]["text_post_processed"] = [RIGHT, NOT, NOT]
    write_details(tmp_path, rows)
    counted = tally(tmp_path)
    assert counted.num_samples_P.tolist() == [3, 3, 3]
    assert counted.num_correct_P.tolist() == [2, 1, 3]


def test_an_unknown_metric_is_no_verdict(tmp_path: Path) -> None:
    write_details(tmp_path, [detail(0, [RIGHT], {"f1": 0.0}), detail(1, [NOT], {"f1": 1.0})])
    assert tally(tmp_path).num_correct_P.tolist() == [1, 0]


def test_tasks_of_one_folder_are_read_together(tmp_path: Path) -> None:
    write_details(tmp_path, [detail(0, [RIGHT], {"em": 1})])
    write_details(tmp_path, [detail(0, [RIGHT], {"em": 0}, task_name="")], task="gsm8k|0")
    counted = tally(tmp_path)
    assert counted.benchmarks == ("aime24|0", f"details_gsm8k|0_{DATE}")
    write_details(tmp_path, [detail(0, [RIGHT], {"em": 1})], date="2026-02-02T03-04-05.000006")
    assert "several models or dates" in refused(tmp_path, "score", str(tmp_path))


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (detail(0, [RIGHT], {"em": 0.5}), "'em' is 0.5"),
        (detail(0, [], {"em": None}), "no text to judge"),
        (detail(0, [RIGHT, NOT], {"avg@n:n=2": 0.5}, gold_index=3), "doc.gold_index"),
        (detail(0, [RIGHT, NOT], {"avg@n:n=2": 0.5}, choices=["1", "2"], gold_index=[0, 1]), "2 gold answers"),
        (detail(0, [RIGHT, NOT], {"em": 1}, specific={"unsqueeze": {"correct": [True]}}), "of every text"),
        (detail(0, [RIGHT], {"em": 1}, specific={"unsqueeze": 3}), "no details"),
        (detail(0, [3], {"em": 1}), "no details"),  # type: ignore[list-item]
        (detail(0, [RIGHT], 3), "no details"),  # type: ignore[arg-type]
        (detail(0, [RIGHT], {"em": 1}, id=None), "problem_id"),
    ],
)
def test_what_is_no_answer_right_or_wrong_is_refused(tmp_path: Path, row: dict[str, Any], wanted: str) -> None:
    path = write_details(tmp_path, [row])
    sentence = refused(tmp_path, "score", str(tmp_path))
    assert wanted in sentence
    assert f"{path.name}, row 1" in sentence


def test_export_is_an_output_folder(command, tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    rows = [
        {"benchmark": benchmark, "problem_id": problem, "gold": "12", "text": text, "correct": correct}
        for benchmark, problem in (("a/b", "p"), ("a/b", "q\ud800"), ("c", "p"))
        for text, correct in ((RIGHT, False), (NOT, None))
    ]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    code, _, err = command("export", str(samples), "--to", "lighteval", "--out", str(out))
    assert code == 0
    assert "6 samples of 3 problems" in err
    files = sorted(out.rglob("*.parquet"))
    date = files[0].parent.name
    assert [file.relative_to(out).as_posix() for file in files] == [
        f"details/unsqueeze/{date}/details_a_b|0_{date}.parquet",
        f"details/unsqueeze/{date}/details_c|0_{date}.parquet",
    ]
    table = pq.read_table(files[1])
    assert table.column_names == ["doc", "metric", "model_response"]
    row = table.to_pylist()[0]
    assert row["doc"]["choices"][row["doc"]["gold_index"]] == "12"
    assert (row["doc"]["id"], row["doc"]["task_name"], row["doc"]["num_samples"]) == ("p", "c|0", 2)
    assert row["model_response"]["text"] == [RIGHT, NOT]
    assert row["metric"] == {"avg@n:n=2": None}
    counted = tally(out)
    assert counted.num_samples_P.tolist() == [2, 2, 2]
    assert counted.num_correct_P.tolist() == [0, 0, 0]
    assert counted.num_open_P.tolist() == [1, 1, 1]

    other = str(tmp_path / "other")
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    assert "1 to 2 samples" in refused(tmp_path, "export", str(samples), "--to", "lighteval", "--out", other)
    samples.write_text("")
    assert "no samples" in refused(tmp_path, "export", str(samples), "--to", "lighteval", "--out", other)


def test_samples_without_verdicts_are_judged_when_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_lighteval({("", "p", "12"): [Answer(RIGHT, False), Answer(NOT, False)]}, out)
    assert tally(out).num_correct_P.tolist() == [1]


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["", "aime", "hmmt"]), st.text(min_size=1, max_size=4), st.just("12")),
        st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_round_trip_keeps_every_verdict(
    tmp_path_factory: pytest.TempPathFactory, verdicts: dict[tuple[str, str, str], list[bool | None]]
) -> None:
    """Whatever the texts say."""
    out = tmp_path_factory.mktemp("trip") / "out"
    groups = {key: [Answer("no", False, known=True, correct=each) for each in kept] for key, kept in verdicts.items()}
    assert write_lighteval(groups, out) == 3 * len(verdicts)
    counted = tally(out)
    places = zip(counted.benchmarks, counted.problem_ids, strict=True)
    counts = zip(counted.num_open_P.tolist(), counted.num_correct_P.tolist(), strict=True)
    assert dict(zip(places, counts, strict=True)) == {
        (benchmark, problem): (kept.count(None), kept.count(True)) for (benchmark, problem, _), kept in verdicts.items()
    }
