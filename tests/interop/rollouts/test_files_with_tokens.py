"""NeMo-RL, slime, prime-rl and verl: tokens and log-probs as they were sampled, groups, ends, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import unsqueeze as uq
from trainer_files import (
    chat,
    chat_checkpoint,
    chat_tokenizer,
    prime_episode,
    write_nemo,
    write_prime,
    write_slime,
    write_trl,
    write_verl,
)
from unsqueeze.errors import UserError

ALL = {"k": 9, "pool": "uniform", "quantile": 1.0}
PROMPT_IDS = [1, 40, 41]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(chat_checkpoint(tmp_path_factory.mktemp("model")))


def ids_of(text: str) -> list[int]:
    return list(chat_tokenizer()(text, add_special_tokens=False)["input_ids"])


def nemo_row(text: str, reward: float, logprobs: list[float], **more: Any) -> dict[str, Any]:
    ids = [*ids_of(text), 2]
    assert len(ids) == len(logprobs)
    return {
        "prompt": "<bos>[user]q[assistant]", "completion": text, "prompt_ids": PROMPT_IDS, "ids": ids, "reward": reward,
        "logprobs": logprobs,
    } | more  # fmt: skip


def test_nemo_is_read_in_its_own_tokens(tmp_path: Path):
    # By hand: means −0.2 and −0.4 over 3 tokens; the longer row is what the shorter is padded to.
    write_nemo(tmp_path, 2, [nemo_row("ab", 0.0, [-0.1, -0.2, -0.3]), nemo_row("abcd", 1.0, [-0.4] * 5)])
    write_nemo(tmp_path, 10, [nemo_row("ab", 0.0, [-0.1, -0.2, -0.3]), nemo_row("xy", 1.0, [-1.0] * 3, trained=0.0)])
    selected = uq.select(tmp_path, **ALL)
    assert selected.reading.format == "nemo"
    demos = list(selected)
    assert [demo["step"] for demo in demos] == [2, 2, 10]  # in the order of the numbers; the masked row is not judged
    assert selected.selection.num_not_judged == 1
    assert demos[0]["mean_logp"] == pytest.approx(-0.2)
    assert demos[0]["prompt_tokens"] == PROMPT_IDS
    assert demos[0]["tokens"] == [*ids_of("ab"), 2]
    assert demos[0]["rendered"] is True
    assert demos[0]["likelihood_under"] == "behaviour"


def test_nemo_with_dynamic_sampling_has_other_rows_rewards(tmp_path: Path):
    # rewards are those of all four that were drawn: cut to a line each, they are of other rows.
    rows = [nemo_row("ab", 1.0, [-0.1] * 3), nemo_row("cd", 0.0, [-0.2] * 3)]
    write_nemo(tmp_path, 1, rows, unfiltered=[0.0, 0.0, 1.0, 0.0])
    assert [demo["reward"] for demo in uq.select(tmp_path, **ALL)] == [1.0, 0.0]


def test_a_conversation_of_several_turns_is_refused(tmp_path: Path):
    path = write_nemo(tmp_path, 1, [nemo_row("ab", 0.0, [-0.1] * 3)])
    line = json.loads(path.read_text())
    line["token_loss_mask"] = [[1, 0, 0, 1, 1, 1]]
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match=r"train_data_step1.jsonl, line 1: token_loss_mask marks several turns"):
        uq.select(tmp_path)


def slime_sample(group: int, text: str, reward: Any, **more: Any) -> dict[str, Any]:
    ids = [*ids_of(text), 2]
    return {
        "group_index": group, "prompt": chat(f"q{group}"), "tokens": PROMPT_IDS + ids, "response": text, "label": "4",
        "response_length": len(ids), "reward": reward, "rollout_log_probs": [-0.5] * len(ids),
    } | more  # fmt: skip


def test_slime_is_read_in_its_own_tokens_and_evaluations_are_left_aside(tmp_path: Path):
    write_slime(tmp_path, 0, [slime_sample(0, "ab", 1.0), slime_sample(0, "abc", 0.0, status="truncated")])
    write_slime(tmp_path, 10, [slime_sample(1, "x", 0.0), slime_sample(1, "y", 0.0, status="aborted")])
    write_slime(tmp_path, 2, [slime_sample(2, "z", 1.0)])
    write_slime(tmp_path, 2, [slime_sample(2, "evaluated", 1.0)], evaluation=True)
    selected = uq.select(tmp_path, **ALL)
    assert (selected.reading.format, selected.reading.num_rows) == ("slime", 5)
    found = [(demo["messages"][-1]["content"], demo["step"], demo.get("stop_reason")) for demo in selected]
    assert found == [("ab", 0, None), ("abc", 0, "length"), ("z", 2, None), ("x", 10, None)]
    assert {demo["mean_logp"] for demo in selected} == {-0.5}
    assert next(iter(selected))["tokens"] == [*ids_of("ab"), 2]


def test_slime_rewards_by_name_and_files_that_would_run_code(tmp_path: Path):
    write_slime(tmp_path, 0, [slime_sample(0, "ab", {"accuracy": 1.0, "length": 0.2})])
    with pytest.raises(UserError, match=r"several columns may be the reward: accuracy, length"):
        uq.select(tmp_path)
    assert [demo["reward"] for demo in uq.select(tmp_path, reward="accuracy", **ALL)] == [1.0]
    torch.save({"rollout_id": 0, "samples": [Path("x")]}, tmp_path / "rollout_0.pt")
    with pytest.raises(UserError, match=r"not a torch file of plain values"):
        uq.select(tmp_path)


def prime_row(key: str, text: str, score: float | None, **more: Any) -> dict[str, Any]:
    ids = [*ids_of(text), 2]
    return {
        "key": key, "prompt": chat(key), "prompt_ids": PROMPT_IDS, "scaffold": [7, 8], "ids": ids,
        "message": {"content": text}, "logprobs": [-0.25] * len(ids),
        "rewards": {"right": {"score": score, "weight": 1.0}},
    } | more  # fmt: skip


def test_prime_is_read_from_its_graph(tmp_path: Path):
    both = [
        prime_episode("g", prime_row("k", "ab", 0.0)),
        prime_episode("g", prime_row("k", "ac", 1.0, finish="length")),
    ]
    write_prime(tmp_path, 3, both)
    write_prime(tmp_path, 3, both[:1], subset="effective")  # again, and not read
    write_prime(tmp_path, 3, [prime_episode("e", prime_row("e", "x", 1.0), work="eval")], kind="eval")
    write_prime(tmp_path, 12, [prime_episode("h", prime_row("k", "ad", 0.0), step=12)], subset="effective")
    selected = uq.select(tmp_path, **ALL)
    assert (selected.reading.format, selected.reading.num_rows, selected.selection.num_groups) == ("prime", 3, 2)
    first, second, third = selected
    assert first["prompt"] == chat("k")
    assert first["prompt_tokens"] == [*PROMPT_IDS, 7, 8]  # what the template puts before the response is not sampled
    assert first["tokens"] == [*ids_of("ab"), 2]
    assert (first["mean_logp"], first["reward"], first.get("stop_reason")) == (-0.25, 0.0, None)
    assert (second["stop_reason"], third["step"]) == ("length", 12)


def test_prime_responses_that_were_taken_apart_are_read_from_their_tokens(tmp_path: Path, checkpoint: str):
    row = prime_row("k", "so 4", 1.0, message={"content": "4", "reasoning_content": "so"})
    write_prime(tmp_path, 1, [prime_episode("g", row)])
    with pytest.raises(UserError, match=r"taken apart.*--model"):
        list(uq.select(tmp_path, **ALL))
    selected = uq.select(tmp_path, model=checkpoint, likelihood_under="behaviour", **ALL)
    assert [demo["messages"][-1]["content"] for demo in selected] == ["so 4"]
    assert next(iter(selected))["mean_logp"] == -0.25
    present = uq.select(tmp_path, model=checkpoint, **ALL)
    (demo,) = present
    assert demo["likelihood_under"] == "present"
    assert demo["mean_logp"] != -0.25
    assert (present.reading.num_compared, present.reading.num_retokenised) == (1, 0)


def test_other_tokens_than_the_texts_are_counted_and_carried(tmp_path: Path, checkpoint: str):
    # The bytes of é the wrong way round are no text: what they decode to has other tokens.
    row = prime_row("k", "ab", 1.0, ids=[ids_of("a")[0], ids_of("b")[0], 2], logprobs=[-0.25] * 3)
    other = prime_row("k", "é", 0.0, ids=[ids_of("é")[1], ids_of("é")[0], 2], logprobs=[-0.25] * 3)
    write_prime(tmp_path, 1, [prime_episode("g", row), prime_episode("g", other)])
    selected = uq.select(tmp_path, model=checkpoint, likelihood_under="behaviour", **ALL)
    assert (selected.reading.num_compared, selected.reading.num_retokenised) == (2, 1)
    told = selected.reading.describe()
    assert "1 of 2 texts have other tokens than were sampled" in told
    assert "without token ids" not in told
    assert list(selected)[1]["tokens"] == [ids_of("é")[1], ids_of("é")[0], 2]


def test_several_turns_and_branches_of_prime_are_refused(tmp_path: Path):
    episode = prime_episode("g", prime_row("k", "ab", 1.0))
    nodes = episode["traces"][0]["nodes"]
    nodes.append({**nodes[-1], "parent": 1})
    write_prime(tmp_path / "turns", 1, [episode])
    with pytest.raises(UserError, match=r"trace 1: 2 messages of the model in one conversation"):
        uq.select(tmp_path / "turns")
    nodes[-1]["parent"] = 0
    write_prime(tmp_path / "branches", 1, [episode])
    with pytest.raises(UserError, match=r"a trace of 2 branches"):
        uq.select(tmp_path / "branches")


def decoded(text: str) -> str:
    tokenizer = chat_tokenizer()
    rendered = tokenizer.apply_chat_template(chat(text), tokenize=False, add_generation_prompt=True)
    return tokenizer.decode(tokenizer(rendered, add_special_tokens=False)["input_ids"], skip_special_tokens=True)


def test_verl_prompts_are_joined_from_the_data_set(tmp_path: Path, checkpoint: str):
    rows = [
        {"input": decoded("q"), "output": said, "gts": "4", "score": score} for said, score in (("a", 1.0), ("b", 0.0))
    ]
    uids = [{"uid": f"17_with_more_{rollout}_0"} for rollout in range(2)]
    write_verl(tmp_path / "dump", 9, [row | {"extra": uid} for row, uid in zip(rows, uids, strict=True)])
    write_verl(tmp_path / "dump", 10, rows)
    data = tmp_path / "train.jsonl"
    data.write_text(json.dumps({"prompt": chat("q"), "reward_model": {"ground_truth": "4"}}) + "\n")
    with pytest.raises(UserError, match=r"prompts without their special tokens.*--prompts"):
        uq.select(tmp_path / "dump", model=checkpoint, max_length=0)
    selected = uq.select(tmp_path / "dump", model=checkpoint, max_length=0, prompts=data, **ALL)
    assert (selected.reading.format, selected.selection.num_groups) == ("verl", 2)
    assert [demo["step"] for demo in selected] == [9, 9, 10, 10]  # 9 before 10
    assert {json.dumps(demo["prompt"]) for demo in selected} == {json.dumps(chat("q"))}
    data.write_text(json.dumps({"prompt": chat("another")}) + "\n")
    with pytest.raises(UserError, match=r"no prompt of .*train.jsonl reads"):
        uq.select(tmp_path / "dump", model=checkpoint, max_length=0, prompts=data)


def test_verl_groups_are_the_uid_without_its_last_two_parts(tmp_path: Path, checkpoint: str):
    # Two samples of one step with the same prompt are two groups of two, not one of four.
    rows = [
        {"input": decoded("q"), "output": f"{sample}{rollout}", "gts": None, "score": 0.0,
         "extra": {"uid": f"s_{sample}_{rollout}_0"}}
        for sample in range(2) for rollout in range(2)
    ]  # fmt: skip
    write_verl(tmp_path / "dump", 1, rows)
    data = tmp_path / "train.jsonl"
    data.write_text(json.dumps({"prompt": chat("q")}) + "\n")
    selected = uq.select(tmp_path / "dump", model=checkpoint, max_length=0, prompts=data, **ALL)
    assert selected.selection.num_groups == 2
    rows[0]["extra"] = {"uid": "nothing"}
    write_verl(tmp_path / "dump", 1, rows)
    with pytest.raises(UserError, match=r"uid.*SAMPLE_ROLLOUT_OUTPUT"):
        uq.select(tmp_path / "dump", model=checkpoint, max_length=0, prompts=data)


def test_a_format_is_named_or_found_out(tmp_path: Path, checkpoint: str):
    write_trl(tmp_path, 1, [{"prompt": "q", "completion": "a", "accuracy": 0.0}])
    with pytest.raises(UserError, match=r"format is 'trll'; it must be one of auto, trl, swift, verl, nemo"):
        uq.select(tmp_path, format="trll")
    with pytest.raises(UserError, match=r"holds no rollouts of verl; give the folder of trainer.rollout_data_dir"):
        uq.select(tmp_path, format="verl")
    assert len(uq.select(tmp_path / "completions" / "completions_00001.parquet", model=checkpoint, max_length=0)) == 1


def test_a_missing_column_is_told_with_all_that_are_there(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"prompt": ["q"], "answer": ["a"], "points": [1.0]}), tmp_path / "r.parquet")
    with pytest.raises(UserError, match=r"fields there: prompt, answer, points"):
        uq.select(tmp_path / "r.parquet")
    with pytest.raises(UserError, match=r"no column 'score' \(columns there: prompt, answer, points\)"):
        uq.select(tmp_path / "r.parquet", reward="score")


def test_demonstrations_are_written_alike_to_both_kinds_of_file(tmp_path: Path, checkpoint: str):
    import pyarrow.parquet as pq

    write_slime(tmp_path / "r", 0, [slime_sample(0, "ab", 1.0), slime_sample(0, "abc", 0.0, status="truncated")])
    uq.select(tmp_path / "r", out=tmp_path / "d.jsonl", **ALL)
    uq.select(tmp_path / "r", out=tmp_path / "d.parquet", **ALL)
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    rows = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert [{name: value for name, value in row.items() if value is not None} for row in rows] == lines
    for demos in ("d.jsonl", "d.parquet"):
        result = uq.irl(checkpoint, tmp_path / demos, out=tmp_path / f"after-{demos}", steps=1)
        assert result.num_by_ids == 2
