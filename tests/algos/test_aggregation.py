"""Weights of tokens: by hand, and that parts of a batch weigh alone what they weigh in the whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from strategies import Tokens, splits, token_batches
from unsqueeze.algos.aggregation import token_weights

AGGREGATIONS = ["sequence_mean", "token_mean", "constant"]


def weights(lengths: list[int] | Tensor, aggregation: str, **denominators: int) -> Tensor:
    return token_weights(torch.as_tensor(lengths), aggregation, **denominators)


def doubles(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand() -> None:
    # Two responses of 2 and 4 tokens out of a batch of 4 responses and 20 tokens, at most 10 tokens each.
    batch = {"num_rollouts": 4, "num_tokens": 20, "max_tokens": 10}
    torch.testing.assert_close(weights([2, 4], "sequence_mean", **batch), doubles([1 / 8, 1 / 16]))
    torch.testing.assert_close(weights([2, 4], "token_mean", **batch), doubles([1 / 20, 1 / 20]))
    torch.testing.assert_close(weights([2, 4], "constant", **batch), doubles([1 / 40, 1 / 40]))


def test_an_empty_response_weighs_nothing_and_divides_nothing_by_zero() -> None:
    got = weights([0, 2], "sequence_mean", num_rollouts=2, num_tokens=2, max_tokens=4)
    assert got.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("broken", ["num_rollouts", "num_tokens", "max_tokens"])
def test_a_denominator_must_be_positive(broken: str) -> None:
    denominators = {"num_rollouts": 1, "num_tokens": 1, "max_tokens": 1} | {broken: 0}
    with pytest.raises(ValueError, match=f"{broken}=0"):
        weights([1], "token_mean", **denominators)


@given(batch=token_batches())
def test_means_weigh_one_in_all(batch: Tokens) -> None:
    lengths_N = batch.lengths_N
    filled = int((lengths_N > 0).sum())
    denominators = {"num_rollouts": filled, "num_tokens": int(lengths_N.sum()), "max_tokens": batch.max_tokens}
    for aggregation in ("sequence_mean", "token_mean"):
        total = (weights(lengths_N, aggregation, **denominators) * lengths_N).sum()
        assert total == pytest.approx(1.0, rel=1e-12)
    # Dr. GRPO's constant weighs one only if every response is as long as it may be.
    total = (weights(lengths_N, "constant", **denominators) * lengths_N).sum()
    assert total == pytest.approx(float(lengths_N.sum()) / (filled * batch.max_tokens))


@given(batch=token_batches(), aggregation=st.sampled_from(AGGREGATIONS), data=st.data())
def test_a_part_weighs_alone_what_it_weighs_in_the_whole(batch: Tokens, aggregation: str, data: st.DataObject) -> None:
    lengths_N = batch.lengths_N
    denominators = {
        "num_rollouts": len(lengths_N),
        "num_tokens": int(lengths_N.sum()),
        "max_tokens": batch.max_tokens,
    }
    whole = weights(lengths_N, aggregation, **denominators)
    for part in data.draw(splits(len(lengths_N))):
        assert weights(lengths_N[part], aggregation, **denominators).tolist() == whole[part].tolist()
