"""The clipped surrogate: values and gradients by hand, reductions to what is known, invariances."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strategies import Tokens, make_tokens, splits, surrogates, token_batches
from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.objectives import LossOutput, clipped_surrogate_loss
from unsqueeze.algos.surrogate import ALGORITHMS, Surrogate


def weights_of(batch: Tokens, settings: Surrogate) -> Tensor:
    return token_weights(
        batch.lengths_N,
        settings.aggregation,
        num_rollouts=len(batch.mask_NT),
        num_tokens=int(batch.lengths_N.sum()),
        max_tokens=batch.max_tokens,
    )


def surrogate(batch: Tokens, settings: Surrogate, weights_N: Tensor | None = None) -> LossOutput:
    return clipped_surrogate_loss(
        batch.logp_policy_NT,
        batch.logp_proximal_NT,
        batch.advantages_N,
        batch.mask_NT,
        weights_of(batch, settings) if weights_N is None else weights_N,
        settings,
        logp_ref_NT=batch.logp_ref_NT,
        entropy_NT=batch.entropy_NT,
    )


def value_and_gradient(batch: Tokens, settings: Surrogate, weights_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The loss and its gradient in logp_policy_NT."""
    leaf = batch.logp_policy_NT.clone().requires_grad_()
    loss = surrogate(replace(batch, logp_policy_NT=leaf), settings, weights_N).loss
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


def ratios(rows: list[list[float]], advantages: list[float], **changes: Tensor) -> Tokens:
    """A batch in which the policy is exp(ratio) away from a behaviour log-prob of −1, token by token."""
    log_ratio = torch.tensor(rows, dtype=torch.float64).log()
    behaviour = torch.full_like(log_ratio, -1.0)
    batch = Tokens(
        logp_policy_NT=behaviour + log_ratio,
        logp_proximal_NT=behaviour,
        logp_ref_NT=behaviour + log_ratio,
        entropy_NT=torch.zeros_like(log_ratio),
        advantages_N=torch.tensor(advantages, dtype=torch.float64),
        mask_NT=torch.ones_like(log_ratio, dtype=torch.bool),
        max_tokens=log_ratio.shape[1],
    )
    return replace(batch, **changes)


# --- by hand -----------------------------------------------------------------------------------------------------


def test_clip_on_both_sides_by_hand() -> None:
    # Token ratios, clip range [0.8, 1.28], one response a row, mean over the 6 tokens:
    #   A = +2: 0.5 → min(1, 1.6) = 1        (below the range, but raising it helps: not clipped)
    #           1.0 → 2
    #           1.5 → min(3, 2.56) = 2.56    (clipped above)
    #   A = −1: 0.5 → min(−0.5, −0.8) = −0.8 (clipped below)
    #           1.0 → −1
    #           1.5 → min(−1.5, −1.28) = −1.5
    # objective = (1 + 2 + 2.56 − 0.8 − 1 − 1.5) / 6 = 2.26 / 6; the loss is its negative.
    batch = ratios([[0.5, 1.0, 1.5], [0.5, 1.0, 1.5]], [2.0, -1.0])
    settings = Surrogate(aggregation="token_mean", clip_low=0.2, clip_high=0.28)
    loss, gradient = value_and_gradient(batch, settings)
    assert loss.item() == pytest.approx(-2.26 / 6, rel=1e-6)
    # d(r·A)/d logp = r·A where the unclipped term is the smaller, 0 where the clipped one is; the loss negates it.
    expected = -torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, -1.5]], dtype=torch.float64) / 6
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)
    # One token in six is clipped at each side.
    metrics = surrogate(batch, settings).metrics
    assert metrics["clip_high_share"].item() == pytest.approx(1 / 6, rel=1e-6)
    assert metrics["clip_low_share"].item() == pytest.approx(1 / 6, rel=1e-6)
    assert metrics["ratio_mean"].item() == pytest.approx(1.0, rel=1e-6)


