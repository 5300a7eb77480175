"""The ratio's log-probs: before any weight has moved the ratio is 1, exactly, also where passes differ by rounding."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from small_runs import random_recipe, run_to_end
from unsqueeze.algos.mismatch import outside_clip_share
from unsqueeze.algos.surrogate import ALGORITHMS
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.progress import Silent
from unsqueeze.rollout.types import Rollout
from unsqueeze.training import sampler_gap
from unsqueeze.training.run import Run
from unsqueeze.training.sampler_gap import rounding_warning

pytestmark = pytest.mark.usefixtures("judged_by_hash")

STANDS_STILL = 1e-30
"""A learning rate at which no weight moves by a bit."""
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "micro-batches": {"rl": {"tokens_per_microbatch": 40}},
    "lora": {"model": {"lora": {"rank": 2}}},
    "recomputed": {"model": {"gradient_checkpointing": True}},
    "reference": {"rl": {"kl_coefficient": 0.01}},
    "dynamic sampling": {"rl": {"dynamic_sampling": {"max_resample_times": 1}}},
    "corrected by sequence": {"rl": {"sampler_correction": "sequence"}},
}


def bf16_run(folder: Path, rl: dict[str, Any], variant: dict[str, Any]) -> tuple[Run, list[dict[str, Any]]]:
    """A run of four steps that computes in bf16, and the metrics of its steps."""
    recipe = random_recipe(
        model={"compute_dtype": "bfloat16"} | variant.get("model", {}),
        rl={"steps": 4} | rl | variant.get("rl", {}),
        irl=variant.get("irl"),
        evaluation={"n": 1},
        checkpoint={"every_steps": None},
    )
    run, _ = run_to_end(recipe, folder / "run")
    lines = [line for line in run.directory.metrics.read() if line["kind"] == "rl"]
    assert all(line["updated"] for line in lines)
    return run, lines


def is_exactly_on_policy(line: dict[str, Any]) -> bool:
    return (line["ratio_mean"], line["clip_low_share"], line["clip_high_share"]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("algorithm", "variant"), [("grpo", "plain"), ("dapo", "plain"), *(("gspo", variant) for variant in VARIANTS)]
)
def test_no_ratio_is_clipped_in_bf16_before_weights_move(tmp_path: Path, algorithm: str, variant: str) -> None:
    """Neither in the first step of a generation nor, where no weight has moved, in the later ones."""
    rl = {"algorithm": algorithm, "steps_per_generation": 2, "learning_rate": STANDS_STILL}
    run, lines = bf16_run(tmp_path, rl, VARIANTS[variant])
    assert all(is_exactly_on_policy(line) for line in lines)
    # The ratio to what the sampler gave is not 1: rounding alone, which GSPO's clip range does not hold.
    assert all(1e-5 < line["sampler_gap"] < 0.1 for line in lines)
    assert all((line["sampler_outside_clip"] > 0) == (algorithm == "gspo") for line in lines)
    assert run.policy.version == 4


@pytest.mark.parametrize("steps_per_generation", [1, 2])
def test_the_first_step_of_a_generation_is_on_policy(tmp_path: Path, steps_per_generation: int) -> None:
    rl = {"algorithm": "gspo", "steps_per_generation": steps_per_generation, "learning_rate": 1e-2}
    _, lines = bf16_run(tmp_path, rl, {})
    assert [is_exactly_on_policy(line) for line in lines] == [i % steps_per_generation == 0 for i in range(4)]


def test_one_step_a_generation_needs_no_pass_of_its_own(tmp_path: Path) -> None:
    run, lines = bf16_run(tmp_path, {}, {})
    assert all(line["logp_s"] == 0 for line in lines)
    assert all(rollout.logp_proximal is None for rollout in rollouts(run, 1))


def test_the_gap_is_that_of_the_rows_that_were_trained_on(tmp_path: Path) -> None:
    """Of the second step, whose proximal log-probs are in the store; those of the first are the step's own."""
    run, lines = bf16_run(tmp_path, {"algorithm": "gspo", "steps_per_generation": 2}, {})
    scored = [rollout for rollout in rollouts(run, 1) if rollout.logp_proximal is not None]
    assert {rollout.group for rollout in scored} <= {4, 5, 6, 7}
    gaps = [gap(rollout) for rollout in scored]
    assert lines[1]["sampler_gap"] == pytest.approx(np.abs(np.concatenate(gaps)).mean(), rel=1e-9)
    assert lines[1]["sampler_outside_clip"] == outside_clip_share(gaps, ALGORITHMS["gspo"])


def test_who_clips_by_rounding_is_told() -> None:
    gspo = RlSettings(algorithm="gspo", steps_per_generation=4)
    assert "puts 89% of the ratios outside the clip range [1 − 0.0003, 1 + 0.0004]" in str(rounding_warning(0.89, gspo))
    assert rounding_warning(0.01, gspo) is None
    assert rounding_warning(math.nan, gspo) is None
    # With one step a generation every step is against its own log-probs.
    assert rounding_warning(0.89, RlSettings(algorithm="gspo")) is None


@pytest.mark.parametrize(("steps_per_generation", "told"), [(2, 2), (1, 0)])
def test_a_run_is_told_once_a_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_per_generation: int, told: int
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Silent, "warn", lambda self, text: said.append(text))
    monkeypatch.setattr(sampler_gap, "CLIPPED_BY_ROUNDING", -1.0)
    irl = {"every_steps": 2, "steps": 1, "k": 1, "batch_size": 4, "learning_rate": 1e-3}
    bf16_run(tmp_path, {"algorithm": "gspo", "steps_per_generation": steps_per_generation}, {"irl": irl})
    assert len([text for text in said if "rounding in bf16" in text]) == told


def rollouts(run: Run, step: int) -> list[Rollout]:
    return [rollout for group in run.directory.rollouts.read(step) for rollout in group.rollouts]


def gap(rollout: Rollout) -> NDArray[np.float64]:
    assert rollout.logp_proximal is not None
    return np.subtract(rollout.logp_proximal, rollout.completion.logp_behaviour, dtype=np.float64)


def test_in_fp32_the_trainer_scores_where_it_is_asked_to(tmp_path: Path) -> None:
    """Sampler and trainer are two pieces of code there, the same numbers up to rounding."""
    rl = {"steps": 4, "sampler_correction": "token", "steps_per_generation": 2}
    recipe = random_recipe(rl=rl, irl={"every_steps": 4}, evaluation={"n": 2}, checkpoint={"every_steps": None})
    run, _ = run_to_end(recipe, tmp_path / "run")
    lines = [line for line in run.directory.metrics.read() if line["kind"] == "rl"]
    assert all(line["sampler_gap"] < 1e-5 and line["sampler_truncated"] == 0 for line in lines)
    assert any(line["sampler_gap_max"] > 0 for line in lines)
    # The second step of a generation learns from what the policy gave before the first one.
    scored = [rollout for rollout in rollouts(run, 1) if rollout.logp_proximal is not None]
    assert scored
    assert all(np.abs(gap(rollout)).max() < 1e-5 and rollout.policy_version == 0 for rollout in scored)
