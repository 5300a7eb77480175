"""The gap between sampler and trainer, and truncated importance sampling, by hand and against the plain surrogate."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from small_runs import random_recipe, run_to_end, weights, without_timings
from unsqueeze.algos.mismatch import mismatch, outside_clip_share, truncated_importance
from unsqueeze.algos.objectives import clipped_surrogate_loss
from unsqueeze.algos.surrogate import ALGORITHMS
from unsqueeze.errors import RunError
from unsqueeze.rollout.hf import HfEngine

POLICY = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.8)], [math.log(0.2), math.log(0.9), math.nan]])
SAMPLER = torch.tensor([[math.log(0.4), math.log(0.1), math.log(0.8)], [math.log(0.4), math.log(0.9), math.nan]])
MASK = torch.tensor([[True, True, True], [True, True, False]])


def test_token_weights_are_ratios_cut_at_the_cap() -> None:
    weights_NT = truncated_importance(POLICY, SAMPLER, MASK, level="token", cap=2.0)
    # 0.5/0.4, 0.3/0.1 cut at 2, 1; 0.2/0.4, 1, and 1 on padding, whatever stands there.
    torch.testing.assert_close(weights_NT, torch.tensor([[1.25, 2.0, 1.0], [0.5, 1.0, 1.0]]))


def test_a_sequence_weight_is_the_product_of_its_ratios_for_every_token_of_it() -> None:
    weights_NT = truncated_importance(POLICY, SAMPLER, MASK, level="sequence", cap=3.0)
    # 1.25 · 3 · 1 = 3.75, cut at 3; 0.5 · 1 = 0.5.
    torch.testing.assert_close(weights_NT, torch.tensor([[3.0, 3.0, 3.0], [0.5, 0.5, 1.0]]))


def test_no_correction_and_a_cap_below_one() -> None:
    assert (truncated_importance(POLICY, SAMPLER, MASK, level="none", cap=2.0) == 1).all()
    with pytest.raises(ValueError, match=r"cap is 0\.5"):
        truncated_importance(POLICY, SAMPLER, MASK, level="token", cap=0.5)


def test_the_gap_by_hand() -> None:
    found = mismatch(torch.tensor([math.log(0.5), math.log(0.1)]), torch.tensor([math.log(0.4), math.log(0.2)]))
    # d = ln 1.25 and ln 0.5; k3 = r − 1 − ln r.
    assert found.abs_mean == pytest.approx((math.log(1.25) + math.log(2)) / 2, rel=1e-6)
    assert found.abs_max == pytest.approx(math.log(2), rel=1e-6)
    assert found.ratio_mean == pytest.approx((1.25 + 0.5) / 2, rel=1e-6)
    assert found.kl == pytest.approx((0.25 - math.log(1.25) + (-0.5 - math.log(0.5))) / 2, rel=1e-5)


def test_without_tokens_nothing_is_known_of_the_mismatch() -> None:
    found = mismatch(torch.empty(0), torch.empty(0))
    assert all(map(math.isnan, (found.abs_mean, found.abs_max, found.kl, found.ratio_mean)))


@given(st.integers(0, 2**31), st.sampled_from(["token", "sequence"]), st.sampled_from(sorted(ALGORITHMS)))
def test_equal_logprobs_change_no_bit_of_the_loss_or_its_gradient(seed: int, level: str, algorithm: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    behaviour_NT = -torch.rand((3, 5), generator=generator) * 4
    mask_NT = torch.arange(5) < torch.tensor([[5], [2], [4]])
    advantages_N, weights_N = torch.randn(3, generator=generator), torch.rand(3, generator=generator)
    results = []
    for level_or_none in (None, level):
        policy_NT = (behaviour_NT + 0.1).requires_grad_()
        importance_NT = None
        if level_or_none is not None:
            importance_NT = truncated_importance(
                behaviour_NT, behaviour_NT.clone(), mask_NT, level=level_or_none, cap=2.0
            )
        output = clipped_surrogate_loss(
            policy_NT,
            behaviour_NT,
            advantages_N,
            mask_NT,
            weights_N,
            ALGORITHMS[algorithm],
            importance_NT=importance_NT,
        )
        output.loss.backward()
        results.append((output.loss.detach(), policy_NT.grad))
    (plain_loss, plain_grad), (loss, grad) = results
    assert torch.equal(plain_loss, loss)
    assert torch.equal(plain_grad, grad)


def test_importance_multiplies_the_surrogate_and_not_the_kl_term() -> None:
    # One token, ratio 1, advantage 2, importance 1.5: 1.5 · 2; k3 at ref − policy = ln 2 is 1 − ln 2, with β = 0.1.
    logp = torch.tensor([[-1.0]])
    output = clipped_surrogate_loss(
        logp,
        logp,
        torch.tensor([2.0]),
        torch.tensor([[True]]),
        torch.tensor([1.0]),
        type(ALGORITHMS["grpo"])(kl_coefficient=0.1),
        logp_ref_NT=logp + math.log(2),
        importance_NT=torch.tensor([[1.5]]),
    )
    assert output.loss.item() == pytest.approx(-(1.5 * 2 - 0.1 * (1 - math.log(2))), rel=1e-6)


def test_share_outside_the_clip_range_is_of_tokens_or_of_responses() -> None:
    # Clips 0.2: of e^0.5, e^-0.5, e^0.1 | e^-0.1, e^0.1 two are outside; sequence ratios are e^(1/30) and 1.
    gaps = [np.array([0.5, -0.5, 0.1]), np.array([-0.1, 0.1])]
    assert outside_clip_share(gaps, ALGORITHMS["grpo"]) == 2 / 5
    assert outside_clip_share(gaps, ALGORITHMS["gspo"]) == 1 / 2
    # e^0.22 = 1.246 is inside of DAPO's upper clip at 1.28 alone.
    assert [outside_clip_share([np.array([0.22])], ALGORITHMS[name]) for name in ("grpo", "dapo")] == [1.0, 0.0]


@pytest.mark.parametrize("name", ["grpo", "gspo"])
def test_without_tokens_no_share_is_outside(name: str) -> None:
    assert math.isnan(outside_clip_share([], ALGORITHMS[name]))
    assert math.isnan(outside_clip_share([np.empty(0)], ALGORITHMS[name]))


def test_an_engine_that_lags_behind_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfEngine, "sync", lambda self, policy: setattr(self, "policy_version", 7))
    with pytest.raises(RunError, match="sampled from version 7 of the policy, and the trainer is at 0"):
        run_to_end(random_recipe(rl={"steps": 1}, irl=None, evaluation={"n": 1}), tmp_path / "run")
    assert not list((tmp_path / "run" / "rollouts").glob("*.parquet"))


@pytest.mark.usefixtures("judged_by_hash")
def test_off_is_the_run_without_it(tmp_path: Path) -> None:
    fields = {"rl": {"steps": 2}, "irl": None, "evaluation": {"n": 1}, "checkpoint": {"every_steps": None}}
    plain, _ = run_to_end(random_recipe(**fields), tmp_path / "plain")
    capped, _ = run_to_end(random_recipe(**fields | {"rl": {"steps": 2, "sampler_cap": 5.0}}), tmp_path / "capped")
    assert without_timings(plain.directory.metrics.read()) == without_timings(capped.directory.metrics.read())
    assert all(torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(capped).values(), strict=True))
    assert "sampler_gap" not in plain.directory.metrics.read()[0]
