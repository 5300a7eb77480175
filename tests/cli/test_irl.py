"""`unsqueeze irl`: one IRL phase on a checkpoint, its report, and one sentence for every mistake."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_models import BYTE_VOCABULARY, byte_tokenizer
from unsqueeze.errors import UserError
from unsqueeze.interop.demonstrations import distinct, read_demonstrations, without_opening
from unsqueeze.models import embedded_model_path

DEMOS = [
    {"prompt": "Make 48 from 2 3 6 14.", "completion": "14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48"},
    {"prompt": "Make 48 from 2 3 6 14.", "completion": "6 / 2 = 3"},
    {"prompt": "Make 24 from 1 2 3 4.", "completion": "1 * 2 = 2, 2 * 3 = 6, 6 * 4 = 24"},
    {"prompt": "Make 10 from 1 2 3 4.", "completion": "1 + 2 = 3, 3 + 3", "stop_reason": "length"},
]
# The embedded model knows no division: its text has no token there.
READABLE = [DEMOS[0], DEMOS[2], DEMOS[3]]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def nll(model_path: Path, rows: list[dict[str, Any]]) -> float:
    """−mean log-prob of the responses' tokens, from transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(model_path), AutoModelForCausalLM.from_pretrained(model_path)
    logps = []
    for row in rows:
        prompt = tokenizer(row["prompt"])["input_ids"]
        end = [] if row.get("stop_reason") == "length" else [tokenizer.eos_token_id]
        response = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + end
        with torch.no_grad():
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        logps.append(logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]))
    return -torch.cat(logps).mean().item()


def test_one_phase_moves_the_checkpoint_as_its_report_says(command, tmp_path: Path):
    out = tmp_path / "after"
    demos = write(tmp_path / "demos.jsonl", READABLE)
    code, printed, err = command(
        "irl", "countdown-0.4m", "--demos", demos, "--learning-rate", "1e-3", "--steps", "3", "--out", str(out)
    )
    assert code == 0, err
    record = json.loads((out / "irl_report.json").read_text())
    report = record["report"]
    assert report["num_updates"] == 3
    assert report["nll_before"] == pytest.approx(nll(embedded_model_path(), READABLE), rel=1e-4)
    assert report["nll_after"] == pytest.approx(nll(out, READABLE), rel=1e-4)
    assert report["nll_after"] < report["nll_before"]
    # AdamW's first step moves a weight by the learning rate where its gradient is far above epsilon.
    assert report["share_moved"] > 0.5
    assert report["kl_moved"] > 1e-6
    assert record["num_demonstrations"] == 3
    most = record["watched"]["max_tokens"]
    assert record["watched"] == {"from": demos, "num_prompts": 3, "max_tokens": most, "stop": [], "end_tokens": []}
    assert [update["irl_update"] for update in record["updates"]] == [1, 2, 3]
    assert record["versions"]["torch"] == torch.__version__
    assert "NLL of the demonstrations" in printed
    assert "DID NOTHING" not in err


def test_the_same_command_gives_the_same_weights(command, tmp_path: Path):
    demos = write(tmp_path / "demos.jsonl", READABLE)
    for name in ("a", "b"):
        flags = ["--steps", "2", "--batch-size", "2", "--kl-guard", "0.1", "--aggregation", "token_mean"]
        assert command("irl", "countdown-0.4m", "--demos", demos, *flags, "--out", str(tmp_path / name))[0] == 0
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_phase_that_did_nothing_says_so(command, tmp_path: Path):
    demos = write(tmp_path / "demos.jsonl", READABLE)
    code, _, err = command(
        "irl", "countdown-0.4m", "--demos", demos, "--learning-rate", "1e-13", "--out", str(tmp_path / "after")
    )
    assert code == 0
    assert "DID NOTHING" in err
    assert "raise learning_rate" in err


