"""What a phase did to the weights and to the policy, by hand."""

import math

import numpy as np
import pytest
import torch

from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.policy.policy import Policy
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.phase_start import snapshot, weight_change
from unsqueeze.training.probe import mean_k3

REPORT = {
    "phase": 1, "kind": "irl", "first_step": 1, "last_step": 50, "num_updates": 4, "seconds": 2.0,
    "share_of_rl_seconds": 0.03, "update_norm": 1e-3, "relative_update_norm": 1e-5, "share_moved": 0.9,
    "share_moved_bf16": 0.1, "nll_before": 0.5, "nll_after": 0.4, "kl_moved": 1e-3, "kl_rounding": 7e-4,
    "kl_sampler": 8e-4, "logp_rounding": 1e-4, "greedy_logp_before": -0.2, "greedy_logp_after": -0.3,
    "measuring_s": 0.1, "num_watched": 16,
}  # fmt: skip


def test_weight_change_by_hand():
    policy = Policy.load(ModelSettings())
    before = snapshot(policy)
    count = sum(value.numel() for value in before.values())
    unchanged = weight_change(policy, before)
    assert (unchanged.update_norm, unchanged.share_moved, unchanged.share_moved_bf16) == (0.0, 0.0, 0.0)

    name, parameter = next(policy.trainable())
    with torch.no_grad():
        parameter[0, 0] += 3.0
        parameter[0, 1] += 4.0
        # Half a unit in the last place of a bf16 number near 1 is 2^-9: 2^-12 moves fp32 and leaves bf16 as it is.
        parameter[0, 2], before[name][0, 2] = 1.0 + 2**-12, 1.0
    change = weight_change(policy, before)
    assert change.update_norm == pytest.approx(math.sqrt(3**2 + 4**2 + 2**-24), rel=1e-6)
    assert change.share_moved == 3 / count
    assert change.share_moved_bf16 == 2 / count


def test_k3_by_hand():
    # d = ln 2 for one token, 0 for the other: (2 − 1 − ln 2 + 0) / 2.
    before = np.array([-2.0, -1.0], dtype=np.float32)
    after = before + np.array([math.log(2), 0.0], dtype=np.float32)
    assert mean_k3(before, after) == pytest.approx((1 - math.log(2)) / 2, rel=1e-6)
    assert mean_k3(before, before) == 0.0


def test_k3_estimates_the_divergence():
    """Over samples of the policy before, its mean is KL(before ‖ after)."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    draws = np.random.default_rng(0).choice(3, size=200_000, p=p)
    estimate = mean_k3(np.log(p)[draws].astype(np.float32), np.log(q)[draws].astype(np.float32))
    assert estimate == pytest.approx(float((p * np.log(p / q)).sum()), rel=0.02)


def test_a_phase_that_did_something_does_not_warn():
    assert PhaseReport(**REPORT).warning() is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kl_moved": 1e-9}, ["DID NOTHING", "irl.learning_rate", "1.0e-09", "8.0e-04"]),
        ({"share_moved": 0.0, "kl_moved": 0.0}, ["DID NOTHING", "0.00%"]),
        ({"num_updates": 0, "share_moved": 0.0, "kl_moved": 0.0}, ["DID NOTHING", "no update"]),
    ],
)
def test_a_phase_that_did_nothing_warns(changes: dict, words: list[str]):
    warning = PhaseReport(**REPORT | changes).warning()
    assert warning is not None
    for word in words:
        assert word in warning


def test_report_survives_json():
    report = PhaseReport(**REPORT)
    assert PhaseReport.from_json_object(report.to_json_object()) == report
    assert report.to_json_object()["did_nothing"] is False