def test_sequence_ratio_by_hand() -> None:
    # Ratios 4 and 1: s = exp((ln 4 + ln 1) / 2) = sqrt(4) = 2 (Eq. 29), the same for both tokens. A = 1, clip at 3:
    # nothing is clipped, objective = 2 · (2 / 2 tokens) = 2.
    batch = ratios([[4.0, 1.0]], [1.0])
    loss, gradient = value_and_gradient(batch, Surrogate(ratio="sequence", clip_high=2.0))
    assert loss.item() == pytest.approx(-2.0, rel=1e-6)
    # ds / d logp_t = s / |y|, so every token has gradient −s·A / |y| = −1.
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, -1.0]], dtype=torch.float64), rtol=1e-6, atol=0)
    # Clipped at 1.5 as a whole, though the second token's own ratio is 1.
    loss, gradient = value_and_gradient(batch, Surrogate(ratio="sequence", clip_high=0.5))
    assert loss.item() == pytest.approx(-1.5, rel=1e-6)
    assert not gradient.any()


def test_kl_term_by_hand() -> None:
    # Reference twice as likely as the policy, gap ln 2: k3 = 2 − ln 2 − 1 = 1 − ln 2 = 0.30685 nats. Ratio 1, A = 0.
    batch = ratios([[1.0]], [0.0])
    batch = replace(batch, logp_ref_NT=batch.logp_policy_NT + math.log(2))
    settings = Surrogate(kl_coefficient=0.5)
    loss, gradient = value_and_gradient(batch, settings)
    assert loss.item() == pytest.approx(0.5 * (1 - math.log(2)), rel=1e-6)
    assert surrogate(batch, settings).metrics["kl_ref"].item() == pytest.approx(1 - math.log(2), rel=1e-6)
    # d k3 / d logp_policy = 1 − exp(gap) = −1: the loss falls as the policy moves towards the reference.
    assert gradient.item() == pytest.approx(-0.5, rel=1e-6)


def test_entropy_bonus_lowers_the_loss_by_its_mean() -> None:
    # Two responses of one token with entropies 1 and 3: the mean is 2, a tenth of it is 0.2. Ratio 1 and A = 0.
    batch = ratios([[1.0], [1.0]], [0.0, 0.0], entropy_NT=torch.tensor([[1.0], [3.0]], dtype=torch.float64))
    assert surrogate(batch, Surrogate(entropy_coefficient=0.1)).loss.item() == pytest.approx(-0.2, rel=1e-6)