@pytest.mark.parametrize(("budget", "spent"), [("1e-7", True), ("1000", False)])
def test_a_budget_ends_the_phase_or_is_said_to_be_unspent(command, tmp_path: Path, budget: str, spent: bool):
    demos, held_out = write(tmp_path / "d.jsonl", READABLE), write(tmp_path / "h.jsonl", [DEMOS[2]])
    out = tmp_path / "after"
    code, printed, err = command(
        "irl", "countdown-0.4m", "--demos", demos, "--held-out", held_out, "--kl-budget", budget, "--steps", "5",
        "--learning-rate", "1e-4", "--out", str(out),
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((out / "irl_report.json").read_text())
    assert record["report"]["num_updates"] == (1 if spent else 5)
    assert (record["updates"][-1]["kl_moved"] >= float(budget)) is spent
    assert ("without spending kl_budget 1000" in err) is not spent
    assert record["watched"]["from"] == held_out
    assert "held-out" in printed


def test_weights_are_saved_in_the_dtype_asked_for(command, tmp_path: Path):
    demos = write(tmp_path / "demos.jsonl", READABLE[:1])
    out = tmp_path / "after"
    flags = ["--steps", "1", "--dtype", "bfloat16", "--passes", "1", "--max-tokens", "8"]
    assert command("irl", "countdown-0.4m", "--demos", demos, *flags, "--out", str(out))[0] == 0
    assert AutoModelForCausalLM.from_pretrained(out, dtype="auto").dtype is torch.bfloat16


LONG = "1 + 1 = 2, " * 40


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([DEMOS[1]], [], ["demos.jsonl: 1 of 1", "line 1", "no token"]),
        ([DEMOS[0], {"prompt": "Make 1 from 1."}], [], ["line 2", "'completion'"]),
        ([DEMOS[0] | {"completion": LONG}], [], ["line 1", "context of 128"]),
        ([{"messages": [{"role": "assistant", "content": "1"}]}], [], ["line 1", "chat template"]),
        ([DEMOS[3] | {"completion": ""}], [], ["line 1", "empty"]),
        ([], [], ["no demonstrations"]),
        (READABLE, ["--learning-rate", "0"], ["learning_rate", "0"]),
        (READABLE, ["--aggregation", "sum"], ["aggregation", "sum", "token_mean"]),
        (READABLE, ["--dtype", "int8"], ["dtype", "int8"]),
        (READABLE, ["--max-tokens", "500"], ["max_tokens is 500", "context"]),
        (READABLE, ["--held-out", "/none.jsonl"], ["/none.jsonl", "no such file"]),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    command, tmp_path: Path, rows: list[dict[str, Any]], options: list[str], words: list[str]
):
    out = tmp_path / "after"
    demos = write(tmp_path / "demos.jsonl", rows)
    code, _, err = command("irl", "countdown-0.4m", "--demos", demos, *options, "--out", str(out))
    assert code == 2, err
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [tmp_path / "demos.jsonl"]


BAD = [DEMOS[1], DEMOS[0], DEMOS[1] | {"prompt": "1?"}, DEMOS[0] | {"completion": LONG}, {"prompt": "1"}]


def test_every_line_that_cannot_be_learned_from_is_counted_and_can_be_left_out(command, tmp_path: Path):
    out, demos = tmp_path / "after", write(tmp_path / "demos.jsonl", BAD)
    asked = ("irl", "countdown-0.4m", "--demos", demos, "--steps", "1", "--out", str(out))
    code, _, err = command(*asked)
    assert code == 2
    assert "4 of 5 demonstrations cannot be learned from (line 1, line 3: it holds text that the model's" in err
    assert "line 4: prompt and response have more tokens than the model's context of 128" in err
    assert "line 5: no field 'completion'" in err
    assert "--skip-bad" in err
    assert "prompt_tokens" in err
    assert not out.exists()
    code, _, err = command(*asked, "--skip-bad")
    assert code == 0, err
    assert "left out: 4 of 5 demonstrations" in err
    record = json.loads((out / "irl_report.json").read_text())
    assert (record["num_demonstrations"], record["num_skipped"]) == (1, 4)


def ids_of(row: dict[str, Any]) -> dict[str, list[int]]:
    """The ids that a model might have drawn this text in: a token where the tokenizer would take two, say."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    response = [*tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {"prompt_tokens": tokenizer(row["prompt"])["input_ids"], "tokens": response}


def test_token_ids_are_trained_as_they_are(tmp_path: Path):
    """Also where encoding the text gives others: the unknown token is drawn, and reads as nothing."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    with_ids = {**DEMOS[0], **ids_of(DEMOS[0])}
    odd = {"prompt": "Make 48 from 2 3 6 14.", "prompt_tokens": [1, 2], "tokens": [3, tokenizer.unk_token_id]}
    bare = {"prompt_ids": [4], "completion_ids": [5, 6]}
    counts = {**DEMOS[2], "prompt_tokens": 12, "tokens": 30}  # others keep numbers of tokens under these names
    demos = write(tmp_path / "d.jsonl", [with_ids, odd, bare, counts])
    found = read_demonstrations(demos, tokenizer, context=128, vocabulary=len(tokenizer))
    assert [one.tokens.tolist() for one in found.read] == [
        with_ids["tokens"],
        odd["tokens"],
        [5, 6],
        ids_of(DEMOS[2])["tokens"],
    ]
    assert [one.prompt_tokens.tolist() for one in found.read[:3]] == [with_ids["prompt_tokens"], [1, 2], [4]]
    assert found.num_by_ids == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens": [7, 8, 9]}, ["line 1", "read something else than its text", "--from-text"]),
        ({"tokens": [10**6]}, ["line 1", "another model's", "--from-text"]),
        ({"prompt_tokens": [10**6]}, ["line 1", "another model's"]),
        ({"tokens": []}, ["line 1", "the response is empty"]),
        ({"tokens": [1, "2"]}, ["line 1", "'tokens'", "whole numbers"]),
        ({"tokens": [-1]}, ["line 1", "'tokens'", "from 0 on"]),
    ],
)
def test_ids_that_cannot_be_this_models_are_refused(command, tmp_path: Path, change: dict[str, Any], words: list[str]):
    demos = write(tmp_path / "demos.jsonl", [{**DEMOS[0], **ids_of(DEMOS[0]), **change}])
    asked = ("irl", "countdown-0.4m", "--demos", demos, "--steps", "1", "--out", str(tmp_path / "after"))
    code, _, err = command(*asked)
    assert code == 2
    for word in words:
        assert word in err
    assert command(*asked, "--from-text")[0] == 0


