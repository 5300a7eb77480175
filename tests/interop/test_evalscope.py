"""EvalScope's reviews read as samples, and ours written as the predictions it re-scores (EvalScope 1.14.1)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import refused
from unsqueeze.evaluation.tallying import tally_samples
from unsqueeze.interop.exporters import Answer
from unsqueeze.interop.write_evalscope import write_evalscope
from unsqueeze.verify.math_verifier import MathVerifier


def review(group: int, index: int, value: object, *, status: str = "success", **metadata: str) -> dict[str, Any]:
    """A line as EvalScope writes it, without what is not read."""
    score = {
        "value": {} if value is None else {"acc": value},
        "status": status,
        "extracted_prediction": "12",
        "prediction": "\\boxed{12}",
        "main_score_name": None,
    }
    sample_score = {
        "score": score,
        "sample_id": index,
        "group_id": group,
        "generation_index": index,
        "sample_metadata": metadata,
    }
    return {"index": index, "target": ["12"], "messages": [], "sample_score": sample_score}


def write_reviews(folder: Path, lines: list[dict[str, Any]], name: str = "aime25_default") -> Path:
    path = folder / "reviews" / "model" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tally(source: Path):
    with MathVerifier(workers=1, timeout_s=30, memory_mb=320, credit="anywhere") as verifier:
        return tally_samples(str(source), verifier)


def test_reviews_are_samples(command, tmp_path: Path) -> None:
    lines = [review(0, 0, 1.0), review(0, 1, 0.0), review(1, 2, True), review(1, 3, None, status="excluded")]
    path = write_reviews(tmp_path, lines)
    for source in (tmp_path, path.parent, path):
        counted = tally(source)
        assert counted.problem_ids == ("0", "1")
        assert counted.benchmarks == ("aime25_default", "aime25_default")
        assert counted.num_samples_P.tolist() == [2, 2]
        assert counted.num_correct_P.tolist() == [1, 1]
        assert counted.num_not_judged == 1
    code, out, _ = command("score", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(out)["avg"] == pytest.approx(0.5)
    code, out, _ = command("compare", str(tmp_path), str(path), "--json")
    assert code == 0
    assert json.loads(out)["avg"]["difference"] == 0


def test_several_subsets_are_read_together_and_our_names_count(tmp_path: Path) -> None:
    write_reviews(tmp_path, [review(0, 0, 1.0)], "gsm8k_main")
    write_reviews(tmp_path, [review(0, 0, 0.0, problem_id="p", benchmark="mine")], "math_500_Level 5")
    counted = tally(tmp_path)
    assert set(zip(counted.benchmarks, counted.problem_ids, strict=True)) == {("gsm8k_main", "0"), ("mine", "p")}


@pytest.mark.parametrize(
    "line",
    [
        review(0, 0, 0.5),
        review(0, 0, "yes"),
        {"sample_score": 3},
        {"sample_score": {}},
        {"sample_score": {"group_id": 0, "score": {"value": [1]}}},
    ],
)
def test_what_is_no_answer_right_or_wrong_is_refused(tmp_path: Path, line: dict[str, Any]) -> None:
    write_reviews(tmp_path, [review(0, 0, 1.0), line])
    assert "line 2" in refused(tmp_path, "score", str(tmp_path))


def test_reviews_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    write_reviews(tmp_path, [review(0, 0, 1.0)])
    (tmp_path / "reviews" / "another").mkdir()
    assert "several models" in refused(tmp_path, "score", str(tmp_path))


def test_export_is_a_work_directory(command, tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    rows = [
        {"benchmark": "mine", "problem_id": problem, "gold": "12", "text": text, "stop_reason": reason}
        for problem in ("a", "b")
        for text, reason in (("\\boxed{12}", "eos"), ("and so on", "length"))
    ]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    code, _, err = command("export", str(samples), "--to", "evalscope", "--out", str(out))
    assert code == 0
    assert "4 samples of 2 problems" in err
    predictions = read(out / "predictions/unsqueeze/math_500_Level 5.jsonl")
    assert [line["index"] for line in predictions] == [0, 1, 2, 3]
    choice = predictions[1]["model_output"]["choices"][0]
    assert choice == {"message": {"role": "assistant", "content": "and so on"}, "stop_reason": "max_tokens"}
    assert predictions[2]["metadata"] == {"benchmark": "mine", "problem_id": "b"}
    problems = read(out / "data/test.jsonl")
    assert [(line["unique_id"], line["answer"]) for line in problems] == [("a", "12"), ("b", "12")]
    assert json.loads((out / "rescore.json").read_text())["repeats"] == 2

    assert "exists" in refused(tmp_path, "export", str(samples), "--out", str(out))
    assert "to is 'csv'; known are evalscope, lighteval" in refused(
        tmp_path, "export", str(samples), "--to", "csv", "--out", str(tmp_path / "other")
    )
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    assert "1 to 2 samples" in refused(tmp_path, "export", str(samples), "--out", str(tmp_path / "other"))
    samples.write_text(json.dumps({"problem_id": "a", "gold": "1"}) + "\n")
    assert "line 1" in refused(tmp_path, "export", str(samples), "--out", str(tmp_path / "other"))


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["", "aime", "hmmt"]), st.text(min_size=1, max_size=4), st.just("12")),
        st.lists(st.booleans(), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_round_trip_keeps_every_verdict(
    tmp_path_factory: pytest.TempPathFactory, right: dict[tuple[str, str, str], list[bool]]
) -> None:
    """Ours, written for EvalScope, reviewed as EvalScope reviews (metadata and groups kept), read back."""
    out = tmp_path_factory.mktemp("trip") / "out"
    groups = {key: [Answer("\\boxed{12}" if each else "no", False) for each in flags] for key, flags in right.items()}
    assert write_evalscope(groups, out) == 3 * len(right)
    predictions = read(next((out / "predictions").rglob("*.jsonl")))
    reviews = [
        review(
            line["index"] // 3,
            line["index"],
            float(line["model_output"]["choices"][0]["message"]["content"] != "no"),
            **line["metadata"],
        )
        for line in predictions
    ]
    write_reviews(out, reviews)
    counted = tally(out)
    found = dict(
        zip(zip(counted.benchmarks, counted.problem_ids, strict=True), counted.num_correct_P.tolist(), strict=True)
    )
    assert found == {(benchmark, problem): sum(flags) for (benchmark, problem, _), flags in right.items()}
