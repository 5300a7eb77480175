"""The step that is written out: for which models it is taken, and that it gives their numbers."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tiny_models import BOS, SHAPE, seeded, tiny_gpt2, tiny_llama, tiny_qwen2, tiny_tokenizer
from unsqueeze.policy.caches import cache_of
from unsqueeze.rollout import hf
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.plain_decoder import PlainDecoder
from unsqueeze.rollout.plain_rows import PlainRows, steps_as_the_model
from unsqueeze.rollout.shared_past import LayerPast, Seats
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import prompt_seeds

TOKENIZER = tiny_tokenizer()
PROMPTS = [[BOS, 5, 6, 7], [BOS, 9], [BOS, 4, 4, 4, 8, 10]]


def with_biases() -> PreTrainedModel:
    model = seeded(LlamaForCausalLM, LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.linspace(-1, 1, len(parameter)))
    return model


def with_norms_of_heads() -> PreTrainedModel:
    model = seeded(Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=16))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_norm.weight.copy_(torch.linspace(0.5, 2, 16))
    return model


PLAIN = {
    "grouped queries": tiny_llama,
    "biases of queries": tiny_qwen2,
    "norms of heads": with_norms_of_heads,
    "biases everywhere": with_biases,
    "no sliding window": lambda: seeded(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=None)),
    "one matrix at both ends": lambda: seeded(LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=True)),
}


def with_adapters() -> PreTrainedModel:
    model = tiny_llama().eval()
    inject_adapter_in_model(LoraConfig(target_modules=["q_proj"]), model)
    return model


def with_a_further_weight() -> PreTrainedModel:
    """A gate that training may open: no number tells it from a plain decoder yet."""
    model = tiny_llama().eval()
    model.model.layers[0].gate = torch.nn.Parameter(torch.zeros(1))
    return model


class FarAway(LlamaForCausalLM):
    """Weighs its logits otherwise from position 100 on."""

    def forward(self, position_ids=None, **inputs):  # type: ignore[no-untyped-def]
        output = super().forward(position_ids=position_ids, **inputs)
        if position_ids is not None and bool((position_ids >= 100).any()):
            output.logits = output.logits * 1.5
        return output


OTHERS = {
    "another architecture": lambda: tiny_gpt2().eval(),
    "a sliding window": lambda: seeded(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=4)),
    "weighed residuals": lambda: seeded(GraniteForCausalLM, GraniteConfig(**SHAPE, residual_multiplier=0.5)),
    "adapters": with_adapters,
    "a further weight": with_a_further_weight,
    "far positions": lambda: seeded(FarAway, LlamaConfig(**SHAPE)),
    "angles by length": lambda: seeded(
        LlamaForCausalLM,
        LlamaConfig(**SHAPE, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
    ),
    "weights in bf16": lambda: tiny_llama().eval().bfloat16(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_decoders_are_recognised(name: str) -> None:
    assert steps_as_the_model(PLAIN[name]())


@pytest.mark.parametrize("name", OTHERS)
def test_all_others_go_their_own_way(name: str) -> None:
    assert not steps_as_the_model(OTHERS[name]())


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_drawn_is_what_the_model_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded prompts, rows that leave, slices of one prompt's rows, more tokens than a buffer begins with."""
    model, sampling = PLAIN[name]().eval(), Sampling(max_tokens=80)
    passes: list[tuple[int, ...]] = []
    engine = HfEngine(model, TOKENIZER, max_rows=14)
    seeds = prompt_seeds(1, len(PROMPTS))
    engine.generate(PROMPTS, 1, Sampling(max_tokens=1), seeds=seeds)
    model.register_forward_hook(lambda module, inputs, output: passes.append(tuple(output.logits.shape[:1])))
    groups = engine.generate(PROMPTS, 7, sampling, seeds=seeds)
    assert passes == [(2,), (1,)]  # the prompts of two waves; no step is the model's own
    assert max(completion.num_tokens for group in groups for completion in group) > 34
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            with torch.no_grad():
                logits_TV = model(torch.tensor([prompt + completion.tokens.tolist()])).logits[0, len(prompt) - 1 : -1]
            tokens_T1 = torch.from_numpy(completion.tokens).long()[:, None]
            expected = logits_TV.log_softmax(-1).gather(-1, tokens_T1)[:, 0].numpy()
            np.testing.assert_allclose(completion.logp_raw, expected, atol=1e-5)
    monkeypatch.setattr(hf, "steps_as_the_model", lambda model: False)
    before = HfEngine(model, TOKENIZER, max_rows=14).generate(PROMPTS, 7, sampling, seeds=seeds)
    for group, group_before in zip(groups, before, strict=True):
        assert [c.tokens.tolist() for c in group] == [c.tokens.tolist() for c in group_before]


