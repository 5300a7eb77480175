"""The loss of ``rl.dph``: values and gradient by hand, and the divergence that it estimates."""

import pytest
import torch

from unsqueeze.algos.base_kl import base_kl_loss


def test_the_loss_by_hand() -> None:
    # d = ln 2 and −ln 2 of two tokens, weight 1/2: k3 = 2 − ln 2 − 1 and 1/2 + ln 2 − 1, half their sum 1/4, η = 3.
    logp = torch.log(torch.tensor([[0.5, 0.25, 1.0]], dtype=torch.float64)).requires_grad_()
    base = torch.log(torch.tensor([[0.25, 0.5, 0.1]], dtype=torch.float64))
    mask = torch.tensor([[True, True, False]])
    output = base_kl_loss(logp, base, mask, torch.tensor([0.5], dtype=torch.float64), coefficient=3.0)
    assert output.loss.item() == pytest.approx(3 * 0.25)
    assert output.metrics["kl_base"].item() == pytest.approx(0.25)
    assert output.weight.item() == 1.0
    output.loss.backward()
    # d k3/d log π = exp(d) − 1: 1 and −1/2. What has become less likely than it was is pulled up.
    assert logp.grad is not None
    assert logp.grad[0].tolist() == pytest.approx([1.5, -0.75, 0.0])


def test_its_mean_over_the_base_is_the_forward_divergence() -> None:
    # One token, drawn from the base: Σ_v π_base(v) k3(v) = KL(π_base ‖ π), weights being π_base.
    base, policy = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.7, 0.2, 0.1]).double()
    mask = torch.ones(3, 1, dtype=torch.bool)
    output = base_kl_loss(policy.log()[:, None], base.log()[:, None], mask, base, coefficient=1.0)
    assert output.loss.item() == pytest.approx((base * (base / policy).log()).sum().item())
