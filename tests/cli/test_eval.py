"""`unsqueeze eval`: samples that are stored as they come, never drawn twice, and read by score and compare."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data import problem_set
from unsqueeze.errors import UserError
from unsqueeze.evaluation import draw
from unsqueeze.evaluation.benchmarks import Where, load_benchmarks
from unsqueeze.evaluation.calls import Call, blocks, whole
from unsqueeze.evaluation.eval_directory import EvalDirectory
from unsqueeze.evaluation.fingerprint import fingerprint
from unsqueeze.models import embedded_model_path
from unsqueeze.progress import Interrupted
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import StopReason
from unsqueeze.seeds import prompt_seeds
from unsqueeze.store.records import write_record
from unsqueeze.store.samples import EvalSample, Samples
from unsqueeze.verify.countdown import check_countdown
from unsqueeze.verify.verdict import Verdict


def evaluation(out: Path, *more: str, n: int = 4, task: str = "countdown", limit: int = 6) -> list[str]:
    return ["eval", "countdown-0.4m", "--task", task, "--n", str(n), "--limit", str(limit), "--out", str(out), *more]


def samples(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "samples.parquet").to_pylist()


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def test_samples_summary_and_table_agree(command, tmp_path: Path):
    out = tmp_path / "base"
    code, printed, err = command(*evaluation(out))
    assert code == 0, err
    rows = samples(out)
    problems = load_benchmarks(["countdown"], Where(data_dir=tmp_path, limit=6))[0].problems
    assert [(row["problem_id"], row["index"]) for row in rows] == [(p.id, i) for p in problems for i in range(4)]
    by_id = {problem.id: problem for problem in problems}
    for row in rows:
        verdict = check_countdown(by_id[row["problem_id"]], row["text"]).verdict
        assert (row["verdict"], row["correct"]) == (verdict, verdict is Verdict.CORRECT)
    correct = sum(row["correct"] for row in rows)
    assert summary(out)["avg"] == pytest.approx(correct / 24)
    assert summary(out)["benchmarks"]["countdown"]["num_samples"] == 24
    assert summary(out)["weights"] == fingerprint(str(embedded_model_path()))
    assert "countdown" in printed
    assert f"{100 * correct / 24:.1f}" in printed
    assert not (out / "parts").exists()
    assert set(summary(out)["reliability"]) == {"pass_hat", "g_pass_at", "mean_g_pass_at", "cover"}
    assert "Cover@0.5" in printed
    # The same command again draws nothing, and prints in another form.
    code, text, _ = command(*evaluation(out), "--format", "csv", "--tau", "0.3")
    assert code == 0
    lines = {(row["benchmark"], row["metric"]): row for row in csv.DictReader(io.StringIO(text))}
    assert float(lines["countdown", "Avg@4"]["%"]) == pytest.approx(100 * correct / 24)
    assert ("countdown", "Cover@0.3") in lines
    code, text, _ = command(*evaluation(out), "--format", "json")
    assert json.loads(text)["avg"] == pytest.approx(correct / 24)


def test_a_larger_n_adds_and_a_new_k_draws_nothing(command, tmp_path: Path):
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    command(*evaluation(grown, n=16, limit=2))
    before = samples(grown)
    code, _, err = command(*evaluation(grown, n=20, limit=3))
    assert code == 0, err
    # Two problems have 16 of 20, the third has none: 4 + 4 + 20.
    assert "28 samples were drawn now" in err
    after = samples(grown)
    assert [
        row for row in after if row["index"] < 16 and row["problem_id"] in {r["problem_id"] for r in before}
    ] == before
    assert len({(row["problem_id"], row["index"]) for row in after}) == len(after) == 60

    code, printed, err = command(*evaluation(grown, "--k", "1,3,20", n=20, limit=3))
    assert code == 0
    assert "0 samples were drawn now" in err
    assert "Pass@3" in printed
    assert samples(grown) == after

    # Blocks of 16 end alike: grown by whole blocks, an evaluation is what it would have been at once.
    command(*evaluation(whole, n=20, limit=2))
    assert samples(whole)[:20] == after[:20]

    # A smaller n looks at the first samples only, and keeps the others.
    command(*evaluation(grown, n=5, limit=2))
    assert summary(grown)["num_samples"] == 10
    assert len(samples(grown)) == 60


def test_an_interrupted_evaluation_goes_on_to_the_same_samples(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    flags = ["--max-rows", "8"]
    assert command(*evaluation(whole, *flags))[0] == 0

    monkeypatch.setattr(draw, "STORED_AFTER_S", 1000.0)  # one part, at the end
    generate, ended = HfEngine.generate, []

    def generate_some(self: HfEngine, *args: Any, on_ended: Any, **options: Any) -> Any:
        def some(completions: Any) -> None:
            ended.extend(number for number, _ in completions)
            on_ended(completions)
            if len(ended) >= 10:
                raise Interrupted

        return generate(self, *args, on_ended=some, **options)

    monkeypatch.setattr(HfEngine, "generate", generate_some)
    code, _, err = command(*evaluation(cut, *flags))
    assert code == 130
    assert "stopped as asked" in err
    assert [path.name for path in (cut / "parts").iterdir()] == ["000000.parquet"]
    assert not (cut / "summary.json").exists()
    # Of one call, the problems are there whose four samples had ended, whole.
    complete = sum(len({number for number in ended if number // 4 == place}) == 4 for place in range(6))
    assert 2 <= complete < 6
    kept = pq.read_table(cut / "parts" / "000000.parquet").to_pylist()
    assert len(kept) == 4 * complete

    monkeypatch.setattr(HfEngine, "generate", generate)
    code, _, err = command(*evaluation(cut, *flags))
    assert code == 0
    assert f"{24 - 4 * complete} samples were drawn now" in err
    there, expected = samples(cut), samples(whole)
    assert [row | {"mean_logp": None} for row in there] == [row | {"mean_logp": None} for row in expected]
    # Batches of other shapes round otherwise.
    assert [row["mean_logp"] for row in there] == pytest.approx([row["mean_logp"] for row in expected], abs=1e-5)


def test_another_evaluation_is_not_mixed_in(command, tmp_path: Path):
    out = tmp_path / "base"
    command(*evaluation(out))
    before = samples(out)
    for flags, words in (
        (["--temperature", "1.0"], ["temperature 0.7", "1.0", "name another folder"]),
        (["--max-tokens", "30"], ["countdown: max_tokens 24", "30"]),
        (["--template", "{problem} "], ["countdown: template"]),
    ):
        code, _, err = command(*evaluation(out, *flags))
        assert code == 2
        for word in words:
            assert word in err
    assert samples(out) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    code, _, err = command(*evaluation(tmp_path / "other"))
    assert code == 2
    assert "holds no evaluation" in err


MATH = [
    {"id": "a", "problem": "Make 48 from 2 3 6 14.", "answer": "48"},
    {"id": "b", "problem": "Make 24 from 1 2 3 4.", "answer": "1000"},
]


@pytest.mark.usefixtures("shared_workers")
def test_files_by_path_and_by_name_side_by_side_and_a_new_credit_only_judges_again(command, tmp_path: Path):
    (tmp_path / "two_sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MATH))
    (tmp_path / "other.jsonl").write_text(json.dumps(MATH[1]) + "\n")
    out = tmp_path / "out"
    flags = ["--task", "two-sums", "--data-dir", str(tmp_path), "--template", "{problem}", "--workers", "1"]
    first = evaluation(out, *flags, task=str(tmp_path / "other.jsonl"), n=4, limit=2)
    code, printed, err = command(*first)
    assert code == 0, err
    assert [line.split()[0] for line in printed.splitlines() if line.split()[:1] in (["other"], ["two_sums"], ["all"])][
        :3
    ] == ["other", "two_sums", "all"]
    rows = samples(out)
    assert {(row["benchmark"], row["gold"]) for row in rows} == {
        ("other", "1000"),
        ("two_sums", "48"),
        ("two_sums", "1000"),
    }
    # A list of steps holds mathematics, so there is an answer to judge, but no box.
    assert any(row["verdict"] in ("correct", "wrong") for row in rows)
    parts = summary(out)["benchmarks"]
    # The stratified mean is over problems: one of 'other', two of 'two_sums'.
    assert summary(out)["avg"] == pytest.approx((parts["other"]["avg"] + 2 * parts["two_sums"]["avg"]) / 3)

    code, _, err = command(*first, "--credit", "boxed")
    assert code == 0
    assert "two_sums: 8 samples that were there are judged again" in err
    assert "0 samples were drawn now" in err
    assert {row["verdict"] for row in samples(out)} == {"unparsable"}
    assert [row["text"] for row in samples(out)] == [row["text"] for row in rows]


@pytest.mark.usefixtures("shared_workers")
def test_gold_answers_that_cannot_be_read_are_named(command, tmp_path: Path):
    rows = [*MATH, {"problem": "9", "answer": "???"}]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = command(*evaluation(tmp_path / "out", "--template", "{problem}", task=str(tmp_path / "sums.jsonl")))
    assert code == 0, err
    assert f"sums: 1 of {len(rows)} gold answers cannot be read" in err
    assert f"sums:{len(rows)} ('???')" in err


@pytest.mark.usefixtures("shared_workers")
def test_records_without_a_problem_are_left_out_where_that_is_asked_for(command, tmp_path: Path):
    rows = [{"problem": "1", "answer": None}, *MATH, {"answer": "4"}, {"problem": "2", "answer": " "}]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = evaluation(tmp_path / "out", "--template", "{problem}", task=str(path))
    code, _, err = command(*asked)
    assert code == 2
    assert "sums.jsonl, line 1: the field 'answer' is null" in err
    assert "--skip-bad" in err
    assert not (tmp_path / "out").exists()
    code, _, err = command(*asked, "--skip-bad")
    assert code == 0, err
    assert f"sums: 3 records of {path} hold no problem and are left out: {path}, line 1: the field" in err
    assert summary(tmp_path / "out")["skipped_records"] == {"sums": 3}
    assert summary(tmp_path / "out")["n_problems"] == len(MATH)
    report = tmp_path / "diagnosis.json"
    asked = ["diagnose", "countdown-0.4m", "--task", str(path), "--template", "{problem}", "--n", "2", "--limit", "1"]
    code, _, err = command(*asked, "--out", str(report))
    assert code == 2
    code, _, err = command(*asked, "--out", str(report), "--skip-bad")
    assert code == 0, err
    assert "sums: 1 record of" in err  # the first problem is found before the others are reached
    assert json.loads(report.read_text())["skipped_records"] == {"sums": 1}


def test_a_k_above_n_is_refused_before_a_sample_is_drawn(command, tmp_path: Path):
    code, printed, err = command(*evaluation(tmp_path / "out", "--k", "1,8", n=4))
    assert (code, printed) == (2, "")
    assert "k is 8, and n is 4" in err
    assert not (tmp_path / "out").exists()


def test_score_and_compare_read_it(command, tmp_path: Path):
    for name, more in (("a", []), ("b", ["--temperature", "1.5"])):
        command(*evaluation(tmp_path / name, *more))
    code, printed, _ = command("score", str(tmp_path / "a"), "--json")
    assert code == 0
    assert json.loads(printed)["avg"] == pytest.approx(summary(tmp_path / "a")["avg"])
    code, printed, _ = command("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json")
    assert code == 0
    assert json.loads(printed)["n_problems"] == 6


def test_the_checkpoint_of_a_run_is_found(command, tmp_path: Path):
    policy = tmp_path / "run" / "checkpoints" / "step-000010" / "policy"
    policy.mkdir(parents=True)
    write_record(tmp_path / "run" / "run.json", {})
    for file in embedded_model_path().iterdir():
        (policy / file.name).write_bytes(file.read_bytes())
    for name, model in (("run", tmp_path / "run"), ("step", policy.parent), ("embedded", Path("countdown-0.4m"))):
        flags = ["--task", "countdown", "--n", "2", "--limit", "2", "--out", str(tmp_path / name / "eval")]
        assert command("eval", str(model), *flags)[0] == 0
    assert samples(tmp_path / "run" / "eval") == samples(tmp_path / "embedded" / "eval")
    assert samples(tmp_path / "step" / "eval") == samples(tmp_path / "embedded" / "eval")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["no task was given", "countdown"]),
        (["--task", "nowhere", "--data-dir", "/none"], ["task nowhere", "/none"]),
        (["--task", "countdown", "--task", "countdown"], ["two tasks", "countdown"]),
        (["--task", "countdown", "--n", "0"], ["n is 0"]),
        (["--task", "countdown", "--engine", "vllm_server"], ["--engine vllm_server", "--server URL"]),
        (["--task", "countdown", "--engine", "x"], ["rollout.engine is 'x'", "hf, vllm"]),
        (["--task", "countdown", "--max-rows", "0"], ["rollout.max_rows is 0"]),
        (["--task", "countdown", "--limit", "0"], ["limit is 0"]),
        (["--task", "countdown", "--temperature", "-1"], ["temperature is -1"]),
        (["--task", "countdown", "--prompt-style", "chat"], ["chat template"]),
        (["--task", "countdown", "--prompt-style", "poem"], ["prompt style is 'poem'", "qwen-math"]),
        (["--task", "countdown", "--template", "x"], ["{problem}"]),
        (["--task", "countdown", "--max-tokens", "500"], ["context is 128", "max_tokens is 500"]),
        (["--task", "countdown", "--credit", "none"], ["credit", "boxed"]),
        (["--task", "countdown", "--k", "0"], ["--k 0"]),
        (["--task", "countdown", "--template", "Please solve {problem}"], ["no token for"]),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(command, tmp_path: Path, flags: list[str], words: list[str]):
    code, _, err = command("eval", "countdown-0.4m", *flags, "--out", str(tmp_path / "out"))
    assert code == 2, err
    for word in words:
        assert word in err
    assert not (tmp_path / "out").exists()


def test_a_changed_data_file_is_another_evaluation_and_a_new_task_is_not(tmp_path: Path):
    store = EvalDirectory(tmp_path / "out")
    store.open({"seed": 0, "benchmarks": {"sums": {"sha256": "a"}}})
    store.close()
    with pytest.raises(UserError, match='sums: sha256 "a", and "b"'):
        store.open({"seed": 0, "benchmarks": {"sums": {"sha256": "b"}}})
    store.open({"seed": 0, "benchmarks": {"more": {"sha256": "c"}}})
    store.close()
    assert set(json.loads((tmp_path / "out" / "eval.json").read_text())["benchmarks"]) == {"sums", "more"}


def store_in(folder: Path) -> Samples:
    return Samples(folder / "samples.parquet", folder / "parts")


def stored_sample(benchmark: str, problem_id: str, index: int) -> EvalSample:
    return EvalSample(
        benchmark=benchmark,
        gold="2",
        verifier="by hand",
        problem_id=problem_id,
        index=index,
        text="1",
        verdict=Verdict.WRONG,
        extracted=None,
        reason="",
        num_tokens=1,
        mean_logp=-1.0,
        stop_reason=StopReason.EOS,
    )


def test_samples_are_sorted_as_asked_whatever_came_first(tmp_path: Path):
    store = store_in(tmp_path)
    came = [
        ("old", "x", 0),
        ("sums", "b", 1),
        ("more", "z", 0),
        ("sums", "a", 0),
        ("sums", "gone", 0),
        ("sums", "b", 0),
    ]
    for benchmark, problem_id, index in came:
        store.add([stored_sample(benchmark, problem_id, index)])
    table = store.merge({"sums": ["a", "b"], "more": ["y", "z"]})
    assert list(zip(*(table[name].to_pylist() for name in ("benchmark", "problem_id", "index")), strict=True)) == [
        ("sums", "a", 0),
        ("sums", "b", 0),
        ("sums", "b", 1),
        ("sums", "gone", 0),
        ("more", "z", 0),
        ("old", "x", 0),
    ]
    assert store.merge({}).equals(table)


def test_a_store_knows_what_it_holds_as_one_that_reads_its_files(tmp_path: Path):
    store = store_in(tmp_path)
    assert store.keys("sums") == set()
    store.add([stored_sample("sums", "p", 0), stored_sample("sums", "p", 1)])
    store.add([stored_sample("more", "p", 0)])
    # One that goes on: its part comes after those that are there.
    again = store_in(tmp_path)
    again.add([stored_sample("sums", "p", 2)])
    assert [path.stem for path in sorted((tmp_path / "parts").iterdir())] == ["000000", "000001", "000002"]
    assert store.keys("sums") == {("p", 0), ("p", 1)}
    assert again.keys("sums") == {("p", 0), ("p", 1), ("p", 2)}
    assert again.keys("more") == {("p", 0)}
    assert again.merge({}).num_rows == 4
    assert store_in(tmp_path).keys("sums") == again.keys("sums")


def cut(*have: int, n: int, rows: int = 32) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """The calls of problems that have their first samples: places, first samples, number of samples."""
    calls = blocks([set(range(number)) for number in have], n, rows, lambda place, start: 0)
    return [(call.places, call.starts, call.count) for call in calls]


def test_blocks_by_hand():
    # Blocks of 16 end at multiples of 16; a call has 32 samples.
    assert cut(0, 0, 0, n=3) == [((0, 1, 2), (0, 0, 0), 3)]
    assert cut(0, 0, 0, n=16) == [((0, 1), (0, 0), 16), ((2,), (0,), 16)]
    assert cut(10, 20, 0, n=20) == [((2,), (0,), 16), ((0,), (10,), 6), ((0, 2), (16, 16), 4)]
    # The next blocks of the same problems fill a call up.
    assert cut(0, 0, 0, n=32) == [((0, 1), (0, 0), 16), ((2, 0), (0, 16), 16), ((1, 2), (16, 16), 16)]
    assert cut(5, 5, n=5) == []
    assert cut(n=5) == []
    # More samples than rows: a block a call.
    assert cut(0, 0, n=16, rows=8) == [((0,), (0,), 16), ((1,), (0,), 16)]


def test_of_a_block_with_a_gap_what_follows_it_is_drawn():
    have = [{*range(16, 32)}, {0, 1, 3}, set(range(32))]
    calls = list(blocks(have, 32, 64, lambda place, start: 100 * place + start))
    assert calls == [
        Call((0,), (0,), 16, (0,)),
        Call((1,), (2,), 14, (102,)),
        Call((1,), (16,), 16, (116,)),
    ]


def test_the_seed_of_a_block_comes_from_its_problem_and_first_sample():
    [call] = blocks([{0, 1, 2, 3}] * 2, 6, 32, lambda place, start: 100 * place + start)
    assert call == Call((0, 1), (4, 4), 2, (4, 104))
    # However many problems a call has, and whichever are left.
    alone, _ = blocks([{0, 1, 2, 3}] * 2, 6, 2, lambda place, start: 100 * place + start)
    assert alone.seeds == (4,)


def test_whole_problems_by_hand():
    # Four samples each, eight rows a call: two problems, the shortest prompts first; the second has all of its own.
    calls = list(whole([set(), {0, 1, 2, 3}, set(), {0, 1}], 4, [7, 5, 9, 5], 8, seed=3))
    seeds = prompt_seeds(3, 4)
    assert calls == [Call((3,), (0,), 4, (seeds[3],)), Call((0, 2), (0, 0), 4, (seeds[0], seeds[2]))]
    # More samples than rows: a problem a call.
    assert [call.places for call in whole([set(), set()], 16, [1, 1], 8, seed=3)] == [(0,), (1,)]


def test_the_contests_load_by_name():
    folder = problem_set("aime_2025").parent
    names = ["aime_2024", "aime-2025", "brumo_2025", "hmmt_feb_2025", "hmmt_nov_2025"]
    benchmarks = load_benchmarks(names, Where(data_dir=folder))
    assert [len(benchmark.problems) for benchmark in benchmarks] == [30] * 5
    assert benchmarks[1].name == "aime_2025"