def test_three_ways_to_aggregate_by_hand() -> None:
    # Ratio 1, A = 1 on one token and A = 4 on three, at most 5 tokens.
    #   sequence_mean: (1 + 4) / 2 = 2.5     token_mean: (1 + 3·4) / 4 = 3.25     constant: (1 + 3·4) / (2·5) = 1.3
    batch = ratios([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [1.0, 4.0])
    batch = replace(batch, mask_NT=torch.tensor([[True, False, False], [True, True, True]]), max_tokens=5)
    for aggregation, expected in (("sequence_mean", 2.5), ("token_mean", 3.25), ("constant", 1.3)):
        loss = surrogate(batch, Surrogate(aggregation=aggregation)).loss
        assert loss.item() == pytest.approx(-expected, rel=1e-6)


def test_missing_tensors_are_named() -> None:
    batch = ratios([[1.0]], [1.0])
    parts = (batch.logp_policy_NT, batch.logp_proximal_NT, batch.advantages_N, batch.mask_NT, torch.ones(1))
    with pytest.raises(ValueError, match="logp_ref_NT is missing"):
        clipped_surrogate_loss(*parts, Surrogate(kl_coefficient=0.1))
    with pytest.raises(ValueError, match="entropy_NT is missing"):
        clipped_surrogate_loss(*parts, Surrogate(entropy_coefficient=0.1))


# --- the named settings ------------------------------------------------------------------------------------------


def test_registry_holds_the_settings_of_the_methods() -> None:
    assert ALGORITHMS["grpo"] == Surrogate(
        ratio="token", aggregation="sequence_mean", clip_low=0.2, clip_high=0.2, advantage_scale="sample_std"
    )
    assert ALGORITHMS["dapo"] == replace(ALGORITHMS["grpo"], aggregation="token_mean", clip_high=0.28)
    assert ALGORITHMS["gspo"] == replace(ALGORITHMS["grpo"], ratio="sequence", clip_low=3e-4, clip_high=4e-4)
    assert ALGORITHMS["dr_grpo"] == replace(ALGORITHMS["grpo"], aggregation="constant", advantage_scale="none")


@pytest.mark.parametrize(
    "wrong", [{"clip_low": 1.5}, {"clip_high": -0.1}, {"kl_coefficient": -1.0}, {"entropy_coefficient": -1.0}]
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Surrogate(**wrong)


# --- reductions --------------------------------------------------------------------------------------------------


@given(batch=token_batches())
def test_dapo_with_equal_clips_and_sequence_mean_is_grpo(batch: Tokens) -> None:
    reduced = replace(ALGORITHMS["dapo"], clip_high=ALGORITHMS["dapo"].clip_low, aggregation="sequence_mean")
    torch.testing.assert_close(
        value_and_gradient(batch, reduced), value_and_gradient(batch, ALGORITHMS["grpo"]), rtol=0, atol=0
    )


@given(length=st.integers(1, 7), num=st.integers(1, 5), seed=st.integers(0, 2**31 - 1))
def test_token_mean_is_sequence_mean_for_responses_of_one_length(length: int, num: int, seed: int) -> None:
    batch = make_tokens([length] * num, seed, max_tokens=length)
    by_sequence, by_token, constant = (
        value_and_gradient(batch, Surrogate(aggregation=aggregation))
        for aggregation in ("sequence_mean", "token_mean", "constant")
    )
    torch.testing.assert_close(by_token, by_sequence)
    torch.testing.assert_close(constant, by_sequence)


@given(num=st.integers(1, 6), seed=st.integers(0, 2**31 - 1), settings=surrogates)
def test_sequence_ratio_is_token_ratio_for_responses_of_one_token(num: int, seed: int, settings: Surrogate) -> None:
    batch = make_tokens([1] * num, seed, max_tokens=1)
    torch.testing.assert_close(
        value_and_gradient(batch, replace(settings, ratio="sequence")),
        value_and_gradient(batch, replace(settings, ratio="token")),
    )


@given(batch=token_batches(), settings=surrogates)
def test_on_policy_gradient_is_that_of_reinforce(batch: Tokens, settings: Surrogate) -> None:
    # At ratio 1 the gradient of every variant is −w_i A_i for each token: REINFORCE with the group mean as baseline.
    # (With a clip of width zero the two branches of min tie at ratio 1 and autograd halves the gradient.)
    settings = replace(settings, kl_coefficient=0.0, entropy_coefficient=0.0, clip_low=0.2, clip_high=0.2)
    batch = replace(batch, logp_proximal_NT=batch.logp_policy_NT)
    weights_N = weights_of(batch, settings)
    _, gradient = value_and_gradient(batch, settings)
    expected = -(weights_N * batch.advantages_N)[:, None] * batch.mask_NT
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-12)


@given(batch=token_batches(), settings=surrogates)
def test_at_the_reference_the_kl_term_has_neither_value_nor_gradient(batch: Tokens, settings: Surrogate) -> None:
    batch = replace(batch, logp_ref_NT=batch.logp_policy_NT)
    torch.testing.assert_close(
        value_and_gradient(batch, replace(settings, kl_coefficient=1.0)),
        value_and_gradient(batch, replace(settings, kl_coefficient=0.0)),
    )


# --- invariances -------------------------------------------------------------------------------------------------


@given(batch=token_batches(), settings=surrogates, data=st.data())
def test_parts_add_up_to_the_whole(batch: Tokens, settings: Surrogate, data: st.DataObject) -> None:
    weights_N = weights_of(batch, settings)
    whole_loss, whole_gradient = value_and_gradient(batch, settings, weights_N)
    whole = surrogate(batch, settings, weights_N)
    loss = torch.zeros((), dtype=torch.float64)
    weight = torch.zeros((), dtype=torch.float64)
    gradient = torch.zeros_like(whole_gradient)
    metrics = dict.fromkeys(whole.metrics, 0.0)
    for part in data.draw(splits(len(weights_N))):
        part_loss, part_gradient = value_and_gradient(batch.rows(part), settings, weights_N[part])
        loss += part_loss
        gradient[part] = part_gradient
        output = surrogate(batch.rows(part), settings, weights_N[part])
        weight += output.weight
        for key, value in output.metrics.items():
            metrics[key] += value.item()
    torch.testing.assert_close(loss, whole_loss, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradient, whole_gradient, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(weight, whole.weight, rtol=1e-6, atol=0)
    assert metrics == pytest.approx({key: value.item() for key, value in whole.metrics.items()}, rel=1e-6, abs=1e-9)


@given(batch=token_batches(), settings=surrogates, junk=st.sampled_from([0.0, -3.0, float("-inf"), float("nan")]))
def test_masking_equals_removing(batch: Tokens, settings: Surrogate, junk: float) -> None:
    # Each response alone, cut to its own length, against the padded batch with anything at all as padding.
    weights_N = weights_of(batch, settings)
    padding = ~batch.mask_NT
    padded = replace(
        batch,
        logp_policy_NT=batch.logp_policy_NT.masked_fill(padding, junk),
        logp_proximal_NT=batch.logp_proximal_NT.masked_fill(padding, junk),
        logp_ref_NT=batch.logp_ref_NT.masked_fill(padding, junk),
        entropy_NT=batch.entropy_NT.masked_fill(padding, junk),
    )
    loss, gradient = value_and_gradient(padded, settings, weights_N)
    assert not gradient[padding].any()
    total = torch.zeros((), dtype=torch.float64)
    for i, length in enumerate(batch.lengths_N.tolist()):
        if length == 0:
            continue
        row = batch.rows([i])
        alone = Tokens(
            logp_policy_NT=row.logp_policy_NT[:, :length],
            logp_proximal_NT=row.logp_proximal_NT[:, :length],
            logp_ref_NT=row.logp_ref_NT[:, :length],
            entropy_NT=row.entropy_NT[:, :length],
            advantages_N=row.advantages_N,
            mask_NT=row.mask_NT[:, :length],
            max_tokens=batch.max_tokens,
        )
        row_loss, row_gradient = value_and_gradient(alone, settings, weights_N[[i]])
        total += row_loss
        torch.testing.assert_close(gradient[i, :length], row_gradient[0])
    torch.testing.assert_close(loss, total)


@given(batch=token_batches(), settings=surrogates)
def test_gradient_flows_through_policy_and_entropy_only(batch: Tokens, settings: Surrogate) -> None:
    settings = replace(settings, kl_coefficient=1.0, entropy_coefficient=0.1)
    leaves = {
        name: getattr(batch, name).clone().requires_grad_()
        for name in ("logp_policy_NT", "logp_proximal_NT", "logp_ref_NT", "entropy_NT", "advantages_N")
    }
    surrogate(replace(batch, **leaves), settings).loss.backward()
    assert {name for name, leaf in leaves.items() if leaf.grad is not None} == {"logp_policy_NT", "entropy_NT"}


@given(batch=token_batches(), settings=surrogates)
def test_metrics_are_means_over_tokens_once_divided_by_the_weight(batch: Tokens, settings: Surrogate) -> None:
    output = surrogate(batch, settings)
    means = {key: value / output.weight for key, value in output.metrics.items()}
    assert 0 <= means["clip_low_share"] <= 1 + 1e-6
    assert 0 <= means["clip_high_share"] <= 1 + 1e-6
    assert means["kl_ref"] >= -1e-12
    on_policy = replace(batch, logp_proximal_NT=batch.logp_policy_NT)
    output = surrogate(on_policy, settings)
    torch.testing.assert_close((output.metrics["ratio_mean"] / output.weight).item(), 1.0, rtol=1e-6, atol=0)


def test_an_overflowing_ratio_is_not_hidden() -> None:
    # exp(1000) overflows even in fp64: with A < 0 the objective is −inf, and so is nobody's mean.
    batch = ratios([[1.0]], [-1.0])
    batch = replace(batch, logp_policy_NT=batch.logp_policy_NT + 1000.0)
    assert surrogate(batch, Surrogate()).loss.item() == float("inf")