def test_no_model_and_an_out_that_exists(command, tmp_path: Path):
    demos = write(tmp_path / "demos.jsonl", READABLE)
    code, _, err = command("irl", str(tmp_path / "none"), "--demos", demos, "--out", str(tmp_path / "after"))
    assert code == 2
    assert "Hugging Face" in err
    code, _, err = command("irl", "countdown-0.4m", "--demos", demos, "--out", str(tmp_path))
    assert code == 2
    assert "exists already" in err


def test_a_response_ends_with_the_end_token_unless_it_was_cut_off(tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    demos = write(tmp_path / "d.jsonl", READABLE)
    whole, _, cut = read_demonstrations(demos, tokenizer, context=128, vocabulary=len(tokenizer)).read
    assert whole.tokens[-1] == tokenizer.eos_token_id
    assert cut.tokens[-1] != tokenizer.eos_token_id
    assert whole.prompt_tokens.tolist() == tokenizer("Make 48 from 2 3 6 14.")["input_ids"]


R1 = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
"""The template of R1 and its distillations opens the response itself."""


def test_what_a_template_opens_the_response_with_is_not_said_twice(tmp_path: Path):
    tokenizer = byte_tokenizer(R1)
    asked = {"role": "user", "content": "1 + 1?"}
    said = ["<think>\nTwo.</think> 2", "Two.</think> 2", " <think>\n\nTwo.</think> 2"]
    rows = [{"messages": [asked, {"role": "assistant", "content": text}]} for text in said]
    read = read_demonstrations(
        write(tmp_path / "d.jsonl", rows), tokenizer, context=128, vocabulary=BYTE_VOCABULARY
    ).read
    texts = [tokenizer.decode(np.concatenate([each.prompt_tokens, each.tokens])) for each in read]
    assert texts[0] == texts[1] == "<|user|>1 + 1?<|assistant|><think>\nTwo.</think> 2<eos>"
    assert texts[2] == "<|user|>1 + 1?<|assistant|><think>\n\nTwo.</think> 2<eos>"


@pytest.mark.parametrize(
    ("prompt", "response", "rest"),
    [
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n4", "4"),
        ("[THINK]", "[THINK]x[/THINK]4", "x[/THINK]4"),
        ("<|im_start|>assistant\n", "assistant professors", "assistant professors"),
        ("Q: 1 + 1 =", "= 2", "= 2"),
        ("", "<think>4", "<think>4"),
    ],
)
def test_only_a_mark_at_the_end_of_the_prompt_is_an_opening(prompt: str, response: str, rest: str):
    assert without_opening(prompt, response) == rest


def test_a_token_of_another_model_is_named(tmp_path: Path):
    where = write(tmp_path / "d.jsonl", [{"prompt": "1", "completion": "y"}])
    largest = max(byte_tokenizer()("y")["input_ids"])
    with pytest.raises(UserError, match=f"line 1: the tokenizer's id {largest} is in it, .* knows 0 to {largest - 1}"):
        read_demonstrations(where, byte_tokenizer(), context=None, vocabulary=largest)


def test_watched_prompts_are_different_and_spread_over_the_file():
    prompts = [np.array([number // 2]) for number in range(10)]
    # Five different prompts, 0 to 4; two of them spread evenly are places 0 and 2.
    assert [int(prompt[0]) for prompt in distinct(prompts, 2)] == [0, 2]
    assert [int(prompt[0]) for prompt in distinct(prompts, 9)] == [0, 1, 2, 3, 4]
