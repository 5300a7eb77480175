"""verl's own configuration, in an environment of its own, takes the command lines of recipes, and its own SFT data set
reads demonstrations; no training of it is run.

`make test-verl` makes the environment; UNSQUEEZE_VERL names its `python`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

import unsqueeze as uq
from trainers.chat_model import problems, save_chat_model
from trainers.commands import paper_recipes, parsed

PYTHON = os.environ.get("UNSQUEEZE_VERL", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="UNSQUEEZE_VERL names no python; `make test-verl` makes one.")


def test_its_configuration_takes_every_constant_of_the_paper_recipes():
    recipes = paper_recipes()
    for recipe, found in zip(recipes, parsed(PYTHON, "verl", recipes), strict=True):
        rl, surrogate = recipe.rl, recipe.rl.surrogate
        actor = {name.removeprefix("actor_rollout_ref.actor."): value for name, value in found.items()}
        assert found["data.train_batch_size"] == rl.prompts_per_step * rl.steps_per_generation
        assert actor["ppo_mini_batch_size"] == rl.prompts_per_step
        assert found["actor_rollout_ref.rollout.n"] == rl.group_size
        assert found["trainer.total_training_steps"] * rl.steps_per_generation >= rl.steps
        assert (actor["optim.lr"], actor["optim.weight_decay"]) == (rl.learning_rate, rl.weight_decay)
        assert actor["optim.betas"] == f"[{rl.betas[0]}, {rl.betas[1]}]"
        assert (actor["clip_ratio_low"], actor["clip_ratio_high"]) == (surrogate.clip_low, surrogate.clip_high)
        assert actor["policy_loss.loss_mode"] == {"token": "vanilla", "sequence": "gspo"}[surrogate.ratio]
        mean = {"sequence_mean": "seq-mean-token-mean", "token_mean": "token-mean"}[surrogate.aggregation]
        assert actor["loss_agg_mode"] == mean
        assert found["data.max_response_length"] == recipe.rollout.max_tokens
        assert found["algorithm.adv_estimator"] == "grpo"


def test_its_sft_data_set_learns_the_responses_of_demonstrations_alone(tmp_path: Path) -> None:
    save_chat_model(tmp_path / "model")
    responses = ("2 * 3 = 6, 6 + 1 = 7", "3 * 4 = 12, 12 + 2 = 14")
    prompts = problems(0, 2)
    rollouts = [
        {"prompt": [{"role": "user", "content": text}], "completion": said, "reward": 1.0, "mean_logp": -1.0}
        for text, said in zip(prompts, responses, strict=True)
    ]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rollouts))
    uq.select(tmp_path / "rollouts.jsonl", out=tmp_path / "demos.parquet")
    done = subprocess.run(
        [PYTHON, str(Path(__file__).with_name("verl_sft_rows.py")), "model", "demos.parquet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {row["learned"]: row["text"] for row in json.loads(done.stdout.splitlines()[-1])}
    for prompt, response in zip(prompts, responses, strict=True):
        (learned,) = [each for each in found if response in each]
        assert learned.replace("<eos>", "").strip() == response
        assert learned.endswith("<eos>")
        assert prompt in found[learned]
