"""``unsqueeze compare``: pairing, printing, refusing."""

import csv
import io
import json
from math import nan
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from unsqueeze.cli.main import app
from unsqueeze.cli.options import chance
from unsqueeze.errors import UserError
from unsqueeze.store.records import write_record


def samples(path: Path, problems: dict[str, str]) -> str:
    """``{"a": "10"}``: problem a, one correct and one wrong sample; x is not judged."""
    rows = [
        {"problem_id": problem_id, "correct": None if mark == "x" else mark == "1"}
        for problem_id, marks in problems.items()
        for mark in marks
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def two_files(tmp_path: Path) -> list[str]:
    problems = [str(number) for number in range(20)]
    first = samples(tmp_path / "a.jsonl", dict.fromkeys(problems, "1000") | {"only a": "1"})
    second = samples(tmp_path / "b.jsonl", {p: "11x0" if int(p) < 15 else "1000" for p in reversed(problems)})
    return [first, second]


def test_json(two_files: list[str]) -> None:
    result = CliRunner().invoke(app, ["compare", *two_files, "--json", "--k", "1,2", "--see", "10"])
    found = json.loads(result.stdout)
    assert found["n_problems"] == 20
    assert (found["n_unpaired_first"], found["n_unpaired_second"]) == (1, 0)
    assert found["num_not_judged_second"] == 15
    # 15 problems go from 1/4 to 2/4, of which one sample more was not judged; five stay.
    gain = 15 / 20 * (2 / 4 - 1 / 4)
    assert (found["avg"]["least"], found["avg"]["greatest"]) == pytest.approx((gain, 15 / 20 * (3 / 4 - 1 / 4)))
    assert found["avg"]["difference"] == pytest.approx(gain)
    assert found["avg"]["low"] < gain < found["avg"]["high"]
    assert found["avg"]["low"] > 0
    # 15 differences of one sign: of 2^15 patterns two are as far from zero.
    assert found["avg"]["p_value"] == pytest.approx(2 / 2**15)
    std = (2 / 4 - 1 / 4) * (15 / 20 * 5 / 20 * 20 / 19) ** 0.5
    assert found["avg"]["required_problems"] == pytest.approx(((1.959964 + 0.841621) * std / 0.1) ** 2, abs=1)
    assert found["pass_at"]["2"]["first"] == pytest.approx(0.5)


def test_table(two_files: list[str]) -> None:
    result = CliRunner().invoke(app, ["compare", *two_files])
    assert result.exit_code == 0
    assert "+18.8" in result.stdout
    assert "20 problems in both" in result.stdout
    assert "1 problem is only in the first, 0 only in the second" in result.stderr
    assert "0 samples of the first, 15 of the second were not judged and count as wrong" in result.stderr
    assert "Avg@n +18.8 … +37.5" in result.stderr


def test_other_forms_of_the_table(two_files: list[str]) -> None:
    """CSV is read back to the numbers of --json; Markdown and LaTeX have as many lines; nothing else is printed."""
    arguments = ["compare", *two_files, "--k", "1,2", "--tau", "0.5"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).stdout)
    assert found == json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    rows = list(csv.DictReader(io.StringIO(CliRunner().invoke(app, [*arguments, "--format", "csv"]).stdout)))
    by_name = {row["metric"]: row for row in rows}
    assert list(by_name) == [
        *("Avg@n", "Pass@1", "Pass@2", "pass^1", "pass^2", "mG-Pass@1", "mG-Pass@2", "Cover@0.5"),
        *("G-Pass@1 (τ = 0.5)", "G-Pass@2 (τ = 0.5)"),
    ]
    for name, entry in (
        ("Avg@n", found["avg"]),
        ("pass^2", found["reliability"]["pass_hat"]["2"]),
        ("Cover@0.5", found["reliability"]["cover"]["0.5"]),
    ):
        row = by_name[name]
        assert float(row["difference"]) == pytest.approx(100 * entry["difference"])
        assert float(row["95 % interval (high)"]) == pytest.approx(100 * entry["high"])
        assert float(row["p"]) == pytest.approx(entry["p_value"])
        assert (row["first side"], row["second side"], row["problems"]) == (*two_files, "20")
    # 15 problems have two right of four, and so both of two in one of six pairs.
    assert float(by_name["pass^2"]["second"]) == pytest.approx(100 * 15 / 20 / 6)
    for form, end in (("markdown", "|"), ("latex", "\\\\")):
        text = CliRunner().invoke(app, [*arguments, "--format", form]).stdout
        assert sum(line.endswith(end) for line in text.splitlines()) == len(rows) + (2 if form == "markdown" else 1)


def test_problems_lost_and_gained_are_told_by_the_first_sides_rate(two_files: list[str]) -> None:
    """k is 2 of 4 samples: the base solves each problem with Pass@2 = 1/2, the other 15 with 5/6 and five with 1/2."""
    found = json.loads(CliRunner().invoke(app, ["compare", *two_files, "--json", "--k", "1"]).stdout)["turnover"]
    assert (found["k"], found["n_problems"]) == (2, 20)
    assert found["lost"]["mean"] == pytest.approx((15 * 1 / 2 * 1 / 6 + 5 * 1 / 2 * 1 / 2) / 20)
    assert found["gained"]["mean"] == pytest.approx((15 * 1 / 2 * 5 / 6 + 5 * 1 / 2 * 1 / 2) / 20)
    assert found["by_chance"]["mean"] == pytest.approx(1 / 2)  # of two pairs one holds the right one, always
    assert [each["num_problems"] for each in found["by_rate"]] == [0, 20, 0, 0, 0, 0]
    text = CliRunner().invoke(app, ["compare", *two_files]).stdout
    assert "lost by" in text
    assert "0–25 %" in text


