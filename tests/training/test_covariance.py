"""``rl.covariance`` in the loop: chosen once a batch, drawn from the run's seed, and the same after a stop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lives import differences, live, live_twice, tiny_recipe
from unsqueeze.config.left_out import left_out
from unsqueeze.config.load import check_recipe
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.errors import UserError
from unsqueeze.policy.batch import Row, collate
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.covariance import chosen_tokens, unclipped_tokens, with_rule

pytestmark = pytest.mark.usefixtures("judged_by_hash")

RULES: dict[str, dict[str, Any]] = {
    "clip_cov": {"rule": "clip_cov", "share": 0.1, "low": 0.0},
    "kl_cov": {"rule": "kl_cov", "share": 0.1},
}


def recipe_of(rule: str, **rl: Any) -> Any:
    rl = {"steps_per_generation": 2, "covariance": RULES[rule], **rl}
    return tiny_recipe(rl=rl, irl={"every_steps": 4}, checkpoint={"every_steps": 1})


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [record for record in RunDirectory.open(path).metrics.read() if record["kind"] == "rl"]


def row(num_tokens: int, advantage: float, **fields: Any) -> Row:
    tokens = np.arange(num_tokens, dtype=np.int32)
    return Row(prompt_tokens=np.zeros(1, np.int32), tokens=tokens, weight=1.0, advantage=advantage, **fields)


@pytest.mark.parametrize("rule", RULES)
def test_a_stopped_run_chooses_the_same_tokens(tmp_path: Path, rule: str) -> None:
    """Stopped inside a generation: the second step of two takes a pass of its own over the rows."""
    recipe = recipe_of(rule)
    live(recipe, tmp_path / "whole")
    live_twice(recipe, tmp_path / "run", 3)
    assert differences(tmp_path / "whole", tmp_path / "run") == []
    steps = [record for record in steps_of(tmp_path / "whole") if record["updated"]]
    assert all(record["num_held_back"] <= record["sampled_tokens"] // 10 for record in steps)
    # Generations are of steps 1 and 2, 3 and 4: the first step of each is that of the policy that sampled.
    held_back = {record["step"]: record["num_held_back"] > 0 for record in steps}
    assert held_back[3] == (rule == "clip_cov")
    assert held_back[4]


def test_kl_cov_is_grpo_with_one_step_a_generation_and_not_with_two(tmp_path: Path) -> None:
    """A ratio of 1 has neither clip nor distance."""
    losses = {}
    for name, rl in {
        "grpo": {},
        "kl_cov": {"covariance": RULES["kl_cov"]},
        "grpo of two": {"steps_per_generation": 2, "clip_high": 100.0, "clip_low": 1.0},
        "kl_cov of two": {"steps_per_generation": 2, "covariance": RULES["kl_cov"] | {"coefficient": 50.0}},
    }.items():
        live(tiny_recipe(rl=rl, irl={"every_steps": 4}), tmp_path / name)
        losses[name] = [record["grad_norm"] or 0.0 for record in steps_of(tmp_path / name)]
    assert losses["kl_cov"] == pytest.approx(losses["grpo"], rel=1e-4)
    assert 0 < losses["kl_cov of two"][2] == pytest.approx(losses["grpo of two"][2], rel=1e-5)
    assert losses["kl_cov of two"][3] != pytest.approx(losses["grpo of two"][3], rel=1e-2)


def test_clip_cov_draws_from_the_seed_it_is_given() -> None:
    rows = [row(50, 1.0), row(50, -1.0)]
    logp = [np.linspace(-5, 0, 50, dtype=np.float32)] * 2
    settings = RlSettings(covariance={"rule": "clip_cov", "share": 0.05, "low": 0.0})
    one, same, other = (chosen_tokens(rows, logp, settings, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert [chosen_T.tolist() for chosen_T in one] == [chosen_T.tolist() for chosen_T in same]
    assert [chosen_T.tolist() for chosen_T in one] != [chosen_T.tolist() for chosen_T in other]
    assert sum(chosen_T.sum() for chosen_T in one) == 5


def test_tokens_are_chosen_over_the_whole_batch() -> None:
    # Mean A 0, mean log π −2: covariances (1)(1), (1)(−1) of the first, (−1)(1), (−1)(−1) of the second.
    rows = [row(2, 1.0), row(2, -1.0)]
    logp = [np.array([-1.0, -3.0], np.float32)] * 2
    settings = RlSettings(covariance={"rule": "kl_cov", "share": 0.5})
    chosen = chosen_tokens(rows, logp, settings, np.random.default_rng(0))
    assert [chosen_T.tolist() for chosen_T in chosen] == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("advantage", "ratio", "unclipped"),
    # Ratios 2, 1 and 1/2 with clips at 0.8 and 1.2; the sequence ratio of all three is 1, that of the first two √2.
    [
        (1.0, "token", [False, True, True]),
        (-1.0, "token", [True, True, False]),
        (1.0, "sequence", [True, True, True]),
    ],
)
def test_what_the_clip_leaves(advantage: float, ratio: str, unclipped: list[bool]) -> None:
    logp = np.log(np.array([0.5, 0.5, 0.25], np.float32))
    proximal = np.log(np.array([0.25, 0.5, 0.5], np.float32))
    settings = RlSettings(ratio=ratio).surrogate
    assert unclipped_tokens(logp, proximal, np.full(3, advantage), settings).tolist() == unclipped
    assert unclipped_tokens(logp, None, np.full(3, advantage), settings).all()


def test_rows_are_held_back_token_by_token() -> None:
    chosen_T = np.array([True, False, True])
    clipped = with_rule(row(3, -2.0), chosen_T, RlSettings(covariance=RULES["clip_cov"]).covariance)
    assert clipped.advantage.tolist() == [0.0, -2.0, 0.0]
    held = with_rule(row(3, -2.0), chosen_T, RlSettings(covariance={"rule": "kl_cov", "coefficient": 3}).covariance)
    assert (held.advantage, held.distance_cost.tolist()) == (-2.0, [3.0, 0.0, 3.0])
    batch = collate([clipped, row(2, 1.0)], pad=0, device="cpu")
    assert batch.advantages.tolist() == [[0.0, -2.0, 0.0], [1.0, 1.0, 0.0]]
    assert batch.distance_cost_NT is None


@pytest.mark.parametrize(
    ("rl", "message"),
    [
        (
            {"covariance": {"rule": "kl_cov"}, "clip_high": 0.2},
            "which clips nothing, and rl.clip_high is given",
        ),
        ({"covariance": {"rule": "clip_cov", "low": 5, "high": 5}}, "low must be below high"),
        ({"covariance": {"rule": "cov"}}, "rl.covariance.rule"),
        ({"covariance": {}}, "rl.covariance.rule"),
    ],
)
def test_what_does_not_fit_is_refused(rl: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_recipe({"name": "x", "rl": rl}, "test")


def test_kl_cov_clips_nothing_and_one_step_a_generation_is_warned_of() -> None:
    surrogate = RlSettings(algorithm="dapo", covariance={"rule": "kl_cov"}).surrogate
    assert (surrogate.clip_low, surrogate.clip_high, surrogate.aggregation) == (1.0, float("inf"), "token_mean")
    [said] = left_out(tiny_recipe(rl={"covariance": {"rule": "kl_cov"}}))
    assert "every ratio is 1" in said
    assert left_out(recipe_of("kl_cov")) == left_out(tiny_recipe(rl={"covariance": {"rule": "clip_cov"}})) == []
