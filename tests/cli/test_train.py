"""`unsqueeze train` as a user meets it: the whole path, and one clear sentence for every mistake."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from unsqueeze.api.training import TrainedArm
from unsqueeze.cli.train_tables import differences_table, results_table
from unsqueeze.metrics.comparison import compare_tallies
from unsqueeze.metrics.summary import summarise
from unsqueeze.metrics.tally import Tally
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.arms import ArmResult


def test_smoke_end_to_end(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From another directory. In a process of its own, and installed, it is run in ``test_wheel.py``."""
    monkeypatch.chdir(tmp_path)
    code, out, err = command("train", "smoke", "--run", "mine")
    assert code == 0, err
    assert "Avg@8" in out
    assert "Pass@8" in out
    assert "mine" in out.splitlines()[-1]
    run = RunDirectory.open(tmp_path / "mine")
    assert run.info["recipe"]["name"] == "smoke"
    assert run.evals.steps() == [0, 2]
    assert run.rollouts.steps() == [1, 2]
    assert run.demos.numbers() == [1]
    assert [event["event"] for event in run.journal.read()][-1] == "finished"
    assert (run.checkpoints.path(2) / "policy" / "model.safetensors").is_file()


def test_arms_share_one_directory_and_one_table(command, tmp_path: Path):
    code, out, _ = command(
        "train", "quickstart", "--run", str(tmp_path / "both"),
        "--set", "data.num_train=8", "--set", "data.num_test=4", "--set", "rl.steps=2",
        "--set", "rl.prompts_per_step=4", "--set", "rl.group_size=4", "--set", "evaluation.n=8",
    )  # fmt: skip
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    table = [line for line in lines if line and line[0] in ("base", "grpo", "sps")]
    assert [line[0] for line in table[:3]] == ["base", "grpo", "sps"]
    assert [line[:2] for line in table[3::2]] == [["sps", "−"], ["grpo", "−"], ["sps", "−"]]
    assert [line[0] for line in table[4::2]] == ["grpo", "base", "base"]
    # What is to be typed next is there to be typed: the same comparison, of the same files.
    (compared,) = [line[2:] for line in lines if line[:2] == ["unsqueeze", "compare"] and len(line) == 3]
    code, again, _ = command("compare", *compared, "--k", "8")
    assert code == 0
    difference = table[3][2]
    assert difference in again
    # Both arms start from one model and one seed: before training they are the same.
    grpo, sps = (RunDirectory.open(tmp_path / "both" / name) for name in ("grpo", "sps"))
    assert grpo.evals.samples(0) == sps.evals.samples(0)
    assert sps.evals.record(0) == grpo.evals.record(0) | {"made_in": str(grpo.path)}  # once is enough
    assert not grpo.demos.numbers()
    assert sps.demos.numbers() == [1]


def test_dry_run_prints_the_resolved_recipe_and_writes_nothing(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("train", "smoke", "--dry-run", "--set", "rl.learning_rate=3e-4")
    assert code == 0
    assert "learning_rate: 0.0003" in out
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_exists_is_left_alone(command, tmp_path: Path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "run.json").write_text("{}")
    code, _, err = command("train", "smoke", "--run", str(path))
    assert code == 2
    assert "--resume" in err
    assert "--run" in err
    assert (path / "run.json").read_text() == "{}"
    assert list(path.iterdir()) == [path / "run.json"]


def test_resume_without_a_run_says_so(command, tmp_path: Path):
    code, _, err = command("train", "smoke", "--run", str(tmp_path / "none"), "--resume")
    assert code == 2
    assert "no run to resume" in err


def jsonl(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


GOOD = [json.dumps({"problem": f"What is {i} + {i}?", "answer": str(2 * i)}) for i in range(40)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["rl.learning_rat=1"], ["rl.learning_rat", "Did you mean rl.learning_rate?"]),
        (["irl.k=9"], ["irl.k is 9", "rl.group_size is 4"]),
        (["rl.algorithm=ppo"], ["'ppo'", "grpo", "dapo", "gspo"]),
        (["rl.prompts_per_step=17"], ["rl.prompts_per_step is 17", "data.num_train is 16"]),
        (["model.path=/nowhere/at/all"], ["/nowhere/at/all", "Hugging Face"]),
        (["rollout.temperature=-1"], ["rollout.temperature", "-1"]),
        (["rollout.max_tokens=4000"], ["rollout.max_tokens is 4000", "context"]),
        (["prompt.mode=chat"], ["chat template", "plain"]),
        (["irl.quantile=0"], ["irl.quantile", "0"]),
        (["rl.steps"], ["rl.steps", "section.key=value"]),
        (["name=../../etc"], ["name", "../../etc"]),
        (["data.kind=jsonl"], ["train_path"]),
        (["data.countdown.max_number=150", "data.countdown.max_result=300"], ["no token for", "countdown-0.4m"]),
        (["data.countdown.max_number=150"], ["countdown", "150", "99"]),
        (["rl.overlong={soft_cache_length: 30}"], ["soft_cache_length is 30", "max_tokens is 20"]),
        (["data.kind=jsonl", "data.train_path=/none.jsonl", "data.test_path=/none.jsonl"], ["/none.jsonl"]),
    ],
)
def test_a_mistake_in_a_setting_is_one_sentence(command, tmp_path: Path, settings: list[str], expected: list[str]):
    flags = [part for setting in settings for part in ("--set", setting)]
    code, out, err = command("train", "smoke", "--run", str(tmp_path / "run"), *flags)
    assert code == 2, out + err
    for text in expected:
        assert text in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ('{"problem": "What?"}', ["line 41", "'answer'"]),
        ('{"problem": "What?", "answer": ""}', ["line 41", "'answer'", "empty"]),
        ('{"problem": "What?", "answer"', ["line 41", "JSON"]),
        ("[1, 2]", ["line 41", "object"]),
    ],
)
def test_a_broken_line_is_named(command, tmp_path: Path, broken: str, expected: list[str]):
    train = jsonl(tmp_path / "train.jsonl", [*GOOD, broken])
    test = jsonl(tmp_path / "test.jsonl", ['{"problem": "What is 100 + 1?", "answer": "101"}'])
    flags = [
        "--set", "data.kind=jsonl", "--set", f"data.train_path={train}", "--set", f"data.test_path={test}",
        "--set", "data.num_train=null", "--set", "data.num_test=null",
    ]  # fmt: skip
    code, _, err = command("train", "smoke", "--run", str(tmp_path / "run"), *flags)
    assert code == 2
    for text in ["train.jsonl", *expected]:
        assert text in err
    assert not (tmp_path / "run").exists()