def test_a_call_reads_the_weights_of_now() -> None:
    model, seeds = tiny_llama().eval(), prompt_seeds(1, len(PROMPTS))
    engine = HfEngine(model, TOKENIZER)
    engine.generate(PROMPTS, 2, Sampling(max_tokens=8), seeds=seeds)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)
    ours = engine.generate(PROMPTS, 2, Sampling(max_tokens=8), seeds=seeds)
    fresh = HfEngine(model, TOKENIZER).generate(PROMPTS, 2, Sampling(max_tokens=8), seeds=seeds)
    for group, expected in zip(ours, fresh, strict=True):
        assert [c.logp_raw.tolist() for c in group] == [c.logp_raw.tolist() for c in expected]


@torch.no_grad()
def test_products_are_in_the_named_type() -> None:
    model = tiny_llama().eval()
    output = model(torch.tensor([[BOS, 5]]), use_cache=True)
    logits_NV = {}
    for dtype in (torch.float32, torch.bfloat16):
        rows = PlainRows.read(
            PlainDecoder(model, 8, dtype), output.logits[:, -1], cache_of(output), torch.tensor([2]), None
        ).take(torch.zeros(3, dtype=torch.long), 1)
        rows.step(torch.tensor([4, 5, 6]))
        logits_NV[dtype] = rows.logits_NV
        assert rows.logits_NV.dtype is dtype
    spread = logits_NV[torch.float32].std()
    torch.testing.assert_close(logits_NV[torch.bfloat16].float(), logits_NV[torch.float32], rtol=0, atol=0.05 * spread)


@pytest.mark.parametrize("prompt_of_N", [[0, 0, 1, 1], [0, 1, 1, 1], [1, 0, 1, 2, 0], [0]])
def test_rows_come_back_from_their_seats(prompt_of_N: list[int]) -> None:
    seats = Seats(torch.tensor(prompt_of_N))
    values_KNRX = torch.randn(2, len(prompt_of_N), 3, 5)
    seated = seats.seat(values_KNRX)
    most = max(prompt_of_N.count(prompt) for prompt in prompt_of_N)
    assert seated.shape == (2 * (max(prompt_of_N) + 1), most * 3, 5)
    for row, prompt in enumerate(prompt_of_N):
        held = seated.view(2, max(prompt_of_N) + 1, most, 3, 5)[:, prompt]
        assert any(torch.equal(held[:, seat], values_KNRX[:, row]) for seat in range(most))
    assert torch.equal(seats.unseat(seated, 3), values_KNRX)


def test_attention_equals_the_definition_after_rows_and_a_prompt_have_left() -> None:
    torch.manual_seed(0)
    heads, group, width = 2, 3, 4
    prompt_keys, prompt_values = torch.randn(2, 3, heads, 5, width, dtype=torch.float64)  # PKCD
    prompt_of_N = torch.tensor([0, 1, 1, 2, 0])
    padded_P1C = torch.zeros(3, 1, 5, dtype=torch.float64)
    padded_P1C[1, 0, :2] = float("-inf")
    past = LayerPast.read(prompt_keys, prompt_values).take(torch.arange(3), len(prompt_of_N), 50)
    keys, values = torch.randn(2, 50, 5, heads, width, dtype=torch.float64)  # TNKD
    for column in range(40):
        past.write(keys[column], values[column])
    staying = torch.tensor([1, 2, 4])
    past.keep(staying, torch.tensor([0, 1]), 0)
    for column in range(40, 50):
        past.write(keys[column, staying], values[column, staying])
    query_KNRD = torch.randn(heads, 3, group, width, dtype=torch.float64)
    read_KNRD = past.attend(query_KNRD, Seats(torch.tensor([1, 1, 0])), padded_P1C[:2])
    for place, (row, prompt) in enumerate([(1, 1), (2, 1), (4, 0)]):
        for head in range(heads):
            seen = slice(2, None) if prompt == 1 else slice(None)
            all_keys = torch.cat([prompt_keys[prompt, head, seen], keys[:, row, head]])
            all_values = torch.cat([prompt_values[prompt, head, seen], values[:, row, head]])
            expected = (query_KNRD[head, place] @ all_keys.T).softmax(-1) @ all_values
            torch.testing.assert_close(read_KNRD[head, place], expected, rtol=1e-6, atol=1e-6)
