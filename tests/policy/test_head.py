"""The chunked vocabulary head: equal to the plain one, and never the whole batch's logits at once."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from memory import TensorMemory
from unsqueeze.cost.memory import logits_at_once
from unsqueeze.policy import head as head_module
from unsqueeze.policy.head import head_size, max_logits, token_logprobs

VOCABULARY, HIDDEN = 11, 5


def problem(num: int, seed: int = 0, *, bias: bool = False) -> tuple[Tensor, Tensor, nn.Linear]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num, HIDDEN, generator=generator, dtype=torch.float64)
    targets = torch.randint(VOCABULARY, (num,), generator=generator)
    head = nn.Linear(HIDDEN, VOCABULARY, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return hidden, targets, head


def plain(hidden_MH: Tensor, targets_M: Tensor, head: nn.Linear, temperature: float) -> tuple[Tensor, Tensor]:
    """The definition, all positions at once; in fp32 from the logits on, as the chunked head takes them."""
    distribution = torch.distributions.Categorical(logits=head(hidden_MH).float() / temperature)
    return distribution.log_prob(targets_M), distribution.entropy()


def with_gradients(
    function: Callable[..., tuple[Tensor, Tensor]], hidden: Tensor, targets: Tensor, head: nn.Linear, temperature: float
) -> tuple[Tensor, ...]:
    """Log-probs, entropies, and the gradients of a weighted sum of both in the hidden states and the weights."""
    leaf = hidden.clone().requires_grad_()
    logp, entropy = function(leaf, targets, head, temperature=temperature)
    weights = torch.linspace(-1.0, 2.0, len(targets))
    gradients = torch.autograd.grad((weights * logp).sum() + (weights**2 * entropy).sum(), [leaf, *head.parameters()])
    return (logp.detach(), entropy.detach(), *gradients)


def chunks_of(patch: pytest.MonkeyPatch, num_logits: int) -> None:
    """Have chunks hold at most so many logits."""
    patch.setattr(head_module, "max_logits", lambda device: num_logits)


def test_uniform_logits_by_hand() -> None:
    # A head of zeros gives every token probability 1/11: log-prob −ln 11, entropy ln 11, at any temperature.
    hidden, targets, head = problem(4)
    nn.init.zeros_(head.weight)
    logp, entropy = token_logprobs(hidden, targets, head, temperature=0.7)
    expected = torch.tensor(float(VOCABULARY)).log().expand(4)
    torch.testing.assert_close(logp, -expected)
    torch.testing.assert_close(entropy, expected)


@given(
    num=st.integers(1, 9),
    rows=st.integers(1, 10),
    temperature=st.sampled_from([0.7, 1.0, 2.0]),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_number_of_chunks_equals_the_plain_head(
    num: int, rows: int, temperature: float, bias: bool, seed: int
) -> None:
    hidden, targets, head = problem(num, seed, bias=bias)
    expected = with_gradients(plain, hidden, targets, head, temperature)
    with pytest.MonkeyPatch.context() as patch:
        chunks_of(patch, rows * VOCABULARY)
        got = with_gradients(token_logprobs, hidden, targets, head, temperature)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_vocabulary_above_the_limit_goes_one_position_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(monkeypatch, VOCABULARY - 1)
    hidden, targets, head = problem(3)
    torch.testing.assert_close(token_logprobs(hidden, targets, head), plain(hidden, targets, head, 1.0))


def test_entropy_is_zero_where_it_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks_of(monkeypatch, 2 * VOCABULARY)
    hidden, targets, head = problem(5)
    logp, entropy = token_logprobs(hidden, targets, head, with_entropy=False)
    torch.testing.assert_close(logp, plain(hidden, targets, head, 1.0)[0])
    assert entropy.tolist() == [0.0] * 5


def test_head_size_is_the_number_of_logits() -> None:
    assert head_size(problem(1)[2]) == VOCABULARY


# --- rounding ----------------------------------------------------------------------------------------------------


def gradient_error(num_chunks: int) -> float:
    """|gradient − exact| / |exact| of the head's weights in bf16, over 640 positions that are alike, in equal chunks.

    Exact is float64 from the same logits, those of bf16: what is left is the arithmetic of the gradient.
    """
    generator = torch.Generator().manual_seed(0)
    num, width, vocabulary = 640, 64, 48
    hidden = (1 + 0.3 * torch.randn(num, width, generator=generator)).bfloat16().float()
    targets = torch.randint(vocabulary // 4, (num,), generator=generator)
    head = nn.Linear(width, vocabulary, bias=False)
    with torch.no_grad():
        head.weight.copy_((0.1 * torch.randn(head.weight.shape, generator=generator)).bfloat16())
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        chunks_of(patch, num // num_chunks * vocabulary)
        logp, _ = token_logprobs(hidden, targets, head, with_entropy=False)
        logits = head(hidden).detach().double()
    (-logp.mean()).backward()
    exact = (logits.softmax(dim=-1) - nn.functional.one_hot(targets, vocabulary)).T @ hidden.double() / num
    assert head.weight.grad is not None
    return float((head.weight.grad - exact).norm() / exact.norm())


@pytest.mark.parametrize("num_chunks", [2, 16, 160, 640])
def test_gradients_add_up_over_chunks_without_rounding_of_their_own(num_chunks: int) -> None:
    # A gradient of one chunk is rounded to bf16 once, by up to 2^-9 of itself; a sum of many is off by no more.
    assert gradient_error(1) < 2**-8
    assert gradient_error(num_chunks) < 2**-8


@pytest.mark.parametrize(("gib", "logits"), [(None, 2**24), (8, 2**24), (16, 2**24), (80, 5 * 2**24)])
def test_a_chunk_grows_with_the_memory_of_the_device(gib: int | None, logits: int) -> None:
    # A 64th of the memory at 16 bytes a logit: 2^30 / 64 / 16 = 2^20 of each GiB, and 2^24 at least.
    assert logits_at_once(None if gib is None else gib * 2**30) == logits


# --- memory ------------------------------------------------------------------------------------------------------


def forward_and_backward(num: int, head: nn.Linear, *, with_entropy: bool) -> TensorMemory:
    """What log-probs of ``num`` positions and their gradient in the hidden states hold in memory."""
    hidden = torch.randn(num, head.in_features, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.arange(num) % head.out_features
    with TensorMemory() as memory:
        logp, entropy = token_logprobs(hidden, targets, head, with_entropy=with_entropy)
        (logp.sum() + entropy.sum()).backward()
    assert hidden.grad is not None
    return memory


@pytest.mark.parametrize("with_entropy", [False, True])
def test_memory_follows_the_chunk_and_not_the_batch(monkeypatch: pytest.MonkeyPatch, with_entropy: bool) -> None:
    head = nn.Linear(8, 1000).requires_grad_(False)
    whole_logits = 640 * 1000
    at_once = forward_and_backward(640, head, with_entropy=with_entropy)
    assert at_once.largest_numel == whole_logits
    assert at_once.peak_bytes > 2 * 4 * whole_logits  # logits and their log-softmax, in fp32

    chunks_of(monkeypatch, 40 * 1000)
    chunked = forward_and_backward(640, head, with_entropy=with_entropy)
    assert chunked.largest_numel == 40 * 1000
    # Sixteen chunks: a sixteenth of the peak, and the hidden states, their gradient and a few vectors.
    assert chunked.peak_bytes < at_once.peak_bytes / 16 + 4 * 640 * 8 * 6


def test_a_135m_vocabulary_never_holds_the_logits_of_the_whole_batch() -> None:
    # SmolLM2-135M's head: 49,152 × 576. 1,500 positions are 74 million logits, 295 MB in fp32; the limit is 67 MB.
    num, vocabulary, width = 1500, 49_152, 576
    head = nn.Linear(width, vocabulary, bias=False).requires_grad_(False)
    memory = forward_and_backward(num, head, with_entropy=False)
    assert memory.largest_numel <= max_logits(torch.device("cpu"))
    # A chunk holds its logits and their log-softmax, and in the backward pass two gradients of the same size.
    assert memory.peak_bytes <= 4 * 4 * max_logits(torch.device("cpu")) + 8 * 4 * num * width
    assert memory.peak_bytes < 4 * num * vocabulary