def test_problems_in_both_files_are_refused(command, tmp_path: Path):
    train, test = jsonl(tmp_path / "train.jsonl", GOOD), jsonl(tmp_path / "test.jsonl", GOOD[:1])
    flags = [
        "--set", "data.kind=jsonl", "--set", f"data.train_path={train}", "--set", f"data.test_path={test}",
        "--set", "data.num_train=null", "--set", "data.num_test=null",
    ]  # fmt: skip
    code, _, err = command("train", "smoke", "--run", str(tmp_path / "run"), *flags)
    assert code == 2
    assert "1 problem" in err
    assert "What is 0 + 0?" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rl: [1", ["not YAML"]),
        ("- 1\n- 2\n", ["mapping"]),
        ("name: x\nrl: 3\n", ["rl", "3"]),
        ("rl:\n  steps: 3\n", ["name"]),
    ],
)
def test_a_broken_recipe_file_is_one_sentence(command, tmp_path: Path, text: str, expected: list[str]):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    code, _, err = command("train", str(path), "--run", str(tmp_path / "run"))
    assert code == 2
    for part in ["recipe.yaml", *expected]:
        assert part in err
    assert "Traceback" not in err


def test_an_unknown_recipe_lists_the_known_ones(command):
    code, _, err = command("train", "quikstart")
    assert code == 2
    assert "Did you mean 'quickstart'" in err


def test_a_long_name_is_shown_whole_in_eighty_columns():
    summary = replace(summarise([128] * 9, [64] * 9, [1, 8, 32, 128]), greedy_logp=-0.1)
    name = "qwen2.5-math-1.5b-sps-on-grpo-seed-0"
    result = ArmResult(name=name, path=Path("run"), before=summary, after=summary, minutes=1.0, reports=[], best=None)
    screen = io.StringIO()
    Console(file=screen, width=80).print(results_table([TrainedArm(result)]))
    lines = screen.getvalue().splitlines()
    assert name in "".join(line[2:18].strip() for line in lines)
    assert "…" not in screen.getvalue()


def test_arms_are_told_apart_beside_wide_differences_in_eighty_columns():
    ks = [8, 32, 128]
    names = tuple(f"p{i}" for i in range(40))
    # Half of the problems, so that differences have two digits and a sign at both ends: "-65.0…-35.0".
    nobody, half = (
        Tally(names, ("",) * 40, np.full(40, 128), np.arange(40) % 2 * right, np.zeros(40, np.int64))
        for right in (0, 128)
    )
    pairs = {("sps", "grpo"): (nobody, half), ("a-long-name-1", "base"): (half, nobody)}
    compared = {sides: compare_tallies([one], [other], ks) for sides, (one, other) in pairs.items()}
    screen = io.StringIO()
    Console(file=screen, width=80).print(differences_table(compared, 128))
    rows = [line.split() for line in screen.getvalue().splitlines()]
    starts = [row[0] for row in rows if row]
    assert {"sps", "grpo", "a-long-name-", "base"} <= set(starts)
    assert "…" not in starts
    assert any(row[-2:] in (["20", "0"], ["0", "20"]) for row in rows)
