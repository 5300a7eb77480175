"""Prompts read once for many rows: the log-probs and gradients are those of rows read whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

from tiny_models import tiny_gpt2, tiny_llama, tiny_qwen2, tiny_tokenizer
from unsqueeze.cost.memory import TOKENS_AT_ONCE_ON_CPU
from unsqueeze.policy.batch import Row, collate
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.recomputing import recompute_activations

CPU = torch.device("cpu")
VOCABULARY, CONTEXT = 32, 16

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}


def tiny_opt() -> PreTrainedModel:
    """Positions are learned, one vector each, and there are no more of them than the context has tokens."""
    torch.manual_seed(0)
    return OPTForCausalLM(OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, dropout=0.0, init_std=0.2))


MODELS = {
    "llama": tiny_llama(context=CONTEXT),
    "qwen2": tiny_qwen2(context=CONTEXT),
    "gpt2": tiny_gpt2(context=CONTEXT),
    "opt": tiny_opt(),
}


def row(prompt: list[int], response: list[int]) -> Row:
    return Row(prompt_tokens=np.array(prompt, np.int32), tokens=np.array(response, np.int32), weight=1.0)


def of(model: PreTrainedModel) -> Policy:
    return Policy(model, tiny_tokenizer(VOCABULARY))


def test_what_stands_where_by_hand():
    # Prompts of 1, 2 and 2 tokens, the last two the same; T = 3, of the longest row 4 tokens are read: 4 + 6 of 12.
    rows = [row([7], [4, 5, 6]), row([8, 9], [4, 5, 6]), row([8, 9], [4])]
    batch = collate(rows, pad=0, device=CPU, share_prompts=True)
    parts = batch.shared
    assert parts is not None
    assert parts.prompts_PS.tolist() == [[0, 7], [8, 9]]
    assert parts.mask_PS is not None
    assert parts.mask_PS.tolist() == [[0, 1], [1, 1]]
    assert parts.prompt_of_N.tolist() == [0, 1, 1]
    assert parts.inputs_NR.tolist() == [[4, 5], [4, 5], [4, 0]]
    assert parts.positions_NR.tolist() == [[1, 2], [2, 3], [2, 3]]


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([row([1, 2, 3], [4] * 8), row([2, 3, 4], [4] * 8)], False),  # 6 + 14 tokens of 20 would be read: all
        ([row([1, 2], [4] * 8)] * 2, False),  # 2 + 14 of 18: 89 %
        ([row([1, 2, 3, 4], [4] * 7)] * 2, True),  # 4 + 12 of 20: 80 %
        ([row([1, 2, 3], [4])] * 4, False),  # of responses of one token there is nothing to read
    ],
)
def test_shared_only_where_it_pays(rows: list[Row], shared: bool):
    batch = collate(rows, pad=0, device=CPU, share_prompts=True)
    assert (batch.shared is not None) == shared


short = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=8)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=20, deadline=None)
@given(prompts=st.lists(short, min_size=1, max_size=3), responses=st.lists(short, min_size=4, max_size=12))
def test_log_probs_and_gradients_are_those_of_rows_read_whole(
    name: str, prompts: list[list[int]], responses: list[list[int]]
):
    policy = of(MODELS[name])
    assert policy._forward.shares_prompts
    rows = [row(prompts[i % len(prompts)], response) for i, response in enumerate(responses)]
    whole, parted = (collate(rows, pad=0, device=CPU, share_prompts=share) for share in (False, True))
    assert whole.shared is None
    if parted.shared is None:
        return
    found = []
    for batch in (whole, parted):
        policy.model.zero_grad(set_to_none=True)
        logp_NT, entropy_NT = policy.logprobs(batch)
        (logp_NT * torch.linspace(-1, 1, logp_NT.numel()).view_as(logp_NT) + 0.1 * entropy_NT).sum().backward()
        found.append((logp_NT.detach(), entropy_NT.detach(), [weight.grad for _, weight in policy.trainable()]))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-5, rtol=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in found[0][2])
    for mine, plain in zip(found[1][2], found[0][2], strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-5 * max(1.0, largest), rtol=1e-4)


def test_the_step_takes_shared_prompts_and_log_probs_stay_those_of_a_plain_pass():
    policy = of(tiny_llama())
    rows = [row([1, 5, 6, 7], [8, 9, end]) for end in range(6)] + [row([1, 5], [8, 9, 3])] * 2
    assert policy.collate(rows).shared is not None
    for one, logp_T in zip(rows, policy.logp(rows, max_tokens=1000), strict=True):
        tokens = torch.tensor([[*one.prompt_tokens.tolist(), *one.tokens.tolist()]])
        with torch.no_grad():
            logits = policy.model(input_ids=tokens).logits[0, len(one.prompt_tokens) - 1 : -1].log_softmax(-1)
        expected = logits.gather(1, torch.tensor(one.tokens).long()[:, None]).squeeze(1)
        np.testing.assert_allclose(logp_T, expected.numpy(), atol=1e-5)


def test_a_policy_keeps_rows_of_a_prompt_together_and_reads_few_tokens_at_once_on_a_cpu():
    rows = [row([prompt] * 12, [8] * length) for length in (3, 5, 4) for prompt in range(1, 5)]
    assert of(tiny_llama()).microbatches(rows, max_tokens=3 * 17) == [
        [place + 4, place + 8, place] for place in range(4)
    ]
    # One that reads rows whole: by length.
    by_length = of(bamba()).microbatches(rows, max_tokens=3 * 17)
    assert by_length[0] == [4, 5, 6]
    many = [row([1] * 12, [8] * 4)] * 300
    parts = of(tiny_llama()).microbatches(many, max_tokens=10**6)
    assert [16 * len(part) for part in parts] == [TOKENS_AT_ONCE_ON_CPU, 300 * 16 - TOKENS_AT_ONCE_ON_CPU]


def mistral_that_forgets() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**SMALL, intermediate_size=48, num_key_value_heads=2, sliding_window=4))


def llama_that_stretches() -> PreTrainedModel:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    return LlamaForCausalLM(LlamaConfig(**SMALL, intermediate_size=48, rope_parameters=rope))


def bamba() -> PreTrainedModel:
    """Attention and a recurrent state in turn."""
    return BambaForCausalLM(
        BambaConfig(
            **SMALL, intermediate_size=48, num_key_value_heads=2, attn_layer_indices=[1], mamba_n_heads=4,
            mamba_d_head=16, mamba_d_state=4, mamba_n_groups=1, mamba_expand=2, pad_token_id=0,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [mistral_that_forgets, llama_that_stretches, bamba])
def test_models_that_remember_more_than_places_read_rows_whole(make):
    assert not of(make())._forward.shares_prompts


def test_layers_that_compute_their_activations_again_read_rows_whole():
    policy = of(tiny_llama())
    recompute_activations(policy.model)
    assert policy.collate([row([1, 5, 6, 7], [8, 9, 3])] * 4).shared is None
