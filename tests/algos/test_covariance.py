"""Clip-Cov and KL-Cov: which tokens, by hand; and the loss that holds them back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import make_tokens
from unsqueeze.algos.covariance import clip_cov, covariances, kl_cov, number_of
from unsqueeze.algos.objectives import clipped_surrogate_loss
from unsqueeze.algos.surrogate import Surrogate

ALL = np.ones(6, dtype=bool)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_covariances_by_hand() -> None:
    # Means: A 1, log π −2. (3 − 1)(−1 + 2) = 2, (−1 − 1)(−3 + 2) = 2, (1 − 1)(−2 + 2) = 0.
    cov_M = covariances(np.array([3.0, -1.0, 1.0]), np.array([-1.0, -3.0, -2.0]))
    assert cov_M.tolist() == [2.0, 2.0, 0.0]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-20, 0)), min_size=1, max_size=20))
def test_their_mean_is_the_covariance(pairs: list[tuple[float, float]]) -> None:
    advantages_M, logp_M = np.array(pairs).T
    cov_M = covariances(advantages_M, logp_M)
    assert cov_M.mean() == pytest.approx(np.cov(advantages_M, logp_M, bias=True)[0, 1], abs=1e-9)


def test_clip_cov_draws_from_the_unclipped_between_the_bounds() -> None:
    cov_M = np.array([0.5, 2.0, 3.0, 4.0, 6.0, 1.0])
    every = clip_cov(cov_M, ALL, share=1.0, low=1.0, high=5.0, rng=rng())
    assert every.tolist() == [False, True, True, True, False, False]
    without = clip_cov(cov_M, ~every | (cov_M == 3.0), share=1.0, low=1.0, high=5.0, rng=rng())
    assert without.tolist() == [False, False, True, False, False, False]
    assert not clip_cov(cov_M, ALL, share=1.0, low=10.0, high=11.0, rng=rng()).any()


def test_clip_cov_draws_each_of_them_as_often() -> None:
    cov_M, generator = np.array([0.5, 2.0, 3.0, 4.0, 6.0, 1.0]), rng()
    drawn = [clip_cov(cov_M, ALL, share=1e-4, low=1.0, high=5.0, rng=generator) for _ in range(3000)]
    assert all(chosen.sum() == 1 for chosen in drawn)
    # 3000 draws of one of three: 1000 each, standard deviation 26.
    assert np.sum(drawn, axis=0) == pytest.approx([0, 1000, 1000, 1000, 0, 0], abs=130)


def test_kl_cov_takes_the_largest_and_of_equals_the_first() -> None:
    cov_M = np.array([1.0, 4.0, 2.0, 4.0, -9.0, 4.0])
    assert kl_cov(cov_M, share=0.34).tolist() == [False, True, False, True, False, False]
    assert kl_cov(cov_M, share=1e-4).tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("share", "num", "chosen"), [(2e-4, 100, 1), (2e-4, 10_000, 2), (0.29, 100, 29), (1.0, 7, 7), (0.5, 5, 2)]
)
def test_how_many_are_chosen(share: float, num: int, chosen: int) -> None:
    assert number_of(share, num) == chosen


def test_the_cost_of_distance_by_hand() -> None:
    # Two tokens, log-ratios ln 2 and −ln 4, A = 1, weight 1/2, no clip: −(2 + 1/4)/2; the second costs κ·ln 4 = 3·ln 4.
    logp = torch.log(torch.tensor([[0.5, 0.1]], dtype=torch.float64)).requires_grad_()
    proximal = torch.log(torch.tensor([[0.25, 0.4]], dtype=torch.float64))
    output = clipped_surrogate_loss(
        logp,
        proximal,
        torch.ones(1, dtype=torch.float64),
        torch.ones(1, 2, dtype=torch.bool),
        torch.full((1,), 0.5, dtype=torch.float64),
        Surrogate(clip_low=1.0, clip_high=float("inf")),
        distance_cost_NT=torch.tensor([[0.0, 3.0]], dtype=torch.float64),
    )
    assert output.loss.item() == pytest.approx(-(2 + 0.25) / 2 + 0.5 * 3 * np.log(4))
    output.loss.backward()
    # d/dlog π: −r·A/2, and −3/2 where the token has become less likely: a step down on the loss makes it likelier.
    assert logp.grad is not None
    assert logp.grad[0].tolist() == pytest.approx([-1.0, -0.125 - 1.5])


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_on_policy_the_cost_has_no_gradient_and_without_it_nothing_changes(ratio: str) -> None:
    batch = make_tokens([3, 0, 5], seed=1, max_tokens=5)
    logp = batch.logp_policy_NT.requires_grad_()
    gradients = []
    for cost_NT in (None, torch.zeros_like(logp), torch.ones_like(logp)):
        output = clipped_surrogate_loss(
            logp,
            logp.detach(),
            batch.advantages_N,
            batch.mask_NT,
            torch.ones(3, dtype=torch.float64),
            Surrogate(ratio=ratio),
            distance_cost_NT=cost_NT,
        )
        gradients.append(torch.autograd.grad(output.loss, logp)[0])
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_the_distance_is_of_tokens_whatever_the_ratio() -> None:
    # Log-ratios 1 and −1: their sequence ratio is 1, and yet either token is one nat away.
    logp = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
    output = clipped_surrogate_loss(
        logp,
        torch.tensor([[-2.0, -1.0]], dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
        torch.ones(1, 2, dtype=torch.bool),
        torch.ones(1, dtype=torch.float64),
        Surrogate(ratio="sequence"),
        distance_cost_NT=torch.ones(1, 2, dtype=torch.float64),
    )
    assert output.loss.item() == pytest.approx(2.0)
