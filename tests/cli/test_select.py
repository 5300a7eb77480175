"""`unsqueeze select`: L2TE on anybody's rollouts, and a named line for every broken one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small_runs import random_recipe, run_to_end, small_recipe
from unsqueeze.store.records import write_record


def write_lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rollout(problem: str, answer: str, reward: float | None, mean_logp: float, **more: Any) -> dict[str, Any]:
    return {
        "problem_id": problem, "prompt": f"ask {problem}", "completion": answer, "reward": reward,
        "mean_logp": mean_logp,
    } | more  # fmt: skip


# k = 2 and quantile 0.5. Problem p: negatives b (−3), c (−1), d (−2), whose lower half is ceil(3 / 2) = 2, so the two
# lowest, b and d, whatever the seed. Problem q: the one negative f, topped up with the less likely of e and g: g.
ROWS = [
    rollout("p", "a", 1, -9.0),
    rollout("q", "e", 1, -0.5),
    rollout("p", "b", 0, -3.0),
    rollout("p", "c", 0, -1.0),
    rollout("q", "f", 0, -0.1),
    rollout("p", "d", 0, -2.0),
    rollout("q", "g", 1, -0.7),
    rollout("q", "h", None, -9.0),
]
CHOSEN = ["b", "f", "d", "g"]


def test_rollouts_of_one_name_that_were_asked_something_else_are_another_group(command, tmp_path: Path):
    """Each of the two problems called p gives its one negative; as one group they would have given one of them."""
    rows = [
        rollout("p", "a", 1, -1.0),
        rollout("p", "b", 0, -2.0),
        rollout("p", "c", 0, -9.0, prompt="ask another"),
        rollout("p", "d", 1, -1.0, prompt="ask another"),
        rollout("q", "e", 1, -1.0),
    ]
    out = tmp_path / "demos.jsonl"
    code, _, err = command("select", write_lines(tmp_path / "r.jsonl", rows), "--k", "1", "--out", str(out))
    assert code == 0, err
    assert [demo["completion"] for demo in read_lines(out)] == ["b", "c", "e"]
    assert "3 demonstrations (2 negative, 1 positive) of 5 rollouts in 3 groups" in err
    assert "1 group has the problem_id of another with another prompt" in err


def test_turns_of_the_assistant_before_the_last_do_not_part_a_group(command, tmp_path: Path):
    def chat(steps: str, reward: int, mean_logp: float) -> dict[str, Any]:
        said = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": steps}]
        said += [{"role": "user", "content": f"seen {steps}"}, {"role": "assistant", "content": "done"}]
        return {"problem_id": "p", "messages": said, "reward": reward, "mean_logp": mean_logp}

    source = write_lines(tmp_path / "r.jsonl", [chat("one", 0, -2.0), chat("two", 0, -1.0)])
    code, _, err = command("select", source, "--k", "1", "--out", str(tmp_path / "demos.jsonl"))
    assert code == 0, err
    assert "1 demonstration (1 negative, 0 positive) of 2 rollouts in 1 group" in err


def test_by_hand_and_in_the_order_of_the_file(command, tmp_path: Path):
    source, out = write_lines(tmp_path / "rollouts.jsonl", ROWS), tmp_path / "demos.jsonl"
    code, _, err = command("select", source, "--k", "2", "--out", str(out))
    assert code == 0, err
    demos = read_lines(out)
    assert [demo["completion"] for demo in demos] == CHOSEN
    assert demos[0] == {
        "problem_id": "p",
        "prompt": "ask p",
        "completion": "b",
        "reward": 0.0,
        "mean_logp": -3.0,
        "likelihood_under": "behaviour",
        "reason": "negative, low likelihood",
    }
    assert demos[3]["reason"] == "positive, low likelihood, too few negatives"
    assert "4 demonstrations (3 negative, 1 positive) of 8 rollouts in 2 groups" in err
    assert "1 rollout was not judged" in err


def test_parquet_gives_what_lines_give(command, tmp_path: Path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rollouts.parquet")
    out = tmp_path / "demos.jsonl"
    assert command("select", str(tmp_path / "rollouts.parquet"), "--k", "2", "--out", str(out))[0] == 0
    assert [demo["completion"] for demo in read_lines(out)] == CHOSEN


def test_a_folder_is_read_whole_and_groups_span_its_files(command, tmp_path: Path):
    folder = tmp_path / "parts"
    folder.mkdir()
    write_lines(folder / "a.jsonl", ROWS[:3])
    write_lines(folder / "b.jsonl", ROWS[3:])
    out = tmp_path / "demos.jsonl"
    assert command("select", str(folder), "--k", "2", "--out", str(out))[0] == 0
    assert [demo["completion"] for demo in read_lines(out)] == CHOSEN


def test_other_names_for_the_same_things(command, tmp_path: Path):
    """No problem_id, verdicts for rewards, log-probs of tokens, conversations: −3, −1, −2 and −9 nats per token."""
    asked = [{"role": "user", "content": "What is 1 + 1?"}]
    rows = [
        {"messages": [*asked, {"role": "assistant", "content": "1"}], "verdict": "wrong", "logprobs": [-2.0, -4.0]},
        {"prompt": asked, "completion": "2", "verdict": "correct", "logprobs": [-1.0]},
        {
            "prompt": asked,
            "completion": [{"role": "assistant", "content": "3"}],
            "verdict": "unparsable",
            "logprobs": [-2.0],
        },
        {"prompt": asked, "response": "4", "verdict": "timed_out", "logprobs": [-9.0]},
    ]
    out = tmp_path / "demos.jsonl"
    # The first line's messages hold the answer, and its question is that of the prompts below.
    assert command("select", write_lines(tmp_path / "r.jsonl", rows), "--k", "3", "--out", str(out))[0] == 0
    demos = read_lines(out)
    assert [(demo["messages"][-1]["content"], demo["reward"], demo["mean_logp"]) for demo in demos] == [
        ("1", 0.0, -3.0),
        ("2", 1.0, -1.0),
        ("3", 0.0, -2.0),
    ]
    assert all(demo["messages"][:1] == asked for demo in demos)
    assert len({demo["problem_id"] for demo in demos}) == 1


def test_steps_part_groups(command, tmp_path: Path):
    rows = [rollout("p", "old", 0, -1.0, step=1), rollout("p", "new", 0, -2.0, step=2)]
    out = tmp_path / "demos.jsonl"
    assert command("select", write_lines(tmp_path / "r.jsonl", rows), "--k", "1", "--out", str(out))[0] == 0
    assert [(demo["completion"], demo["step"]) for demo in read_lines(out)] == [("old", 1), ("new", 2)]


def test_sum_ranks_by_the_whole_response(command, tmp_path: Path):
    # Per token 'short' is less likely (−1 against −0.5); as a whole 'long' is (−2 against −1).
    rows = [rollout("p", "short", 0, -1.0, num_tokens=1), rollout("p", "long", 0, -0.5, num_tokens=4)]
    source, out = write_lines(tmp_path / "r.jsonl", rows), tmp_path / "demos.jsonl"
    for kind, first in (("mean", "short"), ("sum", "long")):
        assert command("select", source, "--k", "1", "--likelihood", kind, "--out", str(out))[0] == 0
        assert [demo["completion"] for demo in read_lines(out)] == [first]


@pytest.mark.usefixtures("judged_by_hash")
def test_of_a_run_it_chooses_what_the_run_chose(command, tmp_path: Path):
    """The run's own settings and seed, so the demonstrations of both IRL phases, in the words the model was given."""
    recipe = random_recipe(rl={"steps": 4}, prompt={"template": "{problem}"})
    run, _ = run_to_end(recipe, tmp_path / "run")
    out = tmp_path / "demos.jsonl"
    code, _, err = command("select", str(tmp_path / "run"), "--out", str(out))
    assert code == 0, err
    assert "run.json: k 2, pool negatives_first, quantile 0.5, likelihood mean, seed 3" in " ".join(err.split())
    assert "token ids" not in err  # the demonstrations have them
    stored = [demo for number in run.directory.demos.numbers() for demo in run.directory.demos.read(number)]
    assert len(stored) == 2 * 4 * 4
    demos = read_lines(out)
    assert [(demo["problem_id"], demo["step"], demo["mean_logp"], demo["reason"]) for demo in demos] == [
        (demo.problem_id, demo.step, demo.mean_logp, demo.reason) for demo in stored
    ]
    prompts = {problem.id: problem.prompt for problem in run.train_problems}
    assert all(demo["prompt"] == prompts[demo["problem_id"]] for demo in demos)


