"""Rows to tensors: what stands where, and that micro-batches change nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unsqueeze.algos.irl import nll_loss
from unsqueeze.policy.batch import Row, TokenBatch, collate, microbatches

CPU = torch.device("cpu")
VOCABULARY = 7


def row(prompt: list[int], response: list[int], weight: float = 1.0, **columns: object) -> Row:
    return Row(
        prompt_tokens=np.array(prompt, dtype=np.int32),
        tokens=np.array(response, dtype=np.int32),
        weight=weight,
        **columns,
    )


tokens = st.integers(0, VOCABULARY - 1)
rows = st.lists(
    st.builds(
        row,
        st.lists(tokens, min_size=1, max_size=5),
        st.lists(tokens, min_size=1, max_size=5),
        st.floats(0, 1, width=32),
    ),
    min_size=1,
    max_size=8,
)


few_prompts = st.lists(
    st.builds(row, st.sampled_from([[1] * 9, [2] * 6, [3]]), st.lists(tokens, min_size=1, max_size=9), st.just(1.0)),
    min_size=1,
    max_size=16,
)


def causal_logprobs(batch: TokenBatch) -> Tensor:
    """A toy causal model: the hidden state is the running sum of embeddings, and its log-softmax is gathered."""
    embedding = torch.linspace(-1, 1, VOCABULARY * VOCABULARY, dtype=torch.float64).view(VOCABULARY, VOCABULARY).sin()
    hidden_NSV = nn.functional.embedding(batch.tokens_NS, embedding).cumsum(dim=1)
    hidden_MV = hidden_NSV.flatten(0, 1).index_select(0, batch.sources)
    targets_M = batch.responses_NT.flatten().index_select(0, batch.places)
    logp_M = hidden_MV.log_softmax(dim=-1).gather(1, targets_M[:, None]).squeeze(1)
    return logp_M.new_zeros(batch.mask_NT.numel()).index_copy(0, batch.places, logp_M).view(batch.mask_NT.shape)


def test_what_stands_where_by_hand() -> None:
    # Prompts of 2 and 1 tokens, responses of 1 and 3: S = 3 without the last token, T = 3, padding 9.
    batch = collate(
        [
            row([1, 2], [3], 0.5, advantage=2.0, logp_proximal=np.array([-0.5], dtype=np.float32)),
            row([4], [5, 6, 0], 0.25, logp_proximal=np.array([-1, -2, -3], dtype=np.float32)),
        ],
        pad=9,
        device=CPU,
    )
    assert batch.tokens_NS.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert batch.responses_NT.tolist() == [[3, 9, 9], [5, 6, 0]]
    assert batch.mask_NT.tolist() == [[True, False, False], [True, True, True]]
    # Token 3 is predicted from position 1 of row 0; tokens 5, 6, 0 from positions 0, 1, 2 of row 1, which is 3..5.
    assert batch.sources.tolist() == [1, 3, 4, 5]
    assert batch.places.tolist() == [0, 3, 4, 5]
    assert batch.weights_N.tolist() == [0.5, 0.25]
    assert batch.advantages.tolist() == [2.0, 0.0]
    assert batch.logp_proximal_NT is not None
    assert batch.logp_proximal_NT.tolist() == [[-0.5, 0.0, 0.0], [-1.0, -2.0, -3.0]]
    assert batch.logp_ref_NT is None


def test_an_empty_response_leaves_its_prompt_to_be_read() -> None:
    batch = collate([row([1, 2, 3], []), row([4], [5])], pad=9, device=CPU)
    assert batch.tokens_NS.tolist() == [[1, 2], [4, 5]]
    assert batch.sources.tolist() == [2]
    assert collate([row([7], [])], pad=9, device=CPU).tokens_NS.tolist() == [[7]]


def test_log_probs_on_some_rows_only_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="some rows carry log-probs"):
        collate([row([1], [2], logp_ref=np.zeros(1, dtype=np.float32)), row([1], [2])], pad=0, device=CPU)


def test_microbatches_by_hand() -> None:
    # Lengths 3, 5, 2, 5, at most 10 tokens: the two of 5 together (10), then 3 and 2 padded to 3 (6).
    lengths = [row([1], [1] * (length - 1)) for length in (3, 5, 2, 5)]
    assert microbatches(lengths, max_tokens=10) == [[1, 3], [0, 2]]
    # A row longer than the limit goes alone.
    assert microbatches(lengths, max_tokens=4) == [[1], [3], [0], [2]]


def test_rows_of_a_prompt_stay_together_where_fewer_tokens_are_read_so() -> None:
    # Two prompts of 8 tokens, responses of 2 and 4; 24 tokens hold two rows. By length a micro-batch has both prompts:
    # 2 · (8 + 4 - 1) and 2 · (8 + 2 - 1) are read whole, 40. By prompt it has one, read once: 2 · (8 + 2 · 3), 28.
    first, second = [1] * 8, [2] * 8
    given = [row(first, [3] * 2), row(second, [3] * 4), row(second, [3] * 2), row(first, [3] * 4)]
    assert microbatches(given, max_tokens=24) == [[1, 3], [0, 2]]
    assert microbatches(given, max_tokens=24, share_prompts=True) == [[1, 2], [3, 0]]
    # Responses of 1 and 12 behind prompts of 2: what would be padded is more than the prompt. By length 2 · 13 and
    # 2 · 2 are read, 30; by prompt 2 · (2 + 2 · 11), 48.
    given = [row([1, 1], [3]), row([2, 2], [3] * 12), row([2, 2], [3]), row([1, 1], [3] * 12)]
    assert microbatches(given, max_tokens=28, share_prompts=True) == [[1, 3], [0, 2]]


@given(rows=few_prompts, max_tokens=st.integers(1, 120))
def test_sharing_prompts_never_makes_more_to_read(rows: list[Row], max_tokens: int) -> None:
    def num_read(parts: list[list[int]]) -> int:
        total = 0
        for part in parts:
            batch = collate([rows[i] for i in part], pad=0, device=CPU, share_prompts=True)
            shared = batch.shared
            total += batch.tokens_NS.numel() if shared is None else shared.prompts_PS.numel() + shared.inputs_NR.numel()
        return total

    by_length = microbatches(rows, max_tokens=max_tokens)
    chosen = microbatches(rows, max_tokens=max_tokens, share_prompts=True)
    assert num_read(chosen) <= num_read(by_length)


@given(rows=rows, max_tokens=st.integers(1, 40), share_prompts=st.booleans())
def test_microbatches_deal_out_every_row_once_within_the_limit(
    rows: list[Row], max_tokens: int, share_prompts: bool
) -> None:
    parts = microbatches(rows, max_tokens=max_tokens, share_prompts=share_prompts)
    assert sorted(i for part in parts for i in part) == list(range(len(rows)))
    for part in parts:
        padded = len(part) * max(rows[i].num_tokens for i in part)
        assert padded <= max_tokens or len(part) == 1


@given(rows=rows, max_tokens=st.integers(1, 40), share_prompts=st.booleans())
def test_the_loss_of_microbatches_adds_up_to_that_of_the_batch(
    rows: list[Row], max_tokens: int, share_prompts: bool
) -> None:
    def loss(part: list[Row]) -> Tensor:
        batch = collate(part, pad=0, device=CPU)
        return nll_loss(causal_logprobs(batch), batch.mask_NT, batch.weights_N).loss

    cut = microbatches(rows, max_tokens=max_tokens, share_prompts=share_prompts)
    parts = sum(loss([rows[i] for i in part]) for part in cut)
    torch.testing.assert_close(parts, loss(rows), rtol=1e-6, atol=1e-9)


@given(rows=rows, pad=tokens)
def test_padding_changes_no_log_prob(rows: list[Row], pad: int) -> None:
    batch = collate(rows, pad=pad, device=CPU)
    together = causal_logprobs(batch)
    assert not together[~batch.mask_NT].any()
    for i, alone in enumerate(rows):
        expected = causal_logprobs(collate([alone], pad=0, device=CPU))[0]
        torch.testing.assert_close(together[i, : len(alone.tokens)], expected)
