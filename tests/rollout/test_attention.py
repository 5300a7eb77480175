"""One token's attention over shared heads against the definition, and against what transformers computes."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tiny_models import tiny_llama
from unsqueeze.policy.sdpa import sdpa_by
from unsqueeze.rollout.attention import one_token_attention, shared_heads

ROWS, KEY_HEADS, GROUP, PAST, WIDTH = 3, 2, 4, 5, 8


def heads(count: int, tokens: int, *, seed: int) -> Tensor:
    return torch.randn(ROWS, count, tokens, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


QUERY = heads(KEY_HEADS * GROUP, 1, seed=0)
KEY, VALUE = heads(KEY_HEADS, PAST, seed=1), heads(KEY_HEADS, PAST, seed=2)
MAY_READ = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.bool)[:, None, None]


def by_hand(row: int, head: int, mask: Tensor, scale: float) -> Tensor:
    """One head of one row, token by token."""
    key, value = KEY[row, head // GROUP], VALUE[row, head // GROUP]
    weights = (scale * (key @ QUERY[row, head, 0]) + mask[row, 0, 0]).exp()
    return (weights / weights.sum()) @ value


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(
    ("mask", "added"),
    [
        (None, torch.zeros(ROWS, 1, 1, PAST)),
        (MAY_READ, torch.zeros(ROWS, 1, 1, PAST).masked_fill(~MAY_READ, float("-inf"))),
        (heads(1, PAST, seed=3)[..., :1].transpose(2, 3), heads(1, PAST, seed=3)[..., :1].transpose(2, 3)),
    ],
    ids=["no mask", "may read", "added"],
)
def test_equals_the_definition(mask: Tensor | None, added: Tensor, scale: float | None) -> None:
    read = one_token_attention(QUERY, KEY, VALUE, mask, scale=scale)
    assert read.shape == (ROWS, 1, KEY_HEADS * GROUP, WIDTH)
    for row in range(ROWS):
        for head in range(KEY_HEADS * GROUP):
            expected = by_hand(row, head, added.double(), WIDTH**-0.5 if scale is None else scale)
            torch.testing.assert_close(read[row, 0, head], expected, rtol=1e-12, atol=1e-12)


def sdpa(*arguments: Tensor | None, **keywords: float) -> Tensor:
    module = tiny_llama().model.layers[0].self_attn
    module.num_key_value_groups = GROUP
    result: Tensor = ALL_ATTENTION_FUNCTIONS["sdpa"](module, *arguments, **keywords)[0]
    return result


@pytest.mark.parametrize(
    "arguments",
    [
        (QUERY, KEY, VALUE, MAY_READ),
        (QUERY, KEY, VALUE, None),
        (QUERY, KEY, VALUE, MAY_READ.expand(ROWS, KEY_HEADS * GROUP, 1, PAST)),
        (heads(KEY_HEADS * GROUP, PAST, seed=4), KEY, VALUE, None),
    ],
    ids=["padded", "not padded", "a mask for each head", "several tokens"],
)
def test_transformers_computes_the_same(arguments: tuple[Tensor | None, ...]) -> None:
    expected = sdpa(*arguments, scaling=0.4)
    with shared_heads():
        torch.testing.assert_close(sdpa(*arguments, scaling=0.4), expected, rtol=1e-12, atol=1e-12)


def test_transformers_is_as_before_afterwards() -> None:
    before: Callable[..., object] = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with shared_heads():
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not before
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before
    with pytest.raises(ZeroDivisionError), shared_heads():
        raise ZeroDivisionError
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


def test_blocks_of_two_threads_do_not_meet() -> None:
    """One enters, another enters, the first leaves: transformers is as before only once both have left."""
    before: Callable[..., object] = ALL_ATTENTION_FUNCTIONS["sdpa"]
    met: list[int] = []
    entered, left = threading.Event(), threading.Event()

    def attend(*_: object) -> None:
        met.append(threading.get_ident())

    def other() -> None:
        with sdpa_by(attend):
            entered.set()
            assert left.wait(60)
            sdpa(QUERY, KEY, VALUE, MAY_READ, scaling=0.4)

    thread = threading.Thread(target=other)
    with shared_heads():
        thread.start()
        assert entered.wait(60)
        sdpa(QUERY, KEY, VALUE, MAY_READ, scaling=0.4)
    assert not met
    left.set()
    thread.join()
    assert met == [thread.ident]
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before
