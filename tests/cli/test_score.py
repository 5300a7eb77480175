"""``unsqueeze score``: what it reads, what it prints, what it refuses."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import unsqueeze as uq
from unsqueeze.cli.main import app
from unsqueeze.errors import UserError


def score(*arguments: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(app, ["score", *arguments], input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def jsonl(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_json_of_correct_flags_is_the_contract(tmp_path: Path) -> None:
    rows = [{"problem_id": p, "correct": c} for p, flags in (("a", [1, 0, 0, 0]), ("b", [True] * 4)) for c in flags]
    found = json.loads(score(jsonl(tmp_path / "s.jsonl", rows), "--json"))
    assert found["n_problems"] == 2
    assert found["avg"] == pytest.approx((0.25 + 1) / 2)
    assert set(found["pass_at"]) == {"1", "2", "4"}
    assert found["pass_at"]["2"]["mean"] == pytest.approx((0.5 + 1) / 2)
    assert found["pass_at"]["2"]["low"] <= 0.75 <= found["pass_at"]["2"]["high"]
    assert found["coverage"]["mean"] == 1.0
    assert found["majority"] is None


def test_how_reliably_problems_are_solved(tmp_path: Path) -> None:
    rows = [{"problem_id": p, "correct": c} for p, flags in (("a", [1, 0, 0, None]), ("b", [1] * 4)) for c in flags]
    path = jsonl(tmp_path / "s.jsonl", rows)
    found = json.loads(score(path, "--json", "--tau", "0.5,1"))
    reliability, best = found["reliability"], found["at_best"]["reliability"]
    assert set(reliability) == {"pass_hat", "g_pass_at", "mean_g_pass_at", "cover"}
    pass_hat = {k: each["mean"] for k, each in reliability["pass_hat"].items()}
    assert pass_hat == pytest.approx({"1": 0.625, "2": 0.5, "4": 0.5})
    assert best["pass_hat"]["2"] == pytest.approx((1 / 6 + 1) / 2)
    assert set(reliability["g_pass_at"]) == set(reliability["cover"]) == {"0.5", "1"}
    assert reliability["g_pass_at"]["1"] == reliability["pass_hat"]
    assert reliability["g_pass_at"]["0.5"]["2"]["mean"] == pytest.approx((0.5 + 1) / 2)
    assert reliability["mean_g_pass_at"]["1"]["mean"] == pytest.approx(0.625)
    assert (reliability["cover"]["0.5"]["mean"], best["cover"]["0.5"]) == (0.5, 1.0)
    text = score(path, "--tau", "0.5")
    assert "Cover@0.5" in text
    assert "mG-Pass@k" in text
    with pytest.raises(UserError, match=r"--tau 0,1"):
        score(path, "--tau", "0,1")


def test_other_forms_of_the_table(tmp_path: Path) -> None:
    """One table of everything, benchmarks in a column; the numbers are those of --json."""
    rows = [{"problem_id": n, "correct": n % 2, "benchmark": name} for n in range(6) for name in ("a_b", "=c|d")]
    path = jsonl(tmp_path / "s.jsonl", rows)
    found = json.loads(score(path, "--format", "json"))
    assert found == json.loads(score(path, "--json"))
    lines = list(csv.DictReader(io.StringIO(score(path, "--format", "csv"))))
    assert {row["benchmark"] for row in lines} == {"a_b", "'=c|d", "all"}
    (avg,) = [row for row in lines if row["metric"] == "Avg@1" and row["benchmark"] == "all"]
    assert (float(avg["%"]), float(avg["95 % interval (low)"])) == pytest.approx((50, 100 * found["avg_low"]))
    assert "| a\\_b | 6 | Avg@1 | 50.0 |" in score(path, "--format", "markdown")
    assert "=c\\textbar{}d & 6 & Avg@1 & 50.0 &" in score(path, "--format", "latex")
    for arguments, words in (
        (["--format", "html"], "--format html: give one of table, markdown, csv, latex, json"),
        (["--format", "csv", "--json"], "--json and --format csv are both given"),
    ):
        with pytest.raises(UserError, match=words):
            score(path, *arguments)


@pytest.mark.usefixtures("shared_workers")
def test_judges_gold_and_prediction_where_nothing_is_said(tmp_path: Path) -> None:
    rows = [
        {"problem_id": 1, "gold": "5", "prediction": r"\boxed{5}"},
        {"problem_id": 1, "gold": "5", "prediction": "6"},
        {"problem_id": 1, "gold": "5", "prediction": "$6$ "},
        {"problem_id": 2, "gold": r"\sqrt{2}", "prediction": r"\frac{2}{\sqrt{2}}"},
    ]
    found = json.loads(score(jsonl(tmp_path / "s.jsonl", rows), "--json", "--k", "1,3,9", "--timeout", "30"))
    assert found["avg"] == pytest.approx((1 / 3 + 1) / 2)
    # Two votes for 6 against one for 5; and the one vote of problem 2.
    assert found["majority"]["mean"] == 0.5
    assert found["pass_at"]["9"] == {"mean": None, "low": None, "high": None}
    assert found["num_undefined"] == {"3": 1, "9": 2}


@pytest.mark.usefixtures("shared_workers")
def test_bad_lines_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    good = [{"problem_id": "a", "correct": 1}, {"problem_id": "a", "gold": "5", "prediction": "6"}]
    bad = ["{", "{}", '{"problem_id": "a", "correct": 7}', '{"problem_id": "a", "gold": "5"}', '{"correct": true}']
    path.write_text("\n".join([json.dumps(good[0]), *bad, json.dumps(good[1])]))
    with pytest.raises(UserError, match="line 2"):
        score(str(path))
    result = CliRunner().invoke(app, ["score", str(path), "--json", "--skip-bad"], catch_exceptions=False)
    assert json.loads(result.stdout)["avg"] == pytest.approx(0.5)
    assert "5 lines are left out" in result.stderr
    for number in (2, 3, 4, 5, 6):
        assert f"line {number}:" in result.stderr


@pytest.mark.usefixtures("shared_workers")
def test_gold_answers_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    rows = [{"problem_id": i, "gold": gold, "prediction": "5"} for i, gold in enumerate(["5", "???"])]
    result = CliRunner().invoke(app, ["score", jsonl(tmp_path / "s.jsonl", rows)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 answer is not judged, since the gold answer cannot be read" in result.stderr
    assert "line 2: '???'" in result.stderr


def test_verdicts_that_are_not_judged_count_as_wrong_and_both_numbers_are_shown(tmp_path: Path) -> None:
    verdicts = ["correct", "wrong", "timed_out", "crashed", "too_large", "unparsable", "unparsable", "wrong"]
    rows = [{"problem_id": "a", "verdict": verdict} for verdict in verdicts]
    path = jsonl(tmp_path / "s.jsonl", rows)
    found = json.loads(score(path, "--json"))
    assert found["avg"] == pytest.approx(1 / 8)
    assert found["at_best"]["avg"] == pytest.approx(4 / 8)
    assert found["num_not_judged"] == 3
    result = CliRunner().invoke(app, ["score", path])
    assert "unjudged right, %" in result.stdout
    assert "3 samples were not judged and count as wrong; were they all right, Avg would be 50.0 %" in result.stderr
    # What keeps the verifier busy raises no score: without these three it would be 1 of 5.
    assert json.loads(score(jsonl(tmp_path / "t.jsonl", rows[:2] + rows[5:]), "--json"))["avg"] == pytest.approx(1 / 5)


def test_a_gold_answer_that_cannot_be_read_takes_its_problem_out(tmp_path: Path) -> None:
    rows = [
        {"problem_id": "a", "gold": "5", "prediction": r"\boxed{5}"},
        {"problem_id": "a", "gold": "5", "prediction": r"\boxed{6}"},
        {"problem_id": "b", "gold": "???", "prediction": "???"},
        {"problem_id": "c", "gold": "???", "prediction": "6"},
    ]
    path = jsonl(tmp_path / "s.jsonl", rows)
    found = json.loads(score(path, "--json", "--timeout", "30"))
    assert (found["n_problems"], found["num_unreadable"], found["avg"]) == (1, 2, 0.5)
    # So it is where the verdicts are read that were written with their reasons.
    result = CliRunner().invoke(
        app, ["verify", path, "--out", str(tmp_path / "v.jsonl"), "--explain", "--timeout", "30"]
    )
    assert result.exit_code == 0
    again = json.loads(score(str(tmp_path / "v.jsonl"), "--json"))
    assert (again["n_problems"], again["num_unreadable"], again["avg"]) == (1, 2, 0.5)


def test_standard_input() -> None:
    assert json.loads(score("-", "--json", stdin='{"problem_id": "a", "correct": true}\n'))["avg"] == 1.0


def test_tables_of_every_benchmark_and_of_all(tmp_path: Path) -> None:
    rows = [
        {"problem_id": str(n), "correct": n % 2 == 0, "contest": contest}
        for contest in ("aime", "hmmt")
        for n in range(4)
    ]
    path = jsonl(tmp_path / "s.jsonl", rows)
    text = score(path, "--by", "contest", "--k", "1,2")
    assert text.count("Pass@1") == 3
    assert "aime" in text
    assert "all benchmarks" in text
    assert "Pass@2 is undefined: no problem has 2 samples." in text
    found = json.loads(score(path, "--by", "contest", "--json"))
    assert set(found["benchmarks"]) == {"aime", "hmmt"}
    assert found["n_problems"] == 8


def problems_of_two_contests(**fields: list[object]) -> list[dict[str, object]]:
    """Problems 1 to 3 of two contests, the same ids in both; the further fields have a value a contest."""
    return [
        {"problem_id": number, "correct": bool(place), **{name: values[place] for name, values in fields.items()}}
        for place in (0, 1)
        for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("field", ["task", "dataset", "data_source", "benchmark"])
def test_a_field_that_tells_benchmarks_apart_is_not_passed_over(field: str, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", problems_of_two_contests(**{field: ["aime", "hmmt"]}))
    if field != "benchmark":
        with pytest.raises(UserError) as raised:
            score(path)
        for words in (f"problem '1' has one {field!r}", "line 1", "'hmmt', in", "line 4", f"--by {field}"):
            assert words in str(raised.value)
    found = json.loads(score(path, "--by", field, "--json"))
    assert (found["n_problems"], set(found["benchmarks"])) == (6, {"aime", "hmmt"})


def test_another_field_than_benchmark_must_be_there(tmp_path: Path) -> None:
    rows = problems_of_two_contests(contest=["aime", "hmmt"])
    parquet = tmp_path / "s.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    for path in (jsonl(tmp_path / "s.jsonl", rows), str(parquet)):
        with pytest.raises(UserError, match=r"no sample has the field 'contst'.*fields there: problem_id, correct"):
            score(path, "--by", "contst")
        assert json.loads(score(path, "--by", "contest", "--json"))["n_problems"] == 6
    with pytest.raises(UserError, match="the table: no sample has the field 'contst'"):
        uq.score(pa.Table.from_pylist(rows), by="contst")


def test_one_id_with_two_gold_answers_is_refused_and_with_two_prompts_warned_of(tmp_path: Path) -> None:
    golds = jsonl(tmp_path / "golds.jsonl", problems_of_two_contests(gold=["5", "7"]))
    with pytest.raises(UserError) as raised:
        score(golds, "--timeout", "30")
    for words in ("problem '1' has the gold answer '5'", "line 1", "'7' in", "line 4", "--by"):
        assert words in str(raised.value)
    spelled = [r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt 2}{2}"]
    equal = jsonl(tmp_path / "equal.jsonl", problems_of_two_contests(gold=spelled))
    assert json.loads(score(equal, "--json", "--timeout", "30"))["n_problems"] == 3
    prompts = jsonl(tmp_path / "prompts.jsonl", problems_of_two_contests(prompt=["1 + 1?", "2 + 2?"]))
    result = CliRunner().invoke(app, ["score", prompts])
    assert result.exit_code == 0
    assert "3 problems are asked with several prompts" in result.stderr
    result = CliRunner().invoke(app, ["compare", prompts, prompts])
    assert "several prompts" in result.stderr


def test_parquet_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    pq.write_table(pa.table({"problem_id": ["a", "a"], "correct": [True, True]}), folder / "samples.parquet")
    for source in (folder, folder / "samples.parquet"):
        assert json.loads(score(str(source), "--json"))["avg"] == 1.0
    run = tmp_path / "run" / "evals"
    run.mkdir(parents=True)
    for step, correct in ((0, False), (100, True), (200, False)):
        pq.write_table(pa.table({"problem_id": ["a"], "correct": [correct]}), run / f"step-{step:06d}.parquet")
    for step in (0, 100):  # the evaluation of step 200 was cut off
        (run / f"step-{step:06d}.json").write_text("{}")
    assert json.loads(score(str(tmp_path / "run"), "--json"))["avg"] == 1.0
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither samples"):
        score(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"correct": True}, "line 1: no field 'problem_id'"),
        ({"problem_id": "a"}, "line 1: no field 'correct'"),
        ({"problem_id": "a", "gold": "5"}, "not both 'gold' and 'prediction'"),
        ({"problem_id": "a", "correct": "yes"}, "field 'correct' is 'yes'"),
        ({"problem_id": "a", "correct": 0.5}, "field 'correct' is 0.5"),
        ({"problem_id": "a", "verdict": "right"}, "field 'verdict' is 'right'"),
        ({"problem_id": None, "correct": True}, "field 'problem_id' is null"),
    ],
)
def test_a_line_that_says_too_little_is_named(row: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        score(jsonl(tmp_path / "s.jsonl", [row]))
    assert words in str(raised.value)


def test_no_samples_and_no_ks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no samples"):
        score(jsonl(tmp_path / "s.jsonl", []))
    with pytest.raises(UserError, match="--k 0"):
        score(jsonl(tmp_path / "s.jsonl", [{"problem_id": "a", "correct": True}]), "--k", "0")


def test_a_folder_of_arms_is_scored_arm_by_arm(tmp_path: Path) -> None:
    for arm, correct in (("grpo", False), ("sps", True)):
        place = tmp_path / arm / "evals" / "step-000003"
        place.parent.mkdir(parents=True)
        (tmp_path / arm / "run.json").write_text("{}")
        pq.write_table(pa.table({"problem_id": ["1"], "correct": [correct]}), place.with_suffix(".parquet"))
        place.with_suffix(".json").write_text("{}")
    found = json.loads(score(str(tmp_path), "--json", "--k", "1"))
    assert {arm: each["avg"] for arm, each in found["arms"].items()} == {"grpo": 0.0, "sps": 1.0}
    lines = score(str(tmp_path)).splitlines()
    assert [line.strip() for line in lines if line.strip() in ("grpo", "sps")] == ["grpo", "sps"]


@pytest.mark.parametrize("call", [uq.score, uq.load_model, uq.open_run, lambda path: list(uq.select(path))])
def test_where_one_run_is_wanted_a_folder_of_arms_names_them(tmp_path: Path, call: Callable[[str], object]) -> None:
    for arm in ("grpo", "sps"):
        (tmp_path / arm).mkdir()
        (tmp_path / arm / "run.json").write_text("{}")
    with pytest.raises(UserError, match=f"holds arms, not a run: name one of {tmp_path / 'grpo'}, {tmp_path / 'sps'}"):
        call(str(tmp_path))
