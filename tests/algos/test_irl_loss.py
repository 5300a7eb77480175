"""The IRL loss: cross-entropy on demonstrations, by hand and by its properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strategies import NAN, Tokens, splits, token_batches
from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.irl import nll_loss
from unsqueeze.algos.objectives import clipped_surrogate_loss
from unsqueeze.algos.surrogate import Surrogate

AGGREGATIONS = ["sequence_mean", "token_mean"]


def weights_of(batch: Tokens, aggregation: str) -> Tensor:
    return token_weights(
        batch.lengths_N,
        aggregation,
        num_rollouts=len(batch.mask_NT),
        num_tokens=int(batch.lengths_N.sum()),
        max_tokens=batch.max_tokens,
    )


def test_by_hand() -> None:
    # Responses with probabilities (1/2, 1/4) and (1/8): per-token NLL (ln 2, 2 ln 2) and (3 ln 2).
    #   sequence_mean: ((ln 2 + 2 ln 2) / 2 + 3 ln 2) / 2 = 2.25 ln 2     token_mean: 6 ln 2 / 3 = 2 ln 2
    logp = torch.tensor([[0.5, 0.25], [0.125, 1.0]], dtype=torch.float64).log()
    mask = torch.tensor([[True, True], [True, False]])
    lengths = torch.tensor([2, 1])
    for aggregation, expected in (("sequence_mean", 2.25), ("token_mean", 2.0)):
        weights_N = token_weights(lengths, aggregation, num_rollouts=2, num_tokens=3, max_tokens=2)
        output = nll_loss(logp, mask, weights_N)
        assert output.loss.item() == pytest.approx(expected * math.log(2), rel=1e-6)
        assert output.metrics["nll"].item() == pytest.approx(output.loss.item())
        assert output.weight.item() == pytest.approx(1.0)


def test_minimising_it_raises_the_likelihood() -> None:
    # The sign: Eq. 4 as printed, minimised, would push the policy away from its rollouts.
    logits = torch.zeros(1, 3, requires_grad=True)
    demonstration = torch.tensor([[2]])

    def logp() -> Tensor:
        return logits.log_softmax(dim=-1).gather(1, demonstration)

    before = logp().item()
    nll_loss(logp(), torch.ones(1, 1, dtype=torch.bool), torch.ones(1)).loss.backward()
    assert logits.grad is not None
    logits.data -= 0.1 * logits.grad
    assert logp().item() > before


@given(batch=token_batches(), aggregation=st.sampled_from(AGGREGATIONS), data=st.data())
def test_parts_add_up_to_the_whole(batch: Tokens, aggregation: str, data: st.DataObject) -> None:
    weights_N = weights_of(batch, aggregation)
    leaf = batch.logp_policy_NT.clone().requires_grad_()
    whole = nll_loss(leaf, batch.mask_NT, weights_N).loss
    (whole_gradient,) = torch.autograd.grad(whole, leaf)
    parts = [
        nll_loss(leaf[part], batch.mask_NT[part], weights_N[part]).loss for part in data.draw(splits(len(weights_N)))
    ]
    (gradient,) = torch.autograd.grad(torch.stack(parts).sum(), leaf)
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-6, atol=0)


@given(batch=token_batches(), aggregation=st.sampled_from(AGGREGATIONS))
def test_padding_may_hold_anything(batch: Tokens, aggregation: str) -> None:
    weights_N = weights_of(batch, aggregation)
    clean = nll_loss(batch.logp_policy_NT, batch.mask_NT, weights_N).loss
    junk = batch.logp_policy_NT.masked_fill(~batch.mask_NT, float("-inf")).requires_grad_()
    loss = nll_loss(junk, batch.mask_NT, weights_N).loss
    (gradient,) = torch.autograd.grad(loss, junk)
    torch.testing.assert_close(loss, clean)
    assert gradient.isfinite().all()


@given(batch=token_batches(), aggregation=st.sampled_from(AGGREGATIONS))
def test_gradient_is_that_of_the_on_policy_surrogate_with_advantage_one(batch: Tokens, aggregation: str) -> None:
    # One trainer, two producers: IRL on a fresh policy is RL in which every demonstration has advantage 1.
    weights_N = weights_of(batch, aggregation)
    leaf = batch.logp_policy_NT.clone().requires_grad_()
    (by_irl,) = torch.autograd.grad(nll_loss(leaf, batch.mask_NT, weights_N).loss, leaf)
    by_rl = clipped_surrogate_loss(
        leaf, leaf.detach(), torch.ones_like(batch.advantages_N), batch.mask_NT, weights_N, Surrogate()
    )
    (expected,) = torch.autograd.grad(by_rl.loss, leaf)
    torch.testing.assert_close(by_irl, expected, rtol=1e-6, atol=0)


# --- the guard ---------------------------------------------------------------------------------------------------


def test_guard_by_hand() -> None:
    # One token, twice as likely as at the start: d = ln 2, k3 = 2 − ln 2 − 1 = 1 − ln 2. The NLL of probability 1/2 is
    # ln 2; with λ = 3 the loss is ln 2 + 3 (1 − ln 2). Its gradient in log π is −1 + 3 (2 − 1) = 2: back to the start.
    leaf = torch.tensor([[0.5]], dtype=torch.float64).log().requires_grad_()
    start = torch.tensor([[0.25]], dtype=torch.float64).log()
    output = nll_loss(
        leaf,
        torch.ones(1, 1, dtype=torch.bool),
        torch.ones(1, dtype=torch.float64),
        logp_start_NT=start,
        kl_guard=3.0,
    )
    output.loss.backward()
    assert output.loss.item() == pytest.approx(math.log(2) + 3 * (1 - math.log(2)))
    assert output.metrics["kl_start"].item() == pytest.approx(1 - math.log(2))
    assert leaf.grad is not None
    assert leaf.grad.item() == pytest.approx(2.0)


@given(batch=token_batches(), aggregation=st.sampled_from(AGGREGATIONS), kl_guard=st.floats(0.01, 10))
def test_guard_has_no_gradient_where_nothing_moved(batch: Tokens, aggregation: str, kl_guard: float) -> None:
    weights_N = weights_of(batch, aggregation)
    leaf = batch.logp_policy_NT.clone().requires_grad_()
    (plain,) = torch.autograd.grad(nll_loss(leaf, batch.mask_NT, weights_N).loss, leaf)
    guarded = nll_loss(
        leaf, batch.mask_NT, weights_N, logp_start_NT=leaf.detach().masked_fill(~batch.mask_NT, NAN), kl_guard=kl_guard
    )
    (gradient,) = torch.autograd.grad(guarded.loss, leaf)
    torch.testing.assert_close(gradient, plain)
    assert guarded.metrics["kl_start"].item() == 0


def test_a_guard_without_its_start_is_refused() -> None:
    with pytest.raises(ValueError, match="logp_start_NT is missing"):
        nll_loss(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.ones(1), kl_guard=1.0)
