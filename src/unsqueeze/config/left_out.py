"""What an algorithm is known for beside its loss, and a recipe of its name leaves out.

A name stands for a setting of the surrogate alone: how it samples and shapes rewards costs time, or depends on the
lengths of the task, and stays what the recipe says. So the start of a run says what is not there, and what adds it.
"""

from unsqueeze.config.recipe import Recipe

OVERLONG_SHARE = 5
"""DAPO punishes from 16,384 of 20,480 tokens on: the last fifth (arXiv 2503.14476, §4.1)."""
GSPO_STEPS = 4
"""GSPO splits what it sampled into four mini-batches (arXiv 2507.18071, §5.1)."""


def left_out(recipe: Recipe) -> list[str]:
    """The parts of ``rl.algorithm`` that a recipe is without, each with the setting that adds it."""
    rl, lacking = recipe.rl, []
    if rl.algorithm == "dapo" and rl.dynamic_sampling is None:
        lacking.append("its dynamic sampling (rl.dynamic_sampling={} adds it)")
    if rl.algorithm == "dapo" and rl.overlong is None:
        cache = max(1, recipe.rollout.max_tokens // OVERLONG_SHARE)
        lacking.append(f"its punishment of overlong responses (rl.overlong.soft_cache_length={cache} adds it)")
    if rl.algorithm == "gspo" and rl.steps_per_generation == 1:
        lacking.append(
            "its several steps a generation, so that every ratio is 1 and nothing is clipped "
            f"(rl.steps_per_generation={GSPO_STEPS} adds them)"
        )
    found = [f"rl.algorithm is {rl.algorithm}, without {each}" for each in lacking]
    if rl.covariance is not None and rl.covariance.rule == "kl_cov" and rl.steps_per_generation == 1:
        found.append(
            "rl.covariance.rule is kl_cov, without several steps a generation, so that every ratio is 1 and no token "
            f"is held back (rl.steps_per_generation={GSPO_STEPS} adds them)"
        )
    return found