def test_what_a_run_sampled_is_trained_token_by_token(command, tmp_path: Path):
    """From a run to `irl` on the weights that sampled: the NLL of the ids is what `mean_logp` says.

    The embedded model draws now and then what its tokenizer would encode otherwise, or has no text for: hot samples do.
    """
    recipe = small_recipe(rl={"steps": 1}, irl=None, rollout={"temperature": 10.0, "max_tokens": 20})
    run, _ = run_to_end(recipe, tmp_path / "run")
    out, after = tmp_path / "demos.jsonl", tmp_path / "after"
    every = ["--k", "4", "--pool", "any", "--quantile", "1"]
    assert command("select", str(tmp_path / "run"), *every, "--out", str(out))[0] == 0
    demos = read_lines(out)
    stored = {
        tuple(rollout.completion.tokens.tolist()): rollout
        for group in run.directory.rollouts.read(1)
        for rollout in group.rollouts
    }
    assert all(demo["prompt_tokens"] == stored[tuple(demo["tokens"])].prompt_tokens.tolist() for demo in demos)
    tokenizer = run.policy.tokenizer
    encoded = [[*tokenizer(demo["completion"], add_special_tokens=False)["input_ids"]] for demo in demos]
    ids = [[token for token in demo["tokens"] if token != tokenizer.eos_token_id] for demo in demos]
    assert encoded != ids, "a round trip of every text: this test would show nothing"
    code, _, err = command(
        "irl", "countdown-0.4m", "--demos", str(out), "--steps", "1", "--learning-rate", "1e-4", "--out", str(after)
    )
    assert code == 0, err
    assert f"{len(demos)} demonstrations, {len(demos)} by their token ids" in err
    lengths = [len(demo["tokens"]) for demo in demos]
    total = sum(demo["mean_logp"] * length for demo, length in zip(demos, lengths, strict=True))
    report = json.loads((after / "irl_report.json").read_text())["report"]
    assert report["nll_before"] == pytest.approx(-total / sum(lengths), abs=1e-4)


