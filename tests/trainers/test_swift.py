"""The real ms-swift, by files and checkpoints: the loop of TRL's test, and its fine-tuning on our demonstrations."""

import json
from pathlib import Path

import pytest
import torch

import unsqueeze as uq
from trainers.chat_model import problems
from trainers.commands import check_hf_trainer, paper_recipes, parsed
from trainers.swift_commands import NONE, PYTHON, SWIFT, grpo, save_model_and_data, swift

pytestmark = [pytest.mark.swift, pytest.mark.skipif(not SWIFT, reason=NONE)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    save_model_and_data(folder)
    return folder


def prompts_by_step(out: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]
    return {line["step"][0]: line["prompt"][0] for line in lines}


def test_the_whole_loop(model: Path, tmp_path: Path):
    out = tmp_path / "swift"
    swift("rlhf", **grpo(model, out))
    middle, demos = out / "checkpoint-2", tmp_path / "demos.jsonl"
    selected = uq.select(out, model=middle, out=demos)
    reading = selected.reading
    # Five log calls of 8 in four steps: the last batch comes twice.
    assert (reading.format, reading.num_rows, reading.num_distinct, reading.num_expected) == ("swift", 40, 32, 32)
    result = uq.irl(None, demos, into=middle, out=tmp_path / "irl" / "checkpoint-2", learning_rate=1e-4)
    chosen = list(selected)
    tokens = sum(demo["num_tokens"] for demo in chosen)
    nll = -sum(demo["num_tokens"] * demo["mean_logp"] for demo in chosen) / tokens
    assert result.report.nll_before == pytest.approx(nll, abs=1e-4)
    assert result.report.nll_after < result.report.nll_before
    swift("rlhf", **grpo(model, tmp_path / "irl", resume_from_checkpoint=tmp_path / "irl" / "checkpoint-2"))
    state = torch.load(tmp_path / "irl" / "checkpoint-4" / "optimizer.pt", weights_only=True)["state"]
    assert {float(each["step"]) for each in state.values()} == {4.0}
    before, after = prompts_by_step(out), prompts_by_step(tmp_path / "irl")
    assert after == {step: before[step] for step in ("3", "4")}


def test_its_fine_tuning_begins_at_the_likelihood_of_the_selection(model: Path, tmp_path: Path):
    lines = [
        {"prompt": [{"role": "user", "content": text}], "completion": "2 * 3 = 6", "reward": 0.0, "mean_logp": -1.0}
        for text in problems(0, 4)
    ]
    rollouts, demos = tmp_path / "rollouts.jsonl", tmp_path / "demos.jsonl"
    rollouts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    selected = list(uq.select(rollouts, model=model, k=1, out=demos))
    swift(
        "sft", model=model, dataset=demos, output_dir=tmp_path / "sft", per_device_train_batch_size=4, max_steps=1,
        gradient_accumulation_steps=1, logging_steps=1, save_strategy="no", learning_rate=1e-5,
    )  # fmt: skip
    first = json.loads((tmp_path / "sft" / "logging.jsonl").read_text().splitlines()[0])
    tokens = sum(demo["num_tokens"] for demo in selected)
    nll = -sum(demo["num_tokens"] * demo["mean_logp"] for demo in selected) / tokens
    assert first["loss"] == pytest.approx(nll, abs=1e-3)


def test_its_parser_takes_every_constant_of_the_paper_recipes():
    recipes = paper_recipes()
    for recipe, found in zip(recipes, parsed(PYTHON, "swift", recipes), strict=True):
        check_hf_trainer(recipe, found)
        assert (found["model"], found["torch_dtype"], found["tuner_type"]) == (recipe.model.path, "float32", "full")
        assert (found["rlhf_type"], found["top_k"], found["warmup_ratio"]) == ("grpo", -1, 0)
        dynamic, overlong = recipe.rl.dynamic_sampling, recipe.rl.overlong
        assert found["dynamic_sample"] is (dynamic is not None)
        assert dynamic is None or found["max_resample_times"] == dynamic.max_resample_times
        assert found["soft_cache_length"] == (None if overlong is None else overlong.soft_cache_length)
        assert found["reward_funcs"] == ["accuracy"] + ([] if overlong is None else ["soft_overlong"])
