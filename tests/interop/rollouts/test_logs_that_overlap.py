"""TRL's and ms-swift's logs: rows of an evaluation, rows written again, lost rows, prompts that are rendered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unsqueeze as uq
from tiny_models import BYTE_VOCABULARY, tiny_llama
from trainer_files import chat, chat_checkpoint, chat_tokenizer, write_swift, write_trainer_state, write_trl
from unsqueeze.errors import UserError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(chat_checkpoint(tmp_path_factory.mktemp("model")))


def generation(first: int, number: int, **more: Any) -> list[dict[str, Any]]:
    """Groups of four: two right and two wrong answers, all different."""
    return [
        {"prompt": chat(f"q{first + row // 4}"), "completion": f"a{first}.{row}", "accuracy": float(row % 2)} | more
        for row in range(number)
    ]


def write_questions(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"messages": chat(text)}) + "\n" for text in texts))
    return path


def test_rows_of_an_evaluation_are_left_out_where_its_prompts_are_named(tmp_path: Path, checkpoint: str):
    # 4 log calls of 32 rows: the evaluations of steps 1 to 3 wrote over the training rows. 96 of 128 are evaluation.
    for step in range(1, 5):
        write_trl(tmp_path, step, generation(100 if step < 4 else 0, 32, advantage=step / 10))
    for step in range(1, 4):  # each evaluation samples anew
        rows = [row | {"completion": f"{row['completion']} at {step}"} for row in generation(100, 32)]
        write_trl(tmp_path, step, rows)
    questions = write_questions(tmp_path / "eval.jsonl", [f"q{number}" for number in range(100, 108)])
    given = {"model": checkpoint, "max_length": 0, "k": 1}
    naive = uq.select(tmp_path, **given)
    assert (naive.reading.num_rows, naive.reading.num_rollouts) == (128, 128)
    right = uq.select(tmp_path, exclude_prompts=questions, **given)
    assert (right.reading.num_rows, right.reading.num_evaluation, right.reading.num_rollouts) == (128, 96, 32)
    assert {demo["messages"][0]["content"] for demo in right} == {f"q{number}" for number in range(8)}
    other = write_questions(tmp_path / "other.jsonl", ["nobody asked"])
    assert "no rollout has a prompt of" in " ".join(uq.select(tmp_path, exclude_prompts=other, **given).warnings)


def test_rows_that_later_log_calls_repeat_are_one_rollout(tmp_path: Path, checkpoint: str):
    # 8 steps a generation, 2 of them an optimizer step: each of 4 generations of 64 is written four times, 1,024 rows.
    for step in range(1, 17):
        write_trl(tmp_path, step, generation(100 * ((step - 1) // 4), 64))
    selected = uq.select(tmp_path, model=checkpoint, max_length=0, k=1)
    reading = selected.reading
    assert (reading.num_rows, reading.num_distinct, reading.num_repeated) == (1024, 256, 768)
    assert selected.selection.num_groups == 64
    assert {demo["step"] for demo in selected} == {1, 5, 9, 13}  # the first call that has the row


def test_equal_samples_of_one_group_are_real_and_their_repetition_is_not(tmp_path: Path, checkpoint: str):
    rows = [{"prompt": chat("q"), "completion": "same", "accuracy": 0.0}] * 3
    write_trl(tmp_path, 1, rows)
    write_trl(tmp_path, 2, [*rows, rows[0]])
    reading = uq.select(tmp_path, model=checkpoint, max_length=0).reading
    assert (reading.num_rows, reading.num_distinct) == (7, 4)


def test_rows_that_were_never_written_are_missed(tmp_path: Path, checkpoint: str):
    write_trainer_state(tmp_path, 8)  # logging_steps 4: of 8 generations two are there
    for step in (4, 8):
        write_trl(tmp_path, step, generation(step, 16))
    selected = uq.select(tmp_path, model=checkpoint, max_length=0)
    assert (selected.reading.num_expected, selected.reading.num_distinct) == (128, 32)
    assert "32 rollouts are there and 128 were expected" in selected.warnings[0]
    assert uq.select(tmp_path, model=checkpoint, max_length=0, expected=32).warnings == []


def swift_rows(tokenizer: Any, first: int, number: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True),
            "completion": row["completion"],
            "Accuracy": row["accuracy"],
            "advantages": 0.5,
            "solution": "4",
        }
        for row in generation(first, number)
    ]


def test_the_last_batch_of_swift_comes_twice(tmp_path: Path, checkpoint: str):
    tokenizer = chat_tokenizer()
    for step in (1, 2, 2):
        write_swift(tmp_path, step, swift_rows(tokenizer, 10 * step, 8))
    write_trainer_state(tmp_path, 2)
    (tmp_path / "args.json").write_text(json.dumps({"max_completion_length": 24, "gradient_accumulation_steps": 1}))
    selected = uq.select(tmp_path, model=checkpoint)
    reading = selected.reading
    assert (reading.format, reading.num_rows, reading.num_distinct, reading.num_expected) == ("swift", 24, 16, 16)
    assert selected.warnings == []
    questions = write_questions(tmp_path / "eval.jsonl", ["q10", "q1"])
    assert uq.select(tmp_path, model=checkpoint, exclude_prompts=questions).reading.num_evaluation == 4


def test_a_rendered_prompt_gets_no_second_beginning(tmp_path: Path, checkpoint: str):
    tokenizer = chat_tokenizer()
    write_swift(tmp_path, 1, swift_rows(tokenizer, 0, 4))
    selected = list(uq.select(tmp_path, model=checkpoint, max_length=0, k=4, pool="uniform", quantile=1.0))
    demo = selected[0]
    assert demo["prompt"] == demo["messages"][:-1] == chat("q0")  # found again behind the template
    model = tiny_llama(BYTE_VOCABULARY, context=256)

    def mean_logp(prompt: list[int], response: list[int]) -> float:
        with torch.no_grad():
            logp = torch.log_softmax(model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1], dim=-1)
        return float(logp.gather(1, torch.tensor(response)[:, None]).mean())

    text = tokenizer.apply_chat_template(chat("q0"), tokenize=False, add_generation_prompt=True)
    response = [*tokenizer(demo["completion"][0]["content"], add_special_tokens=False)["input_ids"], 2]
    right = mean_logp(tokenizer(text, add_special_tokens=False)["input_ids"], response)
    wrong = mean_logp(tokenizer(text)["input_ids"], response)  # <bos> <bos> …
    assert demo["mean_logp"] == pytest.approx(right, abs=1e-5)
    assert abs(right - wrong) > 1e-3


def test_the_phase_begins_where_the_selection_ranked(tmp_path: Path, checkpoint: str):
    for name, write, rows in (
        ("trl", write_trl, generation(0, 8)),
        ("swift", write_swift, swift_rows(chat_tokenizer(), 0, 8)),
    ):
        write(tmp_path / name, 1, rows)
        demos = tmp_path / f"{name}.jsonl"
        selected = list(uq.select(tmp_path / name, model=checkpoint, max_length=0, out=demos))
        result = uq.irl(checkpoint, demos, out=tmp_path / f"{name}-irl", steps=1, learning_rate=1e-5)
        tokens = np.array([demo["num_tokens"] for demo in selected])
        mean_logp = np.array([demo["mean_logp"] for demo in selected])
        assert result.report.nll_before == pytest.approx(-float((tokens * mean_logp).sum() / tokens.sum()), abs=1e-4)


def test_a_response_that_was_cut_off_gets_no_end(tmp_path: Path, checkpoint: str):
    rows = [{"prompt": chat("q"), "completion": text, "accuracy": 0.0} for text in ("12345", "1234", "123")]
    write_trl(tmp_path, 1, rows)
    selected = uq.select(tmp_path, model=checkpoint, max_length=5, k=3, pool="uniform", quantile=1.0)
    assert selected.reading.num_cut_off == 1
    # A token a letter, and the end token where there is an end: 5, 4 + 1, 3 + 1.
    found = {demo["completion"][0]["content"]: (demo.get("stop_reason"), demo["num_tokens"]) for demo in selected}
    assert found == {"12345": ("length", 5), "1234": (None, 5), "123": (None, 4)}


def test_nothing_is_guessed(tmp_path: Path, checkpoint: str):
    rows = [row | {"brevity": -0.04} for row in generation(0, 8)]
    write_trl(tmp_path, 1, rows)
    with pytest.raises(UserError, match=r"hold no log-probs.*--model"):
        uq.select(tmp_path)
    with pytest.raises(UserError, match=r"which responses were cut off.*--max-length"):
        uq.select(tmp_path, model=checkpoint)
    with pytest.raises(UserError, match=r"several columns may be the reward: accuracy, brevity.*--reward NAME"):
        uq.select(tmp_path, model=checkpoint, max_length=0)
    with pytest.raises(
        UserError, match=r"no reward 'score'.*accuracy, brevity; columns there: step, prompt, completion"
    ):
        uq.select(tmp_path, model=checkpoint, max_length=0, reward="score")
    right = uq.select(tmp_path, model=checkpoint, max_length=0, reward="accuracy", pool="positives")
    assert {demo["reward"] for demo in right} == {1.0}
    with pytest.raises(UserError, match=r"no gold answer to judge by"):
        uq.select(tmp_path, model=checkpoint, max_length=0, rejudge="math")


def test_shaped_rewards_are_pointed_out(tmp_path: Path, checkpoint: str):
    rows = [row | {"accuracy": value} for row, value in zip(generation(0, 4), (1, 0.96, 0, -0.04), strict=True)]
    write_trl(tmp_path, 1, rows)
    told = uq.select(tmp_path, model=checkpoint, max_length=0).reading.describe()
    assert "rewards take 4 values from -0.04 to 1, and above 0 counts as right" in told
    assert "4 without token ids: those of their texts may differ from the sampled ones" in told


@pytest.mark.usefixtures("shared_workers")
def test_a_verifier_judges_again(tmp_path: Path, checkpoint: str):
    rows = swift_rows(chat_tokenizer(), 0, 4)  # gold 4
    answers = ("\\boxed{4}", "\\boxed{5}", "\\boxed{4.0}", "none")
    rows = [row | {"completion": said, "Format": 0.1} for row, said in zip(rows, answers, strict=True)]
    write_swift(tmp_path, 1, rows)
    given = {"model": checkpoint, "max_length": 0, "rejudge": "math", "k": 4, "pool": "uniform", "quantile": 1.0}
    found = {demo["completion"][0]["content"]: demo["reward"] for demo in uq.select(tmp_path, **given)}
    assert found == dict(zip(answers, (1.0, 0.0, 1.0, 0.0), strict=True))
