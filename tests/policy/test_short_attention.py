"""Attention of short rows against the definition, and against what transformers computes."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tiny_models import tiny_llama, tiny_tokenizer
from unsqueeze.policy import short_attention as room
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.recomputing import recompute_activations
from unsqueeze.policy.short_attention import attend_short, short_attention

KEY_HEADS, GROUP, WIDTH = 2, 3, 8


def heads(count: int, rows: int, tokens: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, tokens, count, WIDTH, generator=generator).transpose(1, 2)


def causal(tokens: int) -> Tensor:
    return torch.ones(1, 1, tokens, tokens, dtype=torch.bool).tril()


def test_equals_the_definition() -> None:
    query, key, value = heads(6, 2, 3, seed=0), heads(2, 2, 5, seed=1), heads(2, 2, 5, seed=2)
    bias = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(3))
    read = attend_short(query, key, value, bias, scale=0.3)
    assert read.shape == (2, 3, 6, WIDTH)
    for row in range(2):
        for head in range(6):
            for token in range(3):
                scores = 0.3 * (key[row, head // GROUP] @ query[row, head, token]) + bias[row, 0, token]
                expected = scores.softmax(-1) @ value[row, head // GROUP]
                torch.testing.assert_close(read[row, token, head], expected, rtol=1e-5, atol=1e-6)


def sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **keywords: object) -> Tensor:
    module = tiny_llama().model.layers[0].self_attn
    module.num_key_value_groups = GROUP
    result: Tensor = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **keywords)[0]
    return result


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 3), own=st.integers(2, 6), before=st.integers(0, 4), kind=st.sampled_from(["may read", "added"])
)
def test_numbers_and_gradients_are_those_of_transformers(rows: int, own: int, before: int, kind: str) -> None:
    """Behind what was read before, one row of it padded."""
    tokens = before + own
    may_read = torch.ones(rows, 1, own, tokens, dtype=torch.bool).tril(before)
    may_read[0, 0, 1:, 0] = False
    mask = may_read if kind == "may read" else torch.where(may_read, 0.5, torch.finfo(torch.float32).min)
    found = []
    for written_out in (False, True):
        query = heads(KEY_HEADS * GROUP, rows, own, seed=0).requires_grad_()
        key, value = (heads(KEY_HEADS, rows, tokens, seed=seed).requires_grad_() for seed in (1, 2))
        if written_out:
            with short_attention(), mock.patch.object(room, "attend_short", wraps=attend_short) as called:
                read = sdpa(query, key, value, mask, scaling=0.4)
            called.assert_called_once()
        else:
            read = sdpa(query, key, value, mask, scaling=0.4)
        (read * torch.linspace(-1, 1, read.numel()).view_as(read)).sum().backward()
        found.append((read.detach(), query.grad, key.grad, value.grad))
    for mine, plain in zip(found[1], found[0], strict=True):
        assert mine is not None
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-5)


def test_a_token_that_may_read_nothing_is_a_number_and_leaves_the_others_alone() -> None:
    """As in a prompt that is padded on the left."""
    query, key, value = heads(6, 1, 3, seed=0), heads(2, 1, 3, seed=1), heads(2, 1, 3, seed=2)
    may_read = torch.ones(1, 1, 3, 3, dtype=torch.bool).tril()
    may_read[..., 0] = False
    with short_attention():
        read = sdpa(query, key, value, may_read)
    assert read.isfinite().all()
    torch.testing.assert_close(read[0, 1], value[0, :, 1].repeat_interleave(GROUP, 0))


@pytest.mark.parametrize(
    ("query", "key", "mask", "keywords"),
    [
        (heads(6, 1, 33, seed=0), heads(2, 1, 33, seed=1), causal(33), {}),
        (heads(6, 1, 1, seed=0), heads(2, 1, 4, seed=1), causal(4)[:, :, -1:], {}),
        (heads(6, 1, 3, seed=0), heads(2, 1, 3, seed=1), None, {}),
        (heads(6, 1, 3, seed=0), heads(2, 1, 3, seed=1), causal(3).expand(1, 6, 3, 3), {}),
        (heads(6, 1, 3, seed=0).double(), heads(2, 1, 3, seed=1).double(), causal(3), {}),
        (heads(6, 1, 3, seed=0).bfloat16(), heads(2, 1, 3, seed=1).bfloat16(), causal(3), {}),
        (torch.zeros(1, 6, 3, 48), torch.zeros(1, 2, 3, 48), causal(3), {}),
        (heads(6, 1, 3, seed=0), heads(2, 1, 3, seed=1), causal(3), {"position_bias": torch.ones(1, 6, 3, 3)}),
    ],
    ids=["long", "one token", "no mask", "a mask a head", "fp64", "bf16", "wide", "a bias"],
)
def test_others_are_read_as_before(
    query: Tensor, key: Tensor, mask: Tensor | None, keywords: dict[str, object]
) -> None:
    expected = sdpa(query, key, key, mask, **keywords)
    with short_attention(), mock.patch.object(room, "attend_short", side_effect=AssertionError):
        assert torch.equal(sdpa(query, key, key, mask, **keywords), expected)


def test_under_autocast_the_kernel_reads() -> None:
    query, key = heads(6, 1, 3, seed=0), heads(2, 1, 3, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = sdpa(query, key, key, causal(3))
        with short_attention(), mock.patch.object(room, "attend_short", side_effect=AssertionError):
            assert torch.equal(sdpa(query, key, key, causal(3)), expected)


def test_transformers_is_as_before_afterwards() -> None:
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with short_attention():
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not before
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before
    with pytest.raises(ZeroDivisionError), short_attention():
        raise ZeroDivisionError
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


@pytest.mark.parametrize("recomputes", [False, True])
def test_a_policy_reads_responses_so_behind_shared_prompts(recomputes: bool) -> None:
    """Layers whose activations are computed again share no prompts."""
    model = tiny_llama()
    policy = Policy(model, tiny_tokenizer())
    if recomputes:
        recompute_activations(model)
    prompt = np.array([1, 5, 6, 7], np.int32)
    rows = [Row(prompt_tokens=prompt, tokens=np.array([8, 9, last], np.int32), weight=1.0) for last in range(10, 14)]
    with mock.patch.object(room, "attend_short", wraps=attend_short) as called:
        logp_NT, _ = policy.logprobs(policy.collate(rows))
    logp_NT.sum().backward()
    assert called.called != recomputes
