"""The real ms-swift, in an environment of its own: the loop of TRL's test, and its fine-tuning on our demonstrations.

`make test-swift` makes the environment; UNSQUEEZE_SWIFT names its `swift`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

import unsqueeze as uq
from trainers.chat_model import problems, save_chat_model
from trainers.commands import check_hf_trainer, paper_recipes, parsed

SWIFT = os.environ.get("UNSQUEEZE_SWIFT", "")
pytestmark = [
    pytest.mark.swift,
    pytest.mark.skipif(not SWIFT, reason="UNSQUEEZE_SWIFT names no swift; `make test-swift` makes an environment."),
]
HERE = Path(__file__).parent
LOADING = {
    "model_type": "llama", "template": "dummy", "tuner_type": "full", "torch_dtype": "float32", "fp16": "false",
    "bf16": "false", "add_version": "false", "report_to": "none", "dataset_num_proc": "1",
    "dataloader_num_workers": "0", "split_dataset_ratio": "0",
}  # fmt: skip
"""A local folder on a CPU."""


def swift(command: str, **settings: object) -> None:
    arguments = [part for name, value in (LOADING | settings).items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [SWIFT, command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def grpo(model: Path, out: Path, **more: object) -> None:
    swift(
        "rlhf", rlhf_type="grpo", model=model, dataset=model / "train.jsonl", output_dir=out, use_vllm="false",
        external_plugins=HERE / "swift_reward.py", reward_funcs="target", log_completions="true", temperature=1.0,
        per_device_train_batch_size=8, num_generations=4, max_completion_length=24, max_steps=4, save_steps=2,
        logging_steps=1, learning_rate=1e-4, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    save_chat_model(folder)
    lines = [{"messages": [{"role": "user", "content": text}], "solution": text.split()[1]} for text in problems(0, 64)]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def prompts_by_step(out: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]
    return {line["step"][0]: line["prompt"][0] for line in lines}


def test_the_whole_loop(model: Path, tmp_path: Path):
    out = tmp_path / "swift"
    grpo(model, out)
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
    grpo(model, tmp_path / "irl", resume_from_checkpoint=tmp_path / "irl" / "checkpoint-2")
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
    python = str(Path(SWIFT).with_name("python"))
    for recipe, found in zip(recipes, parsed(python, "swift", recipes), strict=True):
        check_hf_trainer(recipe, found)
        assert (found["model"], found["torch_dtype"], found["tuner_type"]) == (recipe.model.path, "float32", "full")
        assert (found["rlhf_type"], found["top_k"], found["warmup_ratio"]) == ("grpo", -1, 0)
        dynamic, overlong = recipe.rl.dynamic_sampling, recipe.rl.overlong
        assert found["dynamic_sample"] is (dynamic is not None)
        assert dynamic is None or found["max_resample_times"] == dynamic.max_resample_times
        assert found["soft_cache_length"] == (None if overlong is None else overlong.soft_cache_length)
        assert found["reward_funcs"] == ["accuracy"] + ([] if overlong is None else ["soft_overlong"])