@pytest.mark.parametrize("count", [5, 6])
def test_below_six_problems_there_is_no_interval(tmp_path: Path, count: int) -> None:
    sides = [samples(tmp_path / f"{side}.jsonl", {str(p): side for p in range(count)}) for side in ("01", "11")]
    found = json.loads(CliRunner().invoke(app, ["compare", *sides, "--json"]).stdout)
    assert found["avg"]["difference"] == 0.5
    assert found["avg"]["low"] == (None if count < 6 else 0.5)
    assert ("Fewer than 6" in CliRunner().invoke(app, ["compare", *sides]).stdout) == (count < 6)


def arm(folder: Path, seed: int, marks: dict[str, str]) -> None:
    """A run that holds nothing but its seed and an evaluation."""
    folder.mkdir(parents=True)
    write_record(folder / "run.json", {"recipe": {"name": "x", "seed": seed}})
    samples(folder / "samples.jsonl", marks)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    (folder / "evals").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "evals" / "step-000005.parquet")
    (folder / "evals" / "step-000005.json").write_text("{}")


@pytest.fixture
def two_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of two arms each; twenty problems, all of which the second arm solves more often."""
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        for name, marks in (("grpo", "1000"), ("sps", "1100" if seed else "1110")):
            arm(Path(f"seed-{seed}") / name, seed, {str(problem): marks for problem in range(20)})


@pytest.mark.usefixtures("two_seeds")
def test_a_folder_of_arms_is_compared_with_its_first(command) -> None:
    code, out, _ = command("compare", "seed-0")
    assert code == 0
    assert "sps − grpo" in out
    assert "+50.0" in out
    assert "<0.0001" in out  # one of 10,001 patterns, and not 0.0000
    assert "seeds" not in out


@pytest.mark.usefixtures("two_seeds")
def test_seeds_are_pooled_under_one_name(command) -> None:
    code, out, _ = command("compare", "seed-1", "seed-0", "--k", "1", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["first"], found["second"], found["n_seeds"], found["n_problems"]) == ("grpo", "sps", 2, 20)
    assert found["avg"]["by_seed"] == [0.5, 0.25]  # in the order of the seeds
    assert found["avg"]["difference"] == 0.375
    assert "means of 2 seeds" in " ".join(command("compare", "seed-1", "seed-0")[1].split())


@pytest.mark.usefixtures("two_seeds")
def test_more_than_two_sides_are_compared_with_the_first(command) -> None:
    code, out, _ = command("compare", "a=seed-0:grpo", "b=seed-0:sps", "c=seed-1/sps", "--k", "1", "--json")
    assert code == 0
    found = json.loads(out)["comparisons"]
    assert {name: each["avg"]["difference"] for name, each in found.items()} == {"b": 0.5, "c": 0.25}
    assert {each["first"] for each in found.values()} == {"a"}


@pytest.mark.usefixtures("two_seeds")
@pytest.mark.parametrize("arguments", [["seed-0:grpo"], ["seed-0:grpo", "seed-1:grpo"]])
def test_one_side_is_not_enough(command, arguments: list[str]) -> None:
    code, _, err = command("compare", *arguments)
    assert code == 2
    assert "two sides or more are needed, and grpo is given" in err


@pytest.mark.parametrize(("p_value", "text"), [(9.9e-5, "<0.0001"), (1e-4, "0.0001"), (1.0, "1.0000"), (nan, "–")])
def test_a_small_p_value_is_not_printed_as_zero(p_value: float, text: str) -> None:
    assert chance(p_value) == text


def test_refusals(tmp_path: Path, two_files: list[str]) -> None:
    other = samples(tmp_path / "c.jsonl", {"z": "1"})
    with pytest.raises(UserError, match="no problem in common"):
        CliRunner().invoke(app, ["compare", two_files[0], other], catch_exceptions=False)
    with pytest.raises(UserError, match="--see 0"):
        CliRunner().invoke(app, ["compare", *two_files, "--see", "0"], catch_exceptions=False)


def test_a_run_is_its_last_evaluation(tmp_path: Path, two_files: list[str]) -> None:
    (tmp_path / "run" / "evals").mkdir(parents=True)
    for step in (0, 50):
        place = tmp_path / "run" / "evals" / f"step-{step:06d}"
        pq.write_table(pa.table({"problem_id": ["1", "2"], "correct": [step > 0] * 2}), place.with_suffix(".parquet"))
        place.with_suffix(".json").write_text("{}")
    result = CliRunner().invoke(app, ["compare", two_files[0], str(tmp_path / "run"), "--json", "--k", "1"])
    assert json.loads(result.stdout)["avg"]["second"] == 1.0
    assert "step-000050.parquet" in result.stderr


def test_a_side_without_benchmark_is_of_the_others_single_one(tmp_path: Path, two_files: list[str]) -> None:
    """What runs stored before they named their benchmark still compares with an evaluation; two are not guessed at."""
    rows = [json.loads(line) for line in Path(two_files[1]).read_text().splitlines()]
    for names in (["b"], ["b", "c"]):
        named = tmp_path / "named.jsonl"
        named.write_text("".join(json.dumps(row | {"benchmark": name}) + "\n" for name in names for row in rows))
        for pair in ([two_files[0], str(named)], [str(named), two_files[0]]):
            result = CliRunner().invoke(app, ["compare", *pair, "--json", "--k", "1"])
            if len(names) == 1:
                assert json.loads(result.stdout)["n_problems"] == 20
            else:
                assert isinstance(result.exception, UserError)
