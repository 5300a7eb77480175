"""verl's own configuration, in an environment of its own, takes the command lines of recipes; nothing of it is run.

`make test-verl` makes the environment; UNSQUEEZE_VERL names its `python`.
"""

import os

import pytest

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