def test_rollouts_of_a_chat_run_become_the_conversation_it_had(command, tmp_path: Path):
    run = tmp_path / "run"
    (run / "rollouts").mkdir(parents=True)
    prompt = {"mode": "chat", "template": "{problem} Think.", "system": "Be brief."}
    write_record(run / "run.json", {"recipe": {"prompt": prompt}})
    pq.write_table(pa.Table.from_pylist([rollout("p", "b", 0, -1.0)]), run / "rollouts" / "step-000001.parquet")
    out = tmp_path / "demos.jsonl"
    assert command("select", str(run / "rollouts"), "--out", str(out))[0] == 0
    assert read_lines(out)[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "ask p Think."},
        {"role": "assistant", "content": "b"},
    ]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{not json", ["line 2", "JSON"]),
        ("[1]", ["line 2", "list"]),
        ({"problem_id": "p", "reward": 0, "prompt": "", "completion": ""}, ["line 2", "'mean_logp'"]),
        (rollout("p", "x", 0, 0.9), ["line 2", "'mean_logp'", "0.9", "at most 0"]),
        (rollout("p", "x", 0, -1.0, logprobs=[-0.1, 0.7]), ["line 2", "'logprobs'"]),
        (rollout("p", "x", 0, -1.0, logprobs="-1"), ["line 2", "'logprobs'", "list"]),
        (rollout("p", "x", "yes", -1.0), ["line 2", "'reward'", "yes"]),
        ({"problem_id": "p", "mean_logp": -1, "verdict": "right"}, ["line 2", "'verdict'", "timed_out"]),
        ({"problem_id": "p", "mean_logp": -1}, ["line 2", "'reward'", "correct"]),
        ({"mean_logp": -1, "reward": 0}, ["line 2", "'problem_id'"]),
        (rollout("p", "x", 0, -5.0) | {"completion": None}, ["line 2", "'completion'"]),
        ({"problem_id": "p", "mean_logp": -5, "reward": 0, "messages": [{"role": "user"}]}, ["line 2", "'messages'"]),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_written(command, tmp_path: Path, broken: Any, words: list[str]):
    source, out = write_lines(tmp_path / "r.jsonl", [rollout("p", "a", 0, -1.0), broken]), tmp_path / "demos.jsonl"
    code, _, err = command("select", source, "--out", str(out))
    assert code == 2
    for word in ["r.jsonl", *words]:
        assert word in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pool", "best"], ["pool is 'best'", "negatives_first"]),
        (["--likelihood", "max"], ["likelihood is 'max'", "mean, sum"]),
        (["--k", "0"], ["k is 0", "1 or more"]),
        (["--quantile", "0"], ["quantile is 0", "above 0"]),
        (["--pool", "positives"], ["nothing to choose", "positives"]),
    ],
)
def test_a_wrong_option_is_one_sentence(command, tmp_path: Path, options: list[str], words: list[str]):
    source = write_lines(tmp_path / "r.jsonl", [rollout("p", "a", 0, -1.0)])
    code, _, err = command("select", source, *options, "--out", str(tmp_path / "demos.jsonl"))
    assert code == 2
    for word in words:
        assert word in err


def test_no_such_file_an_empty_folder_and_a_pipe(command, tmp_path: Path):
    for source, word in ((str(tmp_path / "none.jsonl"), "no such file"), (str(tmp_path), "no rollouts"), ("-", "pipe")):
        code, _, err = command("select", source, "--out", str(tmp_path / "demos" / "d.jsonl"))
        assert code == 2
        assert word in err
    source = write_lines(tmp_path / "r.jsonl", [rollout("p", "a", 0, -1.0)])
    assert command("select", source, "--out", source)[0] == 2
