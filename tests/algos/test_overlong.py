"""Soft overlong punishment, by hand and by its properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.algos.overlong import overlong_punishment


def test_by_hand() -> None:
    # Limit 10, cache 4: nothing up to 6 tokens, then a quarter a token, −1 at the limit and beyond.
    lengths = torch.tensor([0, 6, 7, 8, 9, 10, 12])
    expected = torch.tensor([0.0, 0.0, -0.25, -0.5, -0.75, -1.0, -1.0])
    torch.testing.assert_close(overlong_punishment(lengths, max_tokens=10, soft_cache_length=4), expected)


def test_the_papers_setting() -> None:
    # soft_cache_length 2048 under 3,072 tokens: free up to 1,024, half the punishment at 2,048.
    lengths = torch.tensor([1024, 1025, 2048, 3072])
    expected = torch.tensor([0.0, -1 / 2048, -0.5, -1.0])
    torch.testing.assert_close(overlong_punishment(lengths, max_tokens=3072, soft_cache_length=2048), expected)


@pytest.mark.parametrize("cache", [0, 11])
def test_a_cache_outside_the_limit_is_refused(cache: int) -> None:
    with pytest.raises(ValueError, match=rf"soft_cache_length is {cache}; it must be in \[1, max_tokens=10\]"):
        overlong_punishment(torch.tensor([1]), max_tokens=10, soft_cache_length=cache)


@given(max_tokens=st.integers(1, 50), cache=st.integers(1, 50))
def test_it_falls_from_0_to_minus_1_in_equal_steps(max_tokens: int, cache: int) -> None:
    cache = min(cache, max_tokens)
    punishment = overlong_punishment(torch.arange(max_tokens + 1), max_tokens=max_tokens, soft_cache_length=cache)
    assert punishment[0] == 0 or cache == max_tokens
    assert punishment[-1] == -1
    falls = -punishment.diff()
    torch.testing.assert_close(falls[-cache:], torch.full((cache,), 1 / cache), rtol=1e-4, atol=1e-5)
    assert not falls[:-cache].any()
