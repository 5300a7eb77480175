"""The real TRL: its own files read, selected from, an IRL phase inside its checkpoint, and TRL gone on from that."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unsqueeze as uq
from trainers.chat_model import problems, save_chat_model
from trainers.commands import check_hf_trainer, paper_recipes, parsed

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def run(script: str, *arguments: object) -> None:
    """TRL in a process of its own: it sets what is global, and warns."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    save_chat_model(folder)
    return folder


def adam_steps(checkpoint: Path) -> set[float]:
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return {float(each["step"]) for each in state.values()}


def prompts_of(out: Path, step: int) -> set[str]:
    import pyarrow.parquet as pq

    rows = pq.read_table(out / "completions" / f"completions_{step:05d}.parquet").to_pylist()
    return {row["prompt"][-1]["content"] for row in rows}


def nll_of(demos: Any) -> float:
    """The mean over all tokens, as a phase reports it."""
    tokens, logp = (np.array([demo[name] for demo in demos]) for name in ("num_tokens", "mean_logp"))
    return -float((tokens * logp).sum() / tokens.sum())


def test_the_whole_loop(model: Path, tmp_path: Path):
    out = tmp_path / "trl"
    run("trl_run.py", out, model)
    middle = out / "checkpoint-2"
    demos = tmp_path / "demos.jsonl"
    selected = uq.select(out, model=middle, max_length=24, out=demos)
    reading = selected.reading
    assert (reading.format, reading.num_rows, reading.num_distinct, reading.num_expected) == ("trl", 32, 32, 32)
    result = uq.irl(None, demos, into=middle, out=tmp_path / "irl" / "checkpoint-2", learning_rate=1e-4)
    assert result.report.nll_before == pytest.approx(nll_of(list(selected)), abs=1e-4)
    assert result.report.nll_after < result.report.nll_before
    run("trl_run.py", tmp_path / "irl", model, "--resume", tmp_path / "irl" / "checkpoint-2")
    # The count of Adam's steps and the order of the data go on: the prompts of step 3 are those of the run itself.
    assert adam_steps(tmp_path / "irl" / "checkpoint-4") == {4.0}
    assert not (tmp_path / "irl" / "completions" / "completions_00001.parquet").exists()
    assert prompts_of(tmp_path / "irl", 3) == prompts_of(out, 3) != prompts_of(out, 1)


def test_rows_of_an_evaluation_are_told_by_its_prompts(model: Path, tmp_path: Path):
    out, questions = tmp_path / "trl", tmp_path / "eval.jsonl"
    run("trl_run.py", out, model, "--eval", 8)
    lines = [{"prompt": [{"role": "user", "content": text}]} for text in problems(1000, 8)]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    selected = uq.select(out, model=model, max_length=24, exclude_prompts=questions)
    # Evaluations of steps 2 and 4 wrote over the training rows, in the files and in the buffer: a half is lost.
    # (Two samples of one prompt may be equal in both; the second is then taken for a repetition.)
    reading = selected.reading
    assert (reading.num_rows, reading.num_repeated + reading.num_evaluation, reading.num_rollouts) == (32, 16, 16)


def test_a_generation_of_four_steps_is_written_four_times(model: Path, tmp_path: Path):
    config = {"steps_per_generation": 8, "gradient_accumulation_steps": 2, "max_steps": 8}
    run("trl_run.py", tmp_path, model, "--config", json.dumps(config))
    reading = uq.select(tmp_path, model=model, max_length=24).reading
    assert (reading.num_rows, reading.num_distinct) == (8 * 64, 2 * 64)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_its_fine_tuning_reads_demonstrations_with_the_loss_on_the_response_alone(
    suffix: str, model: Path, tmp_path: Path
):
    lines = [
        {"prompt": [{"role": "user", "content": text}], "completion": said, "reward": float(place), "mean_logp": -1.0}
        for place, (text, said) in enumerate(zip(problems(0, 2), ("2 * 3 = 6", "6 + 3 = 9"), strict=True))
    ]
    rollouts, demos = tmp_path / "rollouts.jsonl", tmp_path / f"demos{suffix}"
    rollouts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    uq.select(rollouts, out=demos)
    run("sft_labels.py", demos, model, tmp_path / "sft")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    for found, line in zip(json.loads((tmp_path / "sft" / "labels.json").read_text()), lines, strict=True):
        learned = [token for token, label in zip(found["tokens"], found["labels"], strict=True) if label != -100]
        response = tokenizer(line["completion"], add_special_tokens=False)["input_ids"]
        assert learned == [*response, tokenizer.eos_token_id]
        assert found["tokens"].count(tokenizer.bos_token_id) == 1


def test_its_parser_takes_every_constant_of_the_paper_recipes():
    recipes = paper_recipes()
    for recipe, found in zip(recipes, parsed(sys.executable, "trl", recipes), strict=True):
        check_hf_trainer(recipe, found)
        assert (found["model_name_or_path"], found["dtype"]) == (recipe.model.path, "float32")
        assert (found["top_k"], found["warmup_steps"]) == (recipe.rollout.top_k, 0)
        assert (found["use_vllm"], found["vllm_mode"]) == (True, "colocate")
        assert found["vllm_importance_sampling_mode"] == "token_truncate"
